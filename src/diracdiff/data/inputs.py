"""Image files to restore: search, names of the results, and batches of equal size."""

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
"""Suffixes of results by format."""

IF_EXISTS = ("error", "skip", "overwrite")
"""Options for existing results: raise an error, keep them and restore the other images, or replace them."""

MAX_PIXELS = 2**21
"""Maximum number of pixels of a batch."""

FORMATTED_RESULTS = ("restored", "mean")
"""Results in the requested format; the other results are PNG files."""

RESTORED_CSV = "restored.csv"
"""File in the output folder with one row per restored image."""


@dataclass(frozen=True)
class Input:
    """Image file to restore.

    Attributes:
        path: path of the file.
        relative: path relative to the input folder, which selects the noise seed, mask and kernel.
        info: properties of the file.
        outputs: files of the results by name, such as "restored".
        bits: bits per value of the results, 8 or 16; that of the input, except 8 for JPEG.
    """

    path: Path
    relative: Path
    info: ImageInfo
    outputs: dict[str, Path]
    bits: int = 8


def find_inputs(
    source: Path, output: Path, extra_results: Iterable[str], if_exists: str, format: str = "auto"
) -> tuple[list[Input], dict[Path, Exception]]:
    """Find an image, or all images below a folder, and name their results.

    The output folder and folders with a `RESTORED_CSV` are not searched.

    Args:
        source: image or folder.
        output: folder of the results.
        extra_results: names of results in addition to "restored".
        if_exists: treatment of existing results, one of `IF_EXISTS`.
        format: format of the results: a key of `SUFFIXES`, or "auto" for TIFF if the input is TIFF and PNG otherwise.

    Returns:
        List of images, and errors of skipped files by path.

    Raises:
        ValueError: if there are no images, a result would replace an input, or results exist and `if_exists` is
            "error".
    """
    if not os.path.lexists(source):
        raise ValueError(f"input={source}: does not exist. Use an image or a folder of images.")
    if source.is_dir() and output.is_dir() and source.samefile(output):
        raise ValueError(f"output={output}: is the input folder. Use another folder.")
    skipped = dict[Path, Exception]()
    root = source if source.is_dir() else source.parent
    files = _list_images(source, output, skipped) if source.is_dir() else [source]
    stems = Counter(file.with_suffix("") for file in files)
    inputs: list[Input] = []
    owners: dict[Path, Path] = {}
    for file in files:
        relative = file.relative_to(root)
        name = relative if stems[file.with_suffix("")] > 1 else relative.with_suffix("")
        try:
            image = _name_results(file, relative, output / name, extra_results, format)
            if duplicate := next((path for path in image.outputs.values() if path in owners), None):
                raise ValueError(f"{file}: result {duplicate} would replace that of {owners[duplicate]}. Rename one.")
        except ValueError as error:
            skipped[file] = error
            continue
        owners |= dict.fromkeys(image.outputs.values(), file)
        inputs.append(image)
    if replaced := {os.path.realpath(file) for file in files} & {os.path.realpath(path) for path in owners}:
        raise ValueError(f"output={output}: would replace the input {min(replaced)}. Use another folder.")
    check_output(output, owners, if_exists, IF_EXISTS)
    return inputs, skipped


def _list_images(root: Path, output: Path, skipped: dict[Path, Exception]) -> list[Path]:
    """Return the images below a folder, except those in folders of results."""
    files = [root / name for name in image_names(root, failed=skipped)]
    folders = {folder for file in files for folder in file.parents if folder != root and folder.is_relative_to(root)}
    real = os.path.realpath(output)
    results = {folder for folder in folders if (folder / RESTORED_CSV).exists() or os.path.realpath(folder) == real}
    kept = [file for file in files if not results & set(file.parents)]
    if len(kept) < len(files):
        echo(f"skipped: {len(files) - len(kept)} results of earlier commands below {root}")
    return kept


def _name_results(file: Path, relative: Path, stem: Path, extra_results: Iterable[str], format: str) -> Input:
    """Return an image with the paths of its results, which begin with `stem`."""
    info = read_info(file)
    if info.alpha and format == "jpg":
        raise ValueError(f"{file}: has transparency, which JPEG does not support. Use format=png.")
    main_suffix = SUFFIXES[("tiff" if info.format == "tiff" else "png") if format == "auto" else format]
    outputs = {}
    for extra in ("restored", *extra_results):
        suffix = main_suffix if extra in FORMATTED_RESULTS else ".png"
        outputs[extra] = stem.with_name(f"{stem.name}{'' if extra == 'restored' else f'_{extra}'}{suffix}")
    return Input(file, relative, info, outputs, 8 if format == "jpg" else info.bits)


def group_by_size(inputs: Iterable[Input], size: int) -> list[list[Input]]:
    """Group images of equal width and height into batches.

    Args:
        inputs: images.
        size: maximum number of images of a batch; a batch also has at most `MAX_PIXELS` pixels, or one image.

    Returns:
        List of batches.
    """
    batches = []
    ordered = sorted(inputs, key=lambda image: (image.info.size, str(image.path)))
    for (width, height), group in groupby(ordered, key=lambda image: image.info.size):
        images, max_images = list(group), max(1, min(size, MAX_PIXELS // (width * height)))
        batches += [images[i : i + max_images] for i in range(0, len(images), max_images)]
    return batches
