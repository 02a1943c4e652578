"""Seconds to find the images of ImageNet's size: 1.3 million empty files, without and with the cache of their names."""

import argparse
import os
import tempfile
import time
from pathlib import Path

from diracdiff.data import ImageFolder, ImageNet, listing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=1300, help="of each class")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as above:
        os.environ["XDG_CACHE_HOME"] = f"{above}/cache"
        root = Path(above, "imagenet")
        for number in range(asked.classes):
            folder = root / "train" / f"n{number:08}"
            folder.mkdir(parents=True)
            for image in range(asked.images):
                os.close(os.open(folder / f"{folder.name}_{image:05}.JPEG", os.O_CREAT))
        time.sleep(2 * listing.SETTLED)
        for name, dataset, split in (("imagenet", ImageNet(root), "train"), ("folder", ImageFolder(root), "val")):
            for state in ("cold", "warm", "warm"):
                start, cpu = time.perf_counter(), time.process_time()
                count = len(dataset.split(split).names)
                spent = time.perf_counter() - start, time.process_time() - cpu
                print(f"{name} {split} {state}: {count} images, {spent[0]:.2f} s, {spent[1]:.2f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
