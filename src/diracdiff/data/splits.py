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
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from diracdiff.data.files import image_names
from diracdiff.utils.errors import warn

FOLDERS = {
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation", "dev"),
    "train": ("train", "training"),
}
"""Folder names of every split. Of identical files, those of the first split here are kept."""

SAMPLE = 4096
"""Bytes from the middle of a file that are compared before the whole file is read."""


def check_fractions(val_fraction: Any, test_fraction: Any) -> None:
    """Raise ValueError unless two fractions are in (0, 1) and leave images to train on."""
    for key, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not isinstance(fraction, int | float) or not 0 < fraction < 1:
            raise ValueError(f"dataset.{key} must be between 0 and 1, got {fraction!r}: try dataset.{key}=0.1")
    if val_fraction + test_fraction >= 1:
        raise ValueError(
            f"dataset.val_fraction={val_fraction} and dataset.test_fraction={test_fraction} leave nothing to"
            " train on: their sum must be below 1"
        )


def folders_of(names: Iterable[str], what: str) -> dict[str, str]:
    """Return the names that stand for a split, {split: name}. Raises ValueError if two stand for the same split."""
    found: dict[str, str] = {}
    for name in sorted(names):
        split = next((split for split, synonyms in FOLDERS.items() if name.lower() in synonyms), None)
        if split in found:
            raise ValueError(f"{what}: {found[split]} and {name} both name the {split} split. Keep one.")
        if split:
            found[split] = name
    return found


def split_folders(root: Path) -> dict[str, str]:
    """Return the folders at the top of `root` that stand for a split. Raises ValueError as `folders_of` does."""
    try:
        names = [entry.name for entry in os.scandir(root) if os.path.isdir(entry.path)]
    except OSError as error:
        raise ValueError(f"{root} cannot be listed ({error.strerror}): check its permissions") from error
    return folders_of(names, f"dataset.root={root}")


def split_names(root: Path, split: str, val_fraction: float, test_fraction: float, seed: int) -> dict[str, list[str]]:
    """Return the names of the images of a split, relative to `root`, in order, and those of splits found on the way.

    Args:
        root: folder of images.
        split: train, val or test.
        val_fraction: fraction of the training images for validation if no folder holds them.
        test_fraction: fraction for the test, likewise.
        seed: seed of the order by which images are divided.

    Raises:
        ValueError: if the split has no images, or two folders stand for it.
    """
    folders = split_folders(root)
    layers = {}
    for name in FOLDERS:
        if name != "train" and name in folders:
            layers[name] = image_names(root, folders[name])
            if name == split:
                return {split: _without_copies(root, layers)}
    layers["train"] = image_names(root, folders.get("train", ""))
    if "train" not in folders:
        layers["train"] = [name for name in layers["train"] if name.partition("/")[0] not in folders.values()]
        if not layers["train"]:
            outside = " and ".join(folders.values())
            raise ValueError(f"dataset.root={root}: no images to train on outside {outside}. Add a folder train.")
    pool = _without_copies(root, layers, split == "train")
    fractions = {"val": val_fraction, "test": test_fraction}
    missing = {name: fraction for name, fraction in fractions.items() if name not in folders}
    return _divide(root, pool, missing, seed) if missing else {"train": pool}


def counts_of(total: int, fractions: dict[str, float], what: str) -> dict[str, int]:
    """Return the number of images of each split that is taken from the training images, in order, "train" last.

    Raises:
        ValueError: if they leave none to train on.
    """
    counts = {split: max(1, round(total * fraction)) for split, fraction in fractions.items()}
    if sum(counts.values()) >= total:
        taken = " and ".join(f"{count} for {split}" for split, count in counts.items())
        keys = " and ".join(f"dataset.{split}_fraction" for split in counts)
        raise ValueError(
            f"{what}: {total} different images, {taken}, leave none to train on. Add images (at least {len(counts) + 1}"
            f" are needed) or lower {keys}."
        )
    return counts | {"train": total - sum(counts.values())}


def _divide(root: Path, names: list[str], fractions: dict[str, float], seed: int) -> dict[str, list[str]]:
    """Divide images by a hash of (seed, name), identical ones together."""
    groups = [[names[index] for index in group] for group in identical(root, names)]
    copies = {group[0]: group for group in groups}
    later = {name for group in groups for name in group[1:]}

    def digest(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()

    distinct = sorted((name for name in names if name not in later), key=digest)
    parts, start = {}, 0
    for split, count in counts_of(len(distinct), fractions, f"dataset.root={root}").items():
        parts[split] = sorted(copy for name in distinct[start : start + count] for copy in copies.get(name, [name]))
        start += count
    return parts


def identical(root: Path, names: Sequence[str]) -> list[list[int]]:
    """Group the indices of files with identical bytes. Files without a copy are left out, unreadable ones, too."""
    groups: list[Sequence[int]] = [range(len(names))]
    for key in (_size, _sample, _digest):
        finer: list[Sequence[int]] = []
        for group in groups:
            parts = defaultdict(list)
            for index in group:
                with suppress(OSError):  # reading the image reports it
                    parts[key(os.path.join(root, names[index]))].append(index)
            finer += [part for part in parts.values() if len(part) > 1]
        groups = finer
    return [list(group) for group in groups]


def _size(path: str) -> int:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")
    return status.st_size


def _sample(path: str) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, (os.path.getsize(path) - SAMPLE) // 2))
        return file.read(SAMPLE)


def _digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


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
        raise ValueError(f"dataset.root={root}: every {split} image is a copy of a held-out one. Add other images.")
    return kept
