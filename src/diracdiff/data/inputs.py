"""Images of the user's that are to be restored: where their results go, and which of them make a batch."""

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


def plan(source: Path, output: Path, extras: list[str], overwrite: bool) -> list[Input]:
    """Find the images below a folder, or one image, and where the results of each go.

    Args:
        source: an image or a folder of images.
        output: a folder.
        extras: names of pictures besides "restored".
        overwrite: whether results that exist may be replaced.

    Raises:
        UserError: if there are no images, one cannot be read, or a result would replace something.
    """
    if not source.exists():
        raise UserError(f"input={source} does not exist: give an image, or a folder of images")
    files = [source] if source.is_file() else list_images(source)
    root = source.parent if source.is_file() else source
    stems = [file.relative_to(root).with_suffix("") for file in files]
    inputs = []
    for file, stem in zip(files, stems, strict=True):
        name = str(file.relative_to(root)) if stems.count(stem) > 1 else str(stem)
        targets = {"restored": output / f"{name}.png"} | {extra: output / f"{name}_{extra}.png" for extra in extras}
        inputs.append(Input(file, *_header(file), targets))
    results = [target for image in inputs for target in image.targets.values()]
    results += [output / "uncertainty.csv"] if "uncertainty" in extras else []
    twice = [target for target in results if results.count(target) > 1]
    if twice:
        raise UserError(f"two results would be called {twice[0]}: rename one of the inputs that give it")
    replaced = {file.resolve() for file in files} & {target.resolve() for target in results}
    if replaced:
        raise UserError(f"output={output} would replace the input {min(replaced)}: give another folder")
    check_output(output, results, overwrite)
    return inputs


def batches(inputs: list[Input], size: int) -> list[list[Input]]:
    """Batches of at most `size` images of the same width and height."""
    found = []
    ordered = sorted(inputs, key=lambda image: (image.size, str(image.path)))
    for _, group in groupby(ordered, key=lambda image: image.size):
        same = list(group)
        found += [same[i : i + size] for i in range(0, len(same), size)]
    return found


def _header(path: Path) -> tuple[tuple[int, int], bool]:
    """Width and height as shown, and whether the image is grey."""
    with opened(path, key=None) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        width, height = image.size
        return ((height, width) if turned else (width, height)), image.mode in GREY_MODES
