"""The colour photographs inside the scikit-image wheel: a data set for machines with no data and no network."""

import importlib.util
from pathlib import Path

from diracdiff.data.crops import FixedCrops, Photographs, RandomCrops, Sampling
from diracdiff.data.datasets import ImageDataset, check_integer, check_split
from diracdiff.utils.errors import UserError

PHOTOS = {
    "train": (
        "astronaut.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "val": ("chelsea.png",),
    "test": ("coffee.png",),
}
LARGEST_SIZE = 300  # the shorter side of chelsea.png, the smallest photograph

GRIDS = ((3.0, 4, 3), (4 / 3, 2, 2))
"""Grids of held-out crops: the photograph's shorter side over the crop's, columns, rows."""


class Photos:
    """Random crops of seven photographs to train on, fixed crops of two others to validate and test on.

    Training: astronaut, rocket, the two views of a motorcycle, a deep field of Hubble's, a retina and a stained
    tissue (ihc). `crops_per_epoch` squares, their side log-uniform between `image_size` and the photograph's shorter
    side, at a uniform place, half of them mirrored. Crop number `index` of an epoch follows from
    (seed, epoch, index). With `recolour` their channels are in a random order, and each is raised to a power between
    1/2 and 2: the seven show few colours, and a network errs in those that it has not seen.

    Validation: the cat (chelsea). Test: the cup (coffee). 16 crops of each, the same in every run: twelve side by
    side of a third of the shorter side, and four overlapping ones of three quarters of it. A crop is never smaller
    than `image_size`, so for large sizes they overlap more.

    A crop is named photo-left-top-side, in pixels of the photograph.

    Args:
        image_size: side in pixels, at most 300.
        crops_per_epoch: number of training crops that an epoch draws.
        seed: of the training crops.
        files: names of files of scikit-image to train on instead, grey ones, too, with commas between them; empty: the
            seven.
        recolour: give the training crops random colours.

    Raises:
        UserError: if an argument breaks its rule.
    """

    def __init__(
        self, image_size: int = 64, crops_per_epoch: int = 2048, seed: int = 0, files: str = "", recolour: bool = False
    ):
        check_integer("dataset.image_size", image_size, 1, 64)
        check_integer("dataset.crops_per_epoch", crops_per_epoch, 1, 2048)
        if image_size > LARGEST_SIZE:
            raise UserError(
                f"dataset.image_size must be at most {LARGEST_SIZE} for the built-in photographs, got {image_size}:"
                " use a smaller one or a folder of your own images"
            )
        self.image_size = image_size
        self.crops_per_epoch = crops_per_epoch
        self.seed = seed
        check_files(files)
        if not isinstance(recolour, bool):
            raise UserError(f"dataset.recolour must be true or false, got {recolour}")
        self.files, self.recolour = files, recolour

    def split(self, name: str) -> ImageDataset:
        """The data set `name`: train, val or test. Raises UserError for any other name or a missing photograph."""
        check_split(name)
        files = tuple(self.files.split(",")) if name == "train" and self.files else PHOTOS[name]
        for path in (_folder() / file for file in files):
            if not path.is_file():
                raise UserError(f"the photograph {path} is missing: reinstall scikit-image, which ships it")
        photographs, titles = Photographs(_folder(), files, self.image_size), [Path(file).stem for file in files]
        if name != "train":
            return FixedCrops(photographs, titles, grids=GRIDS)
        sampling = Sampling(self.crops_per_epoch, self.seed, recolour=self.recolour, clustered=False)
        return RandomCrops(photographs, titles, sampling)


def check_files(files: str) -> None:
    """Refuse names of training photographs that are none, or those of validation and test.

    Raises:
        UserError: naming the value and the rule.
    """
    names = files.split(",") if isinstance(files, str) and files else []
    if not isinstance(files, str) or any(not name or name != Path(name).name for name in names):
        raise UserError(
            "dataset.files must be names of files with commas between them, such as astronaut.png,rocket.jpg, "
            f"got {files}"
        )
    if held_out := sorted({*names} & {*PHOTOS["val"], *PHOTOS["test"]}):
        raise UserError(f"dataset.files names {held_out[0]}, which is held out for validation or test: leave it out")


def _folder() -> Path:
    package = importlib.util.find_spec("skimage")
    return (Path(package.origin).parent if package and package.origin else Path("skimage")) / "data"
