"""Images per second of a training loader: a folder of JPEG files with both decoders, and the same images packed."""

import argparse
import platform
import time
from pathlib import Path

import torch

from diracdiff.data import CelebAHQ, ImageNet, Packed
from diracdiff.data.packing import Packer
from diracdiff.training import ImageDataModule
from diracdiff.utils.files import write_rows

KINDS = {"celebahq": CelebAHQ, "imagenet": ImageNet}


def rate(module: ImageDataModule, images: int, least: float) -> float:
    """Images per second of this process's CPU time, over whole epochs of at least `least` seconds."""
    loader, seen, start = module.train_dataloader(), 0, time.process_time()
    while time.process_time() - start < least:
        for batch in loader:
            seen += len(batch["x"])
            if seen % images == 0 and time.process_time() - start >= least:
                break
        loader.sampler.set_epoch(loader.sampler.epoch + 1)
    return seen / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=list(KINDS))
    parser.add_argument("root", type=Path)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU time of each measurement, at least")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    kind, runs = KINDS[asked.dataset], Path("runs/experiments/loading")
    folders = {name: kind(asked.root, asked.size, decoder=name) for name in ("pillow", "fast")}
    packed = runs / f"{asked.dataset}_{asked.size}"
    packer = Packer(packed, {"train": folders["pillow"].split("train")}, str(asked.root.resolve()))
    if not packer.is_complete(overwrite=False):
        packer.pack()
    sets = folders | {"packed": Packed(packed, asked.size)}
    modules = {name: ImageDataModule(dataset, asked.batch) for name, dataset in sets.items()}
    rates = {name: [] for name in sets}
    for _ in range(asked.repeats):
        for name, module in modules.items():
            rates[name].append(rate(module, len(module.split("train")), asked.seconds))
    rows = []
    for name, values in rates.items():
        ratios = sorted(a / b for a, b in zip(values, rates["pillow"], strict=True))
        fast = sorted(a / b for a, b in zip(values, rates["fast"], strict=True))
        rows.append(
            {
                "dataset": asked.dataset,
                "size": asked.size,
                "reader": name,
                "images/s": round(sorted(values)[len(values) // 2]),
                "over pillow": f"{ratios[len(ratios) // 2]:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                "over fast": f"{fast[len(fast) // 2]:.2f} ({fast[0]:.2f} to {fast[-1]:.2f})",
            }
        )
        print(*rows[-1].values(), sep="  ", flush=True)
    write_rows(runs / f"speed_{asked.dataset}_{asked.size}.csv", rows)
    print(f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}")


if __name__ == "__main__":
    main()
