"""Division of a folder into train, val and test, such that no image is in two of them.

Folders at the top of the data set divide it, by the names in `FOLDERS`, in any case. Without a training folder, all
images outside these folders train. A split without a folder is taken from the training images: they are ordered by a
hash of (seed, name), the first ones validate, the next ones test, the rest train.

Files with identical bytes are in one split. Only files of equal size are compared.
"""

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diracdiff.data.listing import image_names, subfolders
from diracdiff.utils.errors import UserError, warn

FOLDERS = {
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation", "dev"),
    "train": ("train", "training"),
}
"""Folder names of every split. Of identical files, those of the first split here are kept."""

SAMPLE = 4096
"""Bytes from the middle of a file that are compared before the whole file is read."""


def split_folders(root: Path) -> dict[str, str]:
    """Return the folders at the top of `root` that name a split, {split: folder}.

    Raises:
        UserError: if two folders name the same split.
    """
    names, found = subfolders(root), {}
    for split, synonyms in FOLDERS.items():
        folders = [name for name in names if name.lower() in synonyms]
        if len(folders) > 1:
            raise UserError(f"dataset.root={root}: {' and '.join(folders)} both name the {split} split. Keep one.")
        if folders:
            found[split] = folders[0]
    return found


def split_names(root: Path, split: str, val_fraction: float, test_fraction: float, seed: int) -> dict[str, list[str]]:
    """Return the names of the images of a split, relative to `root`, in order, and those of splits found on the way.

    Args:
        root: folder of images.
        split: train, val or test.
        val_fraction: fraction of the training images that validates if no folder does.
        test_fraction: fraction that tests, likewise.
        seed: seed of the order by which images are divided.

    Raises:
        UserError: if the split has no images, or two folders name it.
    """
    folders = split_folders(root)
    layers = {}
    for name in FOLDERS:
        if name != "train" and name in folders:
            layers[name] = image_names(root, folders[name])
            if name == split:
                return {split: _without_copies(root, layers)}
    layers["train"] = _training_pool(root, folders)
    pool = _without_copies(root, layers, split == "train")
    fractions = {"val": val_fraction, "test": test_fraction}
    missing = {name: fraction for name, fraction in fractions.items() if name not in folders}
    return divide(root, pool, missing, seed) if missing else {"train": pool}


def divide(root: Path, names: list[str], fractions: dict[str, float], seed: int) -> dict[str, list[str]]:
    """Divide images by the hash rule, identical ones together.

    Args:
        root: folder of images.
        names: images below it.
        fractions: fraction of the distinct images that each held-out split takes, at least one image.
        seed: seed of the order.

    Returns:
        The names of each of these splits and of "train", in order.

    Raises:
        UserError: if no image is left to train on.
    """
    groups = [[names[index] for index in group] for group in identical(root, names)]
    copies = {group[0]: group for group in groups}
    later = {name for group in groups for name in group[1:]}
    distinct = hash_order([name for name in names if name not in later], seed)
    counts = {split: max(1, round(len(distinct) * fraction)) for split, fraction in fractions.items()}
    if sum(counts.values()) >= len(distinct):
        taken = " and ".join(f"{count} for {split}" for split, count in counts.items())
        keys = " and ".join(f"dataset.{split}_fraction" for split in counts)
        raise UserError(
            f"dataset.root={root}: {len(distinct)} different images, {taken}, leave none to train on. Add images (at"
            f" least {len(counts) + 1} are needed) or lower {keys}."
        )
    parts, start = {}, 0
    for split, count in (*counts.items(), ("train", len(distinct))):
        parts[split] = sorted(copy for name in distinct[start : start + count] for copy in copies.get(name, [name]))
        start += count
    return parts


def hash_order(names: list[str], seed: int) -> list[str]:
    """Order names by a hash of (seed, name)."""
    digests = b"".join(hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest() for name in names)
    first_to_last = np.frombuffer(digests, dtype=">u8").reshape(-1, 4).T
    return [names[i] for i in np.lexsort(first_to_last[::-1]).tolist()]


def identical(root: Path, names: Sequence[str]) -> list[list[int]]:
    """Group the indices of files with identical bytes. Files that are alone are left out, unreadable ones, too."""
    groups: Iterable[Sequence[int]] = [range(len(names))]
    for key in (_size, _sample, _digest):
        groups = [part for group in groups for part in _parts(group, root, names, key)]
    return [list(group) for group in groups]


def _parts(
    group: Sequence[int], root: Path, names: Sequence[str], key: Callable[[str], Any]
) -> Iterable[Sequence[int]]:
    """Divide a group by a property of its files, and drop files that are alone."""
    parts = defaultdict(list)
    for index in group:
        try:
            parts[key(os.path.join(root, names[index]))].append(index)
        except OSError:  # reading the image reports it
            continue
    return [part for part in parts.values() if len(part) > 1]


def _size(path: str) -> int:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")
    return status.st_size


def _sample(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, SAMPLE, max(0, (os.fstat(descriptor).st_size - SAMPLE) // 2))
    finally:
        os.close(descriptor)


def _digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _training_pool(root: Path, folders: dict[str, str]) -> list[str]:
    if "train" in folders:
        return image_names(root, folders["train"])
    names = [name for name in image_names(root) if name.partition("/")[0] not in folders.values()]
    if not names:
        raise UserError(
            f"dataset.root={root}: no images to train on outside {' and '.join(folders.values())}. Add a folder train."
        )
    return names


def _without_copies(root: Path, layers: dict[str, list[str]], report: bool = True) -> list[str]:
    """Return the images of the last split without those that are identical to an image of an earlier one."""
    *earlier, (split, last) = layers.items()
    if not earlier:
        return last
    names = [name for _, part in earlier for name in part]
    count = len(names)
    copies = {i - count for group in identical(root, [*names, *last]) if group[0] < count for i in group if i >= count}
    if copies and report:
        others = " and ".join(name for name, _ in earlier)
        warn(
            f"dataset.root={root}: {len(copies)} of {len(last)} {split} images are copies of {others} images: left out"
        )
    kept = [name for index, name in enumerate(last) if index not in copies]
    if not kept:
        raise UserError(f"dataset.root={root}: every {split} image is a copy of a held-out one. Add other images.")
    return kept
