"""Memory of a process and its loader's over many training batches: it must not grow."""

import argparse
import multiprocessing
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diracdiff.data import ImageFolder, Packed
from diracdiff.data.packing import Packer
from diracdiff.training import ImageDataModule


def used() -> float:
    """MiB of this process and its loader's, what they share counted once; without the files that they have mapped.

    Those, the libraries mostly, count by the share that other programs on the machine leave to them.
    """
    processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    total = 0
    for process in processes:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return total / 1024


def growth(module: ImageDataModule, steps: int, marks: int = 20) -> list[float]:
    """Memory at `marks` places of `steps` training batches, the first one after a twentieth of them."""
    loader, found, done, epoch = module.train_dataloader(), [], 0, 0
    while done < steps:
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            module.on_after_batch_transfer(batch, 0)
            done += 1
            if done * marks // steps > len(found):
                found.append(used())
            if done == steps:
                break
        epoch += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, nargs="?", help="a folder of images; 2000 made-up JPEG files by default")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=64)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as above:
        root = asked.root or made_up(Path(above, "images"))
        folder = ImageFolder(root, asked.size)
        Packer(Path(above, "packed"), {"train": folder.split("train")}, str(root)).pack()
        for name, dataset in (("folder", folder), ("packed", Packed(Path(above, "packed"), asked.size))):
            for workers in (0, 2):
                marks = growth(ImageDataModule(dataset, asked.batch, num_workers=workers), asked.steps)
                change = marks[-1] / marks[0] - 1
                print(
                    f"{name}, {workers} workers, {asked.steps} steps of {asked.batch}: "
                    f"{marks[0]:.1f} MiB after the first {asked.steps // 20}, {marks[-1]:.1f} at the end, "
                    f"{max(marks):.1f} at most: {100 * change:+.2f} %",
                    flush=True,
                )


def made_up(folder: Path, count: int = 2000) -> Path:
    """A folder of JPEG files of 128 pixels a side."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg")
    return folder


if __name__ == "__main__":
    main()
