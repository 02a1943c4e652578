"""Image files to restore: found below a folder, with the names of their results, and grouped into batches."""

import mimetypes
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from diracdiff.data.image_io import EXTENSIONS, ImageInfo, read_info
from diracdiff.utils.errors import UserError, say, warn
from diracdiff.utils.files import check_output, read_lines

SUFFIXES = {"png": ".png", "jpg": ".jpg", "tiff": ".tif"}
"""{format of results: suffix of their names}."""

EXISTING = ("refuse", "skip", "replace")
"""Results that exist: refuse the command, keep them and restore the other images, or replace them."""

MAX_PIXELS = 2**21
"""Of all images of a batch together."""

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
        path: of the file.
        relative: its path relative to the input folder, or its name; noise, masks and kernels follow from it.
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

    Left out of a folder, and named, are results of earlier commands that restored images of the same folder, and
    images in formats that a folder is not searched for.

    Args:
        source: an image or a folder.
        output: a folder.
        extras: names of further results, next to "restored".
        existing: one of EXISTING.
        form: format and depth of results.

    Returns:
        The images, and {file: the error for which it is skipped}.

    Raises:
        UserError: if there are no images, results would replace inputs, or results exist and are to be refused.
    """
    if not os.path.lexists(source):
        raise UserError(f"input={source} does not exist: give an image, or a folder of images")
    root = source if source.is_dir() else source.parent
    files, skipped = _images_below(root, output) if source.is_dir() else ([source], {})
    stems = Counter(file.relative_to(root).with_suffix("") for file in files)
    inputs: list[Input] = []
    owners: dict[Path, Path] = {}
    for file in files:
        relative = file.relative_to(root)
        name = relative if stems[relative.with_suffix("")] > 1 else relative.with_suffix("")
        try:
            image = _named(file, relative, name, output, extras, form)
            twice = next((target for target in image.targets.values() if target in owners), None)
            if twice is not None:
                raise UserError(
                    f"{file}: its result {twice} would replace that of {owners[twice]}. Rename one of both."
                )
        except UserError as error:
            skipped[file] = error
            continue
        owners |= dict.fromkeys(image.targets.values(), file)
        inputs.append(image)
    replaced = {real_path(file) for file in files} & {real_path(target) for target in owners}
    if replaced:
        raise UserError(f"output={output} would replace the input {min(replaced)}: give another folder")
    tables = [output / TABLE] if "uncertainty" in extras else []
    check_output(output, [*owners, *tables], existing != "refuse")
    if animated := [image.path for image in inputs if image.info.frames > 1]:
        warn(f"only the first frame is restored of {shortened(animated)}")
    return inputs, skipped


def _named(file: Path, relative: Path, name: Path, output: Path, extras: Iterable[str], form: Form) -> Input:
    info = read_info(file)
    if info.alpha and form.format == "jpg":
        raise UserError(f"{file}: it is transparent, which a JPEG cannot be. Use format=png.")
    suffixes = {extra: form.suffix(info) if extra in IN_FORM else ".png" for extra in ("restored", *extras)}
    targets = {
        extra: output / name.with_name(f"{name.name}{'' if extra == 'restored' else f'_{extra}'}{suffix}")
        for extra, suffix in suffixes.items()
    }
    for target in targets.values():
        if len(os.fsencode(target.name)) > MAX_NAME:
            raise UserError(f"{file}: the name of its result has more than {MAX_NAME} bytes. Shorten its name.")
    return Input(file, relative, info, targets, form.bits_of(info))


def shortened(paths: Iterable[Path], most: int = 3) -> str:
    """Return the names of some files, and how many more there are."""
    names = [path.name for path in paths]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of an output folder's log; a later line of a result replaces earlier ones.

    Raises:
        UserError: if the log cannot be read.
    """
    return read_lines(folder / LOG, _is_log_row)


def _is_log_row(row: dict[str, Any]) -> bool:
    files = row.get("files") if isinstance(row.get("files"), list) else [None]
    texts = [row.get("image"), row.get("path"), row.get("result"), *(files or [])]
    return all(isinstance(text, str) and "\0" not in text for text in texts)


def real_path(path: Path) -> Path:
    """Return a path without symbolic links; one of a loop stays, where `Path.resolve` raises."""
    return Path(os.path.realpath(path))


def batches(inputs: Iterable[Input], size: int) -> list[list[Input]]:
    """Group images of one width and height into batches of at most `size` images and MAX_PIXELS pixels."""
    found = []
    ordered = sorted(inputs, key=lambda image: (image.info.size, str(image.path)))
    for (width, height), group in groupby(ordered, key=lambda image: image.info.size):
        same, most = list(group), max(1, min(size, MAX_PIXELS // (width * height)))
        found += [same[i : i + most] for i in range(0, len(same), most)]
    return found


def _images_below(root: Path, output: Path) -> tuple[list[Path], dict[Path, Exception]]:
    """Find the images below a folder that are not results of earlier commands."""
    found, skipped = files_below(root)
    files = [file for file in found if file.suffix.lower() in EXTENSIONS]
    others = [
        file
        for file in found
        if file.suffix.lower() not in EXTENSIONS and (mimetypes.guess_type(file.name)[0] or "").startswith("image/")
    ]
    if others:
        remedy = "give a GIF by itself, for its first frame, and save the rest as PNG"
        formats = " ".join(EXTENSIONS)
        warn(f"not restored, because a folder is searched for {formats} alone: {shortened(others)}: {remedy}")
    if not files and not skipped:
        raise UserError(f"input={root} holds no images: give a folder of files ending in {' '.join(EXTENSIONS)}")
    if results := _results(files, root, output):
        say(f"left out: {shortened(sorted(results))}, results of earlier commands")
        files = [file for file in files if file not in results]
        if not files:
            raise UserError(
                f"input={root} holds results of earlier commands alone: give single images, or another folder"
            )
    return files, skipped


def files_below(root: Path) -> tuple[list[Path], dict[Path, Exception]]:
    """List what a folder holds, links followed, hidden files and folders left out; folders that cannot be listed."""
    files: list[Path] = []
    skipped: dict[Path, Exception] = {}
    whole = real_path(root)
    seen, folders = {whole}, [root]
    while folders:
        folder = folders.pop()
        try:
            entries = [Path(entry.path) for entry in os.scandir(folder) if not entry.name.startswith(".")]
        except OSError as error:
            skipped[folder] = UserError(f"{folder}: cannot be listed ({error.strerror}). Check its permissions.")
            continue
        for path in entries:
            if not path.is_dir():
                files.append(path)
                continue
            real = real_path(path)
            around = real.is_relative_to(whole) or whole.is_relative_to(real)
            if real in seen or (around and path.is_symlink()):
                warn(f"{path}: a link to {real}, whose files are found without it. Skipped.")
            else:
                seen.add(real)
                folders.append(path)
    return sorted(files, key=lambda file: file.relative_to(root).as_posix()), skipped


def _results(files: list[Path], root: Path, output: Path) -> set[Path]:
    """Find results of earlier commands among images: named by logs, or in an output folder within the input."""
    whole, home = real_path(root), real_path(output)
    within = home != whole and home.is_relative_to(whole)
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(root)}
    logged = {
        real_path(folder / name)
        for folder in folders
        for row in read_log(folder)
        if Path(row["path"]).is_relative_to(whole)
        for name in row["files"]
    }
    resolved = {file: real_path(file) for file in files}
    return {file for file, real in resolved.items() if real in logged or (within and real.is_relative_to(home))}
