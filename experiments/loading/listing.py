"""Measure the time to list 1.3 million names in the layout of ImageNet and in a folder split by a hash.

Usage: python -m experiments.loading.listing [COUNT]
"""

import sys
import tempfile
import time
from pathlib import Path

from diracdiff.data import ImageNet
from diracdiff.data.files import image_names

FOLDERS = 1000


def main(count=1_300_000):
    """Print wall time and CPU time in seconds."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for number in range(FOLDERS):
            folder = root / "train" / f"n{number:08}"
            folder.mkdir(parents=True)
            for image in range(int(count) // FOLDERS):
                (folder / f"n{number:08}_{image}.JPEG").touch()
        for label, listing in (
            ("names", lambda: len(image_names(root))),
            ("imagenet, train", lambda: len(ImageNet(root, 64).split("train"))),
        ):
            wall, cpu = time.perf_counter(), time.process_time()
            listed = listing()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(f"{label}: {listed} in {wall:.1f} s ({cpu:.1f} s of CPU)")


if __name__ == "__main__":
    main(*sys.argv[1:])
