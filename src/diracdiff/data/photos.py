"""Data set of photographs of the scikit-image package, without download."""

import importlib.util
import random
from pathlib import Path

from diracdiff.data.crops import FixedCrops, Photographs, RandomCrops
from diracdiff.data.datasets import SPLITS, ImageDataset
from diracdiff.utils.validate import check_count, check_option

PHOTOS = {
    "train": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "val": ("chelsea.png", "coins.png"),
    "test": ("coffee.png", "motorcycle_left.png"),
}
"""Photographs of each split. The training photographs are in the public domain, CC0 or without known restrictions."""

MAX_IMAGE_SIZE = 300  # shorter side of chelsea.png, the smallest photograph

GRIDS = ((3.0, 4, 3), (4 / 3, 2, 2))
"""Grids of held-out crops: (shorter side of the photograph / side of the crop, columns, rows)."""


class Photos:
    """Random crops of nine training photographs, and fixed crops of two validation and two test photographs.

    The maximum side of a training crop is the shorter side of the photograph, see `diracdiff.data.crops`. Validation
    (cat, coins) and test (coffee, motorcycle) have 16 fixed crops per photograph, in a fixed random order. The side of
    twelve crops is 1/3 of the shorter side, that of four overlapping crops 3/4. No crop is smaller than `image_size`.

    Args:
        image_size: side in pixels, in [1, 300].
        crops_per_epoch: number of training crops per epoch, at least 1.
        seed: seed of the training crops.
        recolour: permute the channels of training crops and raise each to a random power in [1/2, 2].

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, image_size: int = 64, crops_per_epoch: int = 2048, seed: int = 0, recolour: bool = False):
        check_count(image_size, "data.image_size")
        check_count(crops_per_epoch, "data.crops_per_epoch")
        if image_size > MAX_IMAGE_SIZE:
            raise ValueError(
                f"data.image_size={image_size}: must be at most {MAX_IMAGE_SIZE} for the bundled photographs. Use a "
                "smaller one or a folder of images."
            )
        if not isinstance(recolour, bool):
            raise ValueError(f"data.recolour={recolour}: must be true or false.")
        self.image_size, self.crops_per_epoch, self.seed, self.recolour = image_size, crops_per_epoch, seed, recolour

    def split(self, name: str) -> ImageDataset:
        """Return the crops of a split.

        Args:
            name: "train", "val" or "test".

        Raises:
            ValueError: if the name is unknown, or a photograph is missing.
        """
        check_option(SPLITS, split=name)
        package = importlib.util.find_spec("skimage")
        folder = (Path(package.origin).parent if package and package.origin else Path("skimage")) / "data"
        files = PHOTOS[name]
        for path in (folder / file for file in files):
            if not path.is_file():
                raise ValueError(f"{path}: does not exist. Reinstall scikit-image, which provides it.")
        photographs = Photographs(folder, files, self.image_size, [Path(file).stem for file in files])
        if name != "train":
            held_out = FixedCrops(photographs, grids=GRIDS)
            random.Random(0).shuffle(held_out.crops)  # the first crops then cover all photographs
            return held_out
        return RandomCrops(photographs, self.crops_per_epoch, self.seed, recolour=self.recolour, clustered=False)
