"""Division of a data set into the splits train, val and test.

Top-level folders with a name in `FOLDERS`, in any case, define splits. Without a training folder, all images outside
these folders are training images. A split without a folder is a fraction of the training images. These are ordered by
a hash of (seed, name): first validation, then test, then training. Files with identical bytes stay in one split.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from diracdiff.data.files import image_names
from diracdiff.utils.validate import check_positive

FOLDERS = {
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation", "dev"),
    "train": ("train", "training"),
}
"""Folder names by split."""

SAMPLE_SIZE = 4096
"""Number of bytes from the middle of two files that are compared before the complete files."""

Image = TypeVar("Image", int, str)
"""Number or name of an image."""


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Check the fractions of the validation and test splits.

    Raises:
        ValueError: unless both are in (0, 1) and their sum is below 1.
    """
    check_positive(**{"data.val_fraction": val_fraction, "data.test_fraction": test_fraction})
    if val_fraction + test_fraction >= 1:
        fractions = f"data.val_fraction={val_fraction}, data.test_fraction={test_fraction}"
        raise ValueError(f"{fractions}: their sum must be below 1. Use smaller fractions.")


def match_splits(names: Iterable[str], key: str) -> dict[str, str]:
    """Return the names that denote a split.

    Args:
        names: names of folders or of splits of a data set.
        key: configuration key and value of the data set, for messages.

    Returns:
        {split: name}.

    Raises:
        ValueError: if two names denote the same split.
    """
    splits: dict[str, str] = {}
    for name in sorted(names):
        split = next((split for split, synonyms in FOLDERS.items() if name.lower() in synonyms), None)
        if split in splits:
            raise ValueError(f"{key}: {splits[split]} and {name} both name the {split} split. Keep one.")
        if split:
            splits[split] = name
    return splits


def find_split_folders(root: Path) -> dict[str, str]:
    """Return the top-level folders of `root` that denote a split, {split: name}.

    Raises:
        ValueError: if two folders denote the same split, or `root` cannot be listed.
    """
    try:
        names = [entry.name for entry in os.scandir(root) if os.path.isdir(entry.path)]
    except OSError as error:
        raise ValueError(f"{root}: cannot be listed ({error.strerror}). Check its permissions.") from error
    return match_splits(names, f"data.root={root}")


def split_names(root: Path, split: str, fractions: dict[str, float], seed: int) -> list[str]:
    """Return the sorted names of the images of a split, relative to `root`.

    Args:
        root: folder of images.
        split: "train", "val" or "test".
        fractions: fractions of the training images for "val" and "test", used if no folder defines the split.
        seed: seed of the hash that orders the images.

    Raises:
        ValueError: if the split has no images, or two folders denote it.
    """
    folders = find_split_folders(root)
    if split in folders and split != "train":
        return image_names(root, folders[split])
    names = image_names(root, folders.get("train", ""))
    if "train" not in folders:
        names = [name for name in names if name.partition("/")[0] not in folders.values()]

    def digest(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()

    originals = find_duplicates(root, names)
    distinct = sorted((name for name in names if name not in originals), key=digest)
    selected = divide(distinct, folders.keys(), fractions, f"data.root={root}")[split]
    kept = set(selected)
    return sorted([*selected, *(name for name, original in originals.items() if original in kept)])


def find_duplicates(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Find files with identical bytes.

    Unreadable files are ignored here. Reading the image reports them.

    Args:
        root: folder of the files.
        names: paths relative to `root`.

    Returns:
        {name of a duplicate: name of the first file with the same bytes}.
    """
    groups: list[list[str]] = [list(names)]
    for key in (_size, _sample, _digest):  # only files with equal size and sample are read completely
        finer = []
        for group in groups:
            parts = defaultdict(list)
            for name in group:
                with suppress(OSError):
                    parts[key(os.path.join(root, name))].append(name)
            finer += [part for part in parts.values() if len(part) > 1]
        groups = finer
    return {name: group[0] for group in groups for name in group[1:]}


def _size(path: str) -> int:
    if not os.path.isfile(path):
        raise OSError("not a regular file")
    return os.path.getsize(path)


def _sample(path: str) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, (os.path.getsize(path) - SAMPLE_SIZE) // 2))
        return file.read(SAMPLE_SIZE)


def _digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def divide(
    ordered: Sequence[Image], existing: Set[str], fractions: dict[str, float], key: str
) -> dict[str, list[Image]]:
    """Divide training images into splits.

    Args:
        ordered: training images in random order.
        existing: splits that exist and are not taken from the training images.
        fractions: {split: fraction of the images}; a split has at least one image.
        key: configuration key and value of the data set, for messages.

    Returns:
        {split: sorted images}.

    Raises:
        ValueError: if no training images remain.
    """
    counts = {
        name: max(1, round(len(ordered) * fraction)) for name, fraction in fractions.items() if name not in existing
    }
    if sum(counts.values()) >= len(ordered):
        raise ValueError(
            f"{key}: {len(ordered)} images, {sum(counts.values())} of them for {' and '.join(counts)}, leave none for "
            f"training. Add images (at least {len(counts) + 1} are needed), or lower the fractions."
        )
    rest = iter(ordered)
    parts = {name: sorted(islice(rest, count)) for name, count in counts.items()}
    return parts | {"train": sorted(rest)}
