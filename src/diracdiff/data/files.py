"""Listing and fingerprints of image files in a folder."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.utils import to_absolute_path

from diracdiff.data.image_io import EXTENSIONS


def image_names(root: Path, subfolder: str = "", failed: dict[Path, Exception] | None = None) -> list[str]:
    """List the images below `root/subfolder` at any depth, sorted, as paths relative to `root` with '/'.

    Image files have a suffix in `EXTENSIONS`. Hidden files and folders are omitted. Symbolic links are followed after
    the regular folders, and each folder is visited once.

    Args:
        root: folder that paths are relative to.
        subfolder: folder below `root`.
        failed: receives {folder: error} for folders that cannot be listed; None: raise the error.

    Raises:
        ValueError: if there are no images, or a folder is missing or cannot be listed.
    """

    def on_error(error: OSError) -> None:
        folder = Path(error.filename)
        fault = ValueError(f"{folder}: cannot be listed ({error.strerror}). Check its permissions.")
        if failed is None:
            raise fault from error
        failed[folder] = fault

    resolve_root(root / subfolder)
    base, names, links = os.path.join(root, ""), list[str](), [os.path.join(root, subfolder)]
    seen = set(map(str, Path(os.path.realpath(links[0])).parents))  # links to these are not followed
    while links:
        links.sort(reverse=True)
        for folder, folders, files in os.walk(links.pop(), onerror=on_error):
            if (real := os.path.realpath(folder)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if not name.startswith(".")]
            links += [path for name in folders if os.path.islink(path := os.path.join(folder, name))]
            images = [name for name in files if name.lower().endswith(EXTENSIONS) and not name.startswith(".")]
            names += [os.path.join(folder, name)[len(base) :] for name in images]
    if not names and not failed:
        suffixes = " ".join(EXTENSIONS)
        raise ValueError(
            f"{root / subfolder}: has no images. Add files with a suffix {suffixes}, or use another folder."
        )
    return sorted(names)


def fingerprint(root: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return {"count", "sha256"}: the number of files, and a hash of the sorted names and the file sizes."""
    digest, count = hashlib.sha256(), 0
    for name in sorted(names):
        try:
            size = os.stat(root / name).st_size
        except OSError:
            size = -1
        digest.update(os.fsencode(f"{name}\0{size}\0"))
        count += 1
    return {"count": count, "sha256": digest.hexdigest()}


def resolve_root(root: str | Path) -> Path:
    """Return the absolute path of a folder. Relative paths start in the folder in which the command was started.

    Raises:
        ValueError: if the path is not an existing folder.
    """
    path = Path(to_absolute_path(os.path.expanduser(root)))
    if path.is_dir():
        return path
    fault = "is a file, not a folder" if path.exists() else "does not exist"
    raise ValueError(f"{path}: {fault}. Use a folder of images, such as data.root=/path/to/images.")
