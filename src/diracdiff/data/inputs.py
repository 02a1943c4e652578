"""Images of the user's that are to be restored: where their results go, and which of them make a batch."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import ExifTags

from diracdiff.data.images import opened
from diracdiff.data.listing import list_images
from diracdiff.errors import UserError
from diracdiff.storage.files import check_output

GREY_MODES = ("1", "L", "I", "I;16", "F", "LA")


@dataclass(frozen=True)
class Input:
    """An image file.

    Attributes:
        path: of the file.
        size: width and height in pixels as shown, after the EXIF rotation.
        grey: whether it has no colour.
        targets: where its results go: "restored", and the extra pictures by their names.
    """

    path: Path
    size: tuple[int, int]
    grey: bool
    targets: dict[str, Path]


EXISTING = ("refuse", "skip", "replace")
"""What to do with results that exist: refuse the command, leave them and restore the other images, or replace them."""

PIXELS = 2**21
"""Of the images of a batch, together, at most."""


def plan(
    source: Path, output: Path, extras: list[str], existing: str, done: Callable[[Path], bool] = lambda path: True
) -> tuple[list[Input], dict[Path, str]]:
    """Find the images below a folder, or one image, and where the results of each go.

    Args:
        source: an image or a folder of images.
        output: a folder.
        extras: names of pictures besides "restored".
        existing: one of EXISTING.
        done: whether an image whose results exist is done, with "skip".

    Returns:
        The images that are to be restored, and {file: why it cannot be}.

    Raises:
        UserError: if there are no images, the only one cannot be read, or a result would replace something.
    """
    if not source.exists():
        raise UserError(f"input={source} does not exist: give an image, or a folder of images")
    files = [source] if source.is_file() else list_images(source)
    root = source.parent if source.is_file() else source
    stems = Counter(file.relative_to(root).with_suffix("") for file in files)
    inputs, unreadable = [], {}
    for file in files:
        relative = file.relative_to(root)
        name = relative if stems[relative.with_suffix("")] > 1 else relative.with_suffix("")
        targets = {"restored": output / f"{name}.png"} | {extra: output / f"{name}_{extra}.png" for extra in extras}
        try:
            inputs.append(Input(file, *_header(file), targets))
        except UserError as error:
            if source.is_file():
                raise
            unreadable[file] = str(error)
    results = Counter(target for image in inputs for target in image.targets.values())
    results.update([output / "uncertainty.csv"] if "uncertainty" in extras else [])
    twice = [target for target, count in results.items() if count > 1]
    if twice:
        raise UserError(f"two results would be called {twice[0]}: rename one of the inputs that give it")
    replaced = {file.resolve() for file in files} & {target.resolve() for target in results}
    if replaced:
        raise UserError(f"output={output} would replace the input {min(replaced)}: give another folder")
    check_output(output, results, existing != "refuse")
    if existing == "skip":
        inputs = [i for i in inputs if not (all(t.is_file() for t in i.targets.values()) and done(i.path))]
    return inputs, unreadable


def batches(inputs: list[Input], size: int) -> list[list[Input]]:
    """Batches of at most `size` images of the same width and height, and of one image or at most PIXELS."""
    found = []
    ordered = sorted(inputs, key=lambda image: (image.size, str(image.path)))
    for (width, height), group in groupby(ordered, key=lambda image: image.size):
        same, most = list(group), max(1, min(size, PIXELS // (width * height)))
        found += [same[i : i + most] for i in range(0, len(same), most)]
    return found


def _header(path: Path) -> tuple[tuple[int, int], bool]:
    """Width and height as shown, and whether the image is grey."""
    with opened(path, key=None) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        width, height = image.size
        return ((height, width) if turned else (width, height)), image.mode in GREY_MODES
