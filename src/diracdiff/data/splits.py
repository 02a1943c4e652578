"""Division of a data set into train, val and test.

Folders at the top of the data set divide it, by the names in `FOLDERS`, in any case. Without a training folder, all
images outside these folders train. A split without a folder is taken from the training images: they are ordered by a
hash of (seed, name), the first ones validate, the next ones test, the rest train. Files with identical bytes stay in
one of these parts.
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
"""Folder names of every split."""

SAMPLE = 4096
"""Bytes from the middle of a file that are compared before the whole file is read."""

Image = TypeVar("Image", int, str)
"""An image by its number or its name."""


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Raise ValueError unless two fractions are in (0, 1) and leave images to train on."""
    check_positive(**{"data.val_fraction": val_fraction, "data.test_fraction": test_fraction})
    if val_fraction + test_fraction >= 1:
        given = f"data.val_fraction={val_fraction} and data.test_fraction={test_fraction}"
        raise ValueError(f"{given}: their sum must be below 1, to leave images to train on.")


def folders_of(names: Iterable[str], key: str) -> dict[str, str]:
    """Return the names that stand for a split, {split: name}. Raises ValueError if two stand for the same split."""
    found: dict[str, str] = {}
    for name in sorted(names):
        split = next((split for split, synonyms in FOLDERS.items() if name.lower() in synonyms), None)
        if split in found:
            raise ValueError(f"{key}: {found[split]} and {name} both name the {split} split. Keep one.")
        if split:
            found[split] = name
    return found


def split_folders(root: Path) -> dict[str, str]:
    """Return the folders at the top of `root` that stand for a split. Raises ValueError as `folders_of` does."""
    try:
        names = [entry.name for entry in os.scandir(root) if os.path.isdir(entry.path)]
    except OSError as error:
        raise ValueError(f"{root} cannot be listed ({error.strerror}): check its permissions") from error
    return folders_of(names, f"data.root={root}")


def split_names(root: Path, split: str, fractions: dict[str, float], seed: int) -> list[str]:
    """Return the names of the images of a split, relative to `root`, in order.

    Args:
        root: folder of images.
        split: train, val or test.
        fractions: {"val", "test"} of the training images, for a split that no folder holds.
        seed: seed of the order by which images are divided.

    Raises:
        ValueError: if the split has no images, or two folders stand for it.
    """
    folders = split_folders(root)
    if split in folders and split != "train":
        return image_names(root, folders[split])
    names = image_names(root, folders.get("train", ""))
    if "train" not in folders:
        names = [name for name in names if name.partition("/")[0] not in folders.values()]

    def digest(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()

    originals = find_copies(root, names)
    distinct = sorted((name for name in names if name not in originals), key=digest)
    part = divide(distinct, folders.keys(), fractions, f"data.root={root}")[split]
    kept = set(part)
    return sorted([*part, *(name for name, original in originals.items() if original in kept)])


def find_copies(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the first file with the same bytes of each file that has one, {name: first name}.

    Files that cannot be read are left out: reading the image reports them.
    """
    groups: list[list[str]] = [list(names)]
    for key in (_size, _sample, _digest):  # the whole file is read only where size and sample agree
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
        file.seek(max(0, (os.path.getsize(path) - SAMPLE) // 2))
        return file.read(SAMPLE)


def _digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def divide(ordered: Sequence[Image], found: Set[str], fractions: dict[str, float], key: str) -> dict[str, list[Image]]:
    """Divide training images, {split: its images, sorted}.

    Args:
        ordered: the images, in a random order.
        found: splits that are not taken from them.
        fractions: {split: fraction of the images}; at least one image is taken.
        key: configuration key and value of the data set, for messages.

    Raises:
        ValueError: if none are left to train on.
    """
    counts = {name: max(1, round(len(ordered) * part)) for name, part in fractions.items() if name not in found}
    if sum(counts.values()) >= len(ordered):
        raise ValueError(
            f"{key}: {len(ordered)} images, {sum(counts.values())} of them for {' and '.join(counts)}, leave none to "
            f"train on. Add images (at least {len(counts) + 1} are needed), or lower the fractions."
        )
    rest = iter(ordered)
    parts = {name: sorted(islice(rest, count)) for name, count in counts.items()}
    return parts | {"train": sorted(rest)}
