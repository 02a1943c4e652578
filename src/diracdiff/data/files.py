"""Files below folders: their names, and what a checkpoint remembers of them."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.utils import to_absolute_path

from diracdiff.data.image_io import EXTENSIONS


def image_names(root: Path, within: str = "", failed: dict[Path, Exception] | None = None) -> list[str]:
    """List the images below `root/within` at any depth, sorted, as paths relative to `root` with '/'.

    Images are known by their suffixes, see EXTENSIONS. Hidden files and folders are left out. Links are followed, after
    the folders that are not links, and each folder is visited once.

    Args:
        root: a folder.
        within: a folder below it.
        failed: receives {folder: error} of folders that cannot be listed; None: they are errors.

    Raises:
        ValueError: if there are no images, or a folder is missing or cannot be listed.
    """

    def refuse(error: OSError) -> None:
        folder = Path(error.filename)
        refusal = ValueError(f"{folder} cannot be listed ({error.strerror}): check its permissions")
        if failed is None:
            raise refusal from error
        failed[folder] = refusal

    check_root(root / within)
    base, names, links = os.path.join(root, ""), list[str](), [os.path.join(root, within)]
    seen = set(map(str, Path(os.path.realpath(links[0])).parents))  # links to these are not followed
    while links:
        links.sort(reverse=True)
        for folder, folders, files in os.walk(links.pop(), onerror=refuse):
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
            f"{root / within} holds no images: put files ending in {suffixes} there, or name another folder"
        )
    return sorted(names)


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
    raise ValueError(f"{path} {fault}: name a folder of images, such as data.root=/path/to/images")
