"""Image files to restore: found below a folder, with the names of their results, and grouped into batches."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from diracdiff.data.files import list_files
from diracdiff.data.image_io import EXTENSIONS, ImageInfo, read_info
from diracdiff.utils.errors import say, warn
from diracdiff.utils.files import check_output, read_lines

SUFFIXES = {"png": ".png", "jpg": ".jpg", "tiff": ".tif"}
"""{format of results: suffix of their names}."""

EXISTING = ("error", "skip", "overwrite")
"""Results that exist: refuse the command, keep them and restore the other images, or replace them."""

MAX_PIXELS = 2**21
"""Largest number of pixels of a batch."""

IN_FORM = ("restored", "mean")
"""Results that take the requested format; the others are PNG."""

LOG = "restored.jsonl"
"""The file of an output folder with a line for every restored image."""

TABLE = "uncertainty.csv"
"""The file of an output folder with a row for every image of several samples."""

MAX_NAME = 255
"""Bytes of a file name."""


@dataclass(frozen=True)
class Input:
    """An image file to restore.

    Attributes:
        path: path of the file.
        relative: path relative to the input folder, or the file's name; noise, masks and kernels follow from it.
        info: its header.
        targets: {name of a result, "restored" for example: its file}.
        bits: of a value of the results, 8 or 16.
    """

    path: Path
    relative: Path
    info: ImageInfo
    targets: dict[str, Path]
    bits: int = 8


@dataclass(frozen=True)
class Form:
    """Format and depth of results.

    Attributes:
        format: "png", "jpg", "tiff", or "auto": TIFF for a TIFF and PNG for the rest.
        bits: 8 or 16 of a value; None: as many as the file has, and 8 in a JPEG.
    """

    format: str = "auto"
    bits: int | None = None

    def suffix(self, info: ImageInfo) -> str:
        """Return the suffix of a result."""
        return SUFFIXES[("tiff" if info.format == "tiff" else "png") if self.format == "auto" else self.format]

    def bits_of(self, info: ImageInfo) -> int:
        """Return the bits of a value of a result."""
        return self.bits or (8 if self.format == "jpg" else info.bits)


def plan(
    source: Path, output: Path, extras: Iterable[str], existing: str, form: Form = Form()
) -> tuple[list[Input], dict[Path, Exception]]:
    """Find an image, or all images below a folder, and name their results.

    Results of earlier commands are left out of a folder.

    Args:
        source: an image or a folder.
        output: a folder.
        extras: names of further results, next to "restored".
        existing: one of EXISTING.
        form: format and depth of results.

    Returns:
        The images, and {file: the error for which it is skipped}.

    Raises:
        ValueError: if there are no images, results would replace inputs, or results exist and are refused.
    """
    if not os.path.lexists(source):
        raise ValueError(f"input={source} does not exist: give an image, or a folder of images")
    root, skipped = (source, dict[Path, Exception]()) if source.is_dir() else (source.parent, {})
    files = _images_below(source, output, skipped) if source.is_dir() else [source]
    stems = Counter(file.relative_to(root).with_suffix("") for file in files)
    inputs: list[Input] = []
    owners: dict[Path, Path] = {}
    for file in files:
        relative = file.relative_to(root)
        name = relative if stems[relative.with_suffix("")] > 1 else relative.with_suffix("")
        try:
            image = _named(file, relative, name, output, extras, form)
            if twice := next((target for target in image.targets.values() if target in owners), None):
                raise ValueError(f"{file}: its result {twice} would replace that of {owners[twice]}. Rename one.")
        except ValueError as error:
            skipped[file] = error
            continue
        owners |= dict.fromkeys(image.targets.values(), file)
        inputs.append(image)
    if replaced := {_real(file) for file in files} & {_real(target) for target in owners}:
        raise ValueError(f"output={output} would replace the input {min(replaced)}: give another folder")
    tables = [output / TABLE] if "uncertainty" in extras else []
    check_output(output, [*owners, *tables], existing != "error", "existing=overwrite")
    if animated := sum(image.info.frames > 1 for image in inputs):
        warn(f"input={source}: {animated} of {len(inputs)} files have several frames, of which the first is restored")
    return inputs, skipped


def _named(file: Path, relative: Path, name: Path, output: Path, extras: Iterable[str], form: Form) -> Input:
    info = read_info(file)
    if info.alpha and form.format == "jpg":
        raise ValueError(f"{file}: it is transparent, which a JPEG cannot be. Use format=png.")
    targets = {}
    for extra in ("restored", *extras):
        suffix = form.suffix(info) if extra in IN_FORM else ".png"
        targets[extra] = output / name.with_name(f"{name.name}{'' if extra == 'restored' else f'_{extra}'}{suffix}")
        if len(os.fsencode(targets[extra].name)) > MAX_NAME:
            raise ValueError(f"{file}: the name of its result has more than {MAX_NAME} bytes. Shorten its name.")
    return Input(file, relative, info, targets, form.bits_of(info))


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of an output folder's log; a later line of a result replaces earlier ones.

    Raises:
        ValueError: if the log cannot be read.
    """
    return read_lines(folder / LOG, _is_log_row)


def _is_log_row(row: dict[str, Any]) -> bool:
    files = row.get("files") if isinstance(row.get("files"), list) else [None]
    texts = [row.get("image"), row.get("path"), row.get("result"), *(files or [])]
    return all(isinstance(text, str) and "\0" not in text for text in texts)


def batches(inputs: Iterable[Input], size: int) -> list[list[Input]]:
    """Group images of one width and height into batches of at most `size` images and MAX_PIXELS pixels."""
    found = []
    ordered = sorted(inputs, key=lambda image: (image.info.size, str(image.path)))
    for (width, height), group in groupby(ordered, key=lambda image: image.info.size):
        same, most = list(group), max(1, min(size, MAX_PIXELS // (width * height)))
        found += [same[i : i + most] for i in range(0, len(same), most)]
    return found


def _images_below(root: Path, output: Path, skipped: dict[Path, Exception]) -> list[Path]:
    """Find the images below a folder that are not results of earlier commands."""
    files = [root / name for name in list_files(root, failed=skipped) if name.lower().endswith(EXTENSIONS)]
    if not files and not skipped:
        raise ValueError(f"input={root} holds no images: give a folder of files ending in {' '.join(EXTENSIONS)}")
    whole, home = _real(root), _real(output)
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(root)}
    logged = {
        _real(folder / name)
        for folder in folders
        for row in read_log(folder)
        if Path(row["path"]).is_relative_to(whole)
        for name in row["files"]
    }
    within = home != whole and home.is_relative_to(whole)
    kept = [file for file in files if not (_real(file) in logged or (within and _real(file).is_relative_to(home)))]
    if len(kept) < len(files):
        say(f"left out: {len(files) - len(kept)} results of earlier commands below {root}")
        if not kept:
            raise ValueError(f"input={root} holds results of earlier commands alone: give single images")
    return kept


def _real(path: Path) -> Path:
    """Return a path without symbolic links; one of a loop stays, where `Path.resolve` raises."""
    return Path(os.path.realpath(path))
