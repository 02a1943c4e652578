"""Image files to restore: found below a folder, with the names of their results, and grouped into batches."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from diracdiff.data.files import image_names
from diracdiff.data.image_io import ImageInfo, read_info
from diracdiff.utils.errors import echo
from diracdiff.utils.files import check_output

SUFFIXES = {"png": ".png", "jpg": ".jpg", "tiff": ".tif"}
"""{format of results: suffix of their names}."""

IF_EXISTS = ("error", "skip", "overwrite")
"""Results that exist: refuse the command, keep them and restore the other images, or replace them."""

MAX_PIXELS = 2**21
"""Largest number of pixels of a batch."""

IN_FORM = ("restored", "mean")
"""Results that take the requested format; the others are PNG."""

TABLE = "restored.csv"
"""The file of an output folder with a row for every restored image."""


@dataclass(frozen=True)
class Input:
    """An image file to restore.

    Attributes:
        path: path of the file.
        relative: path relative to the input folder, or the file's name; noise, masks and kernels follow from it.
        info: its header.
        targets: {name of a result, "restored" for example: its file}.
        bits: of a value of the results, 8 or 16: as many as the file has, and 8 in a JPEG.
    """

    path: Path
    relative: Path
    info: ImageInfo
    targets: dict[str, Path]
    bits: int = 8


def plan(
    source: Path, output: Path, extras: Iterable[str], if_exists: str, format: str = "auto"
) -> tuple[list[Input], dict[Path, Exception]]:
    """Find an image, or all images below a folder, and name their results.

    Folders below the input that hold results, the output or one with a TABLE, are left out.

    Args:
        source: an image or a folder.
        output: a folder.
        extras: names of further results, next to "restored".
        if_exists: for results that exist, one of IF_EXISTS.
        format: of results, a key of SUFFIXES or "auto": TIFF for a TIFF and PNG for the rest.

    Returns:
        The images, and {file: the error for which it is skipped}.

    Raises:
        ValueError: if there are no images, results would replace inputs, or results exist and are refused.
    """
    if not os.path.lexists(source):
        raise ValueError(f"input={source} does not exist: give an image, or a folder of images")
    if source.is_dir() and output.is_dir() and source.samefile(output):
        raise ValueError(f"output={output} is the input folder. Give another folder.")
    skipped = dict[Path, Exception]()
    root = source if source.is_dir() else source.parent
    files = _images_below(source, output, skipped) if source.is_dir() else [source]
    stems = Counter(file.with_suffix("") for file in files)
    inputs: list[Input] = []
    owners: dict[Path, Path] = {}
    for file in files:
        relative = file.relative_to(root)
        name = relative if stems[file.with_suffix("")] > 1 else relative.with_suffix("")
        try:
            image = _named(file, relative, output / name, extras, format)
            if twice := next((target for target in image.targets.values() if target in owners), None):
                raise ValueError(f"{file}: its result {twice} would replace that of {owners[twice]}. Rename one.")
        except ValueError as error:
            skipped[file] = error
            continue
        owners |= dict.fromkeys(image.targets.values(), file)
        inputs.append(image)
    if replaced := {os.path.realpath(file) for file in files} & {os.path.realpath(target) for target in owners}:
        raise ValueError(f"output={output} would replace the input {min(replaced)}: give another folder")
    check_output(output, owners, if_exists, IF_EXISTS)
    return inputs, skipped


def _images_below(root: Path, output: Path, skipped: dict[Path, Exception]) -> list[Path]:
    """Find the images below a folder that are in no folder of results."""
    files = [root / name for name in image_names(root, failed=skipped)]
    folders = {folder for file in files for folder in file.parents if folder != root and folder.is_relative_to(root)}
    real = os.path.realpath(output)
    results = {folder for folder in folders if (folder / TABLE).exists() or os.path.realpath(folder) == real}
    kept = [file for file in files if not results & set(file.parents)]
    if len(kept) < len(files):
        echo(f"left out: {len(files) - len(kept)} results of earlier commands below {root}")
    return kept


def _named(file: Path, relative: Path, stem: Path, extras: Iterable[str], format: str) -> Input:
    """Name the results of an image, which begin with `stem`."""
    info = read_info(file)
    if info.alpha and format == "jpg":
        raise ValueError(f"{file}: it is transparent, which a JPEG cannot be. Use format=png.")
    chosen = SUFFIXES[("tiff" if info.format == "tiff" else "png") if format == "auto" else format]
    targets = {}
    for extra in ("restored", *extras):
        suffix = chosen if extra in IN_FORM else ".png"
        targets[extra] = stem.with_name(f"{stem.name}{'' if extra == 'restored' else f'_{extra}'}{suffix}")
    return Input(file, relative, info, targets, 8 if format == "jpg" else info.bits)


def batches(inputs: Iterable[Input], size: int) -> list[list[Input]]:
    """Group images of one width and height into batches of at most `size` images and MAX_PIXELS pixels."""
    found = []
    ordered = sorted(inputs, key=lambda image: (image.info.size, str(image.path)))
    for (width, height), group in groupby(ordered, key=lambda image: image.info.size):
        same, most = list(group), max(1, min(size, MAX_PIXELS // (width * height)))
        found += [same[i : i + most] for i in range(0, len(same), most)]
    return found
