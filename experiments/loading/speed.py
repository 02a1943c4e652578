"""Compare the images per second of a training loader for a folder of JPEG files and for a packed data set.

Usage: python -m experiments.loading.speed celebahq|imagenet ROOT SIZE
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from diracdiff.data import CelebAHQ, HuggingFace, ImageNet
from diracdiff.data.packing import pack
from diracdiff.training import ImageDataModule

REPETITIONS, BATCH = 5, 32


def rate(dataset, count):
    """Return the images per second of CPU time over at most `count` images."""
    loader, seen = iter(ImageDataModule(dataset, BATCH).train_dataloader()), 0
    next(loader)
    start = time.process_time()
    for batch in loader:
        seen += len(batch["x"])
        if seen >= count:
            break
    return seen / (time.process_time() - start)


def main(kind, root, size):
    """Print the median rates of both data sets over alternating repetitions, and their ratio."""
    torch.set_num_threads(1)
    folder = {"celebahq": CelebAHQ, "imagenet": ImageNet}[kind](root, int(size))
    with tempfile.TemporaryDirectory() as temporary:
        pack(folder, ["train", "val", "test"], Path(temporary) / "packed")
        packed = HuggingFace(f"{temporary}/packed", int(size))
        rates_of = [(rate(folder, 500), rate(packed, 3000)) for _ in range(REPETITIONS)]
    ratios = [fast / slow for slow, fast in rates_of]
    slow, fast = (statistics.median(rates) for rates in zip(*rates_of, strict=True))
    low, high = min(ratios), max(ratios)
    print(f"folder {slow:.0f}, packed {fast:.0f}, ratio {statistics.median(ratios):.1f} ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main(*sys.argv[1:])
