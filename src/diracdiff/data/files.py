"""Files below folders: their names, and what a checkpoint remembers of them."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.utils import to_absolute_path

from diracdiff.data.image_io import EXTENSIONS


def list_files(root: Path, within: str = "", failed: dict[Path, Exception] | None = None) -> list[str]:
    """List the files below `root/within` at any depth, sorted, as paths relative to `root` with '/'.

    Links are followed, after the folders that are not links, and each folder is visited once. Hidden files and folders
    are left out.

    Args:
        root: a folder.
        within: a folder below it.
        failed: receives {folder: error} of folders that cannot be listed; None: they are errors.

    Raises:
        ValueError: if a folder cannot be listed.
    """
    names: list[str] = []
    folders, links, seen = [within], list[str](), set[str]()
    whole = os.path.join(os.path.realpath(root / within), "")
    while folders or links:
        linked = not folders
        relative = links.pop(links.index(min(links))) if linked else folders.pop()
        real = os.path.realpath(root / relative)
        if real in seen or (linked and whole.startswith(os.path.join(real, ""))):
            continue
        seen.add(real)
        try:
            entries = list(os.scandir(root / relative))
        except OSError as error:
            refusal = ValueError(f"{root / relative} cannot be listed ({error.strerror}): check its permissions")
            if failed is None:
                raise refusal from error
            failed[root / relative] = refusal
            continue
        for entry in entries:
            path = f"{relative}/{entry.name}" if relative else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                links.append(path)
            else:
                names.append(path)
    return sorted(names)


def image_names(root: Path, within: str = "") -> list[str]:
    """List the images below `root/within`, by the suffixes in EXTENSIONS, as `list_files` does.

    Raises:
        ValueError: if there are none, or a folder is missing or cannot be listed.
    """
    folder = check_root(root / within)
    names = [name for name in list_files(root, within) if name.lower().endswith(EXTENSIONS)]
    if not names:
        raise ValueError(
            f"{folder} holds no images: put files ending in {' '.join(EXTENSIONS)} there, or name another folder"
        )
    return names


def list_images(root: str | Path) -> list[Path]:
    """Return the paths that `image_names` lists."""
    root = check_root(root)
    return [root / name for name in image_names(root)]


def fingerprint(root: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return the number of files and a SHA-256 of their names and sizes in bytes, in the order of names."""
    digest, count = hashlib.sha256(), 0
    for name in sorted(names):
        try:
            size = os.stat(root / name).st_size
        except OSError:
            size = -1
        digest.update(os.fsencode(f"{name}\0{size}\0"))
        count += 1
    return {"count": count, "sha256": digest.hexdigest()}


def check_root(root: str | Path) -> Path:
    """Return a folder as an absolute path; a relative one begins where the command was started.

    Raises:
        ValueError: unless it is an existing folder.
    """
    path = Path(to_absolute_path(os.path.expanduser(root)))
    if path.is_dir():
        return path
    fault = "is a file, not a folder" if path.exists() else "does not exist"
    raise ValueError(f"{path} {fault}: name a folder of images, such as dataset.root=/path/to/images")
