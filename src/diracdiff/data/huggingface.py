"""Data sets of Hugging Face `datasets`, memory-mapped with random access, and packed copies of image folders."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import to_absolute_path
from torch import Tensor

from diracdiff.data.datasets import StillImages, check_choice, check_split
from diracdiff.data.image_io import MAX_PIXELS, ImageError
from diracdiff.data.images import load_square
from diracdiff.data.splits import check_fractions, counts_of, folders_of
from diracdiff.utils.validate import check_count

PIXELS, NAME = "pixels", "name"
"""Columns of a packed data set: the bytes of uint8 (3, S, S), and the name of the image."""


class HuggingFace:
    """A data set of Hugging Face `datasets`, or a folder that `diracdiff pack` wrote.

    A split that the data set lacks is taken from the training rows, in a random order that follows from the seed.

    Args:
        path: a folder of `save_to_disk`, Parquet files or images, a Parquet file or pattern, an address of these that
            fsspec opens, or the name of a data set on the Hub.
        image_size: side in pixels; that of the packing for a packed data set.
        column: column of the images; None: `pixels`, or the first column of images.
        val_fraction: fraction of the training rows for validation where there is no such split, in (0, 1).
        test_fraction: fraction for the test, likewise.
        seed: seed of the division and of the mirroring.
        flip: mirror half of the training images.
        on_error, max_pixels: see `diracdiff.data.folders.Folder`.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    def __init__(
        self,
        path: str | Path | None,
        image_size: int = 256,
        column: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        flip: bool = True,
        on_error: str = "error",
        max_pixels: int = MAX_PIXELS,
    ):
        if path is None or str(path) in ("", "???"):
            raise ValueError("dataset.path must be a folder, an address or a name on the Hub: set dataset.path=…")
        check_count(image_size, "dataset.image_size")
        check_fractions(val_fraction, test_fraction)
        check_count(seed, "dataset.seed", 0)
        check_choice("dataset.on_error", on_error, ("error", "skip"))
        check_count(max_pixels, "dataset.max_pixels")
        self.path, self.image_size, self.column = str(path), image_size, column
        self.val_fraction, self.test_fraction, self.seed, self.flip = val_fraction, test_fraction, seed, flip
        self.on_error, self.max_pixels = on_error, max_pixels
        self._opened: dict[str, Any] = {}

    def split(self, name: str) -> "Rows":
        """Return the split train, val or test. Raises ValueError if it has no images."""
        check_split(name)
        self._opened = self._opened or open_dataset(self.path)
        what = f"dataset.path={self.path}"
        found = folders_of(self._opened, what)
        if not found and len(self._opened) == 1:
            found = {"train": next(iter(self._opened))}
        source = found.get(name, found.get("train"))
        if source is None:
            raise ValueError(f"{what}: it has the splits {', '.join(self._opened)} and none to train on")
        rows = range(len(self._opened[source]))
        fractions = {"val": self.val_fraction, "test": self.test_fraction}
        missing = {split: fraction for split, fraction in fractions.items() if split not in found}
        if source == found.get("train") and missing:
            order, start = np.random.default_rng(self.seed).permutation(len(rows)), 0
            for split, count in counts_of(len(rows), missing, what).items():
                if split == name:
                    rows = np.sort(order[start : start + count]).tolist()
                start += count
        return Rows(self, self._opened[source], source, rows, self.seed if self.flip and name == "train" else None)


class Rows(StillImages):
    """Images in rows of a table; every process maps its files into memory."""

    def __init__(self, dataset: HuggingFace, table: Any, source: str, rows: Sequence[int], flip_seed: int | None):
        images = [name for name, feature in table.features.items() if type(feature).__name__ == "Image"]
        columns = [dataset.column] if dataset.column else [PIXELS] if PIXELS in table.features else images
        if not columns or columns[0] not in table.features:
            raise ValueError(
                f"dataset.column={dataset.column}: dataset.path={dataset.path} has the columns "
                f"{', '.join(table.features)}. Name that of the images."
            )
        self.table, self.column, self.rows = table, columns[0], rows
        self.image_size, self.max_pixels, self.flip_seed = dataset.image_size, dataset.max_pixels, flip_seed
        self.failed = set() if dataset.on_error == "skip" else None
        packed = self.column == PIXELS and NAME in table.features
        named = table.data.column(NAME).to_pylist() if packed else None
        self.names = [named[row] if named else f"{source}/{row:08}" for row in rows]

    def pixels(self, index: int) -> Tensor:
        value = self.table.data.column(self.column)[self.rows[index]]
        side, name = self.image_size, self.names[index]
        if self.column != PIXELS:
            content = value.as_py() or {}
            source = content.get("bytes") or content.get("path") or b""
            if isinstance(source, str) and "://" in source:
                import fsspec

                with fsspec.open(source) as file:
                    source = file.read()
            return load_square(source, side, self.max_pixels, name)
        stored = value.as_buffer()
        if len(stored) != 3 * side * side:
            packed = round((len(stored) / 3) ** 0.5)
            raise ImageError(f"{name}: packed with {packed} pixels a side. Set dataset.image_size={packed}.")
        return torch.frombuffer(bytearray(stored), dtype=torch.uint8).view(3, side, side)

    def fingerprint(self) -> dict[str, Any]:
        names = "\0".join(self.names).encode("utf-8", "surrogateescape")
        return {"count": len(self), "sha256": hashlib.sha256(names).hexdigest()}


def open_dataset(path: str) -> dict[str, Any]:
    """Open a data set of Hugging Face `datasets`, {name of a split: table}.

    Raises:
        ValueError: if `datasets` is not installed, or does not open it.
    """
    datasets = import_datasets()
    import fsspec

    place = path if "://" in path else os.path.expanduser(path)
    if "://" not in path and os.path.exists(to_absolute_path(place)):
        place = to_absolute_path(place)
    elif path.startswith((".", "/", "~")) and "*" not in path:
        raise ValueError(f"dataset.path={path}: does not exist. Give a folder, an address or a name on the Hub.")
    try:
        system, folder = fsspec.core.url_to_fs(place)
        if any(system.exists(f"{folder}/{file}") for file in ("dataset_dict.json", "state.json")):
            found = datasets.load_from_disk(place)
        elif ".parquet" in place:
            found = datasets.load_dataset("parquet", data_files=place)
        elif "://" in place:
            found = datasets.load_dataset("imagefolder", data_dir=place)
        else:
            found = datasets.load_dataset(place)
    except Exception as error:  # every builder, file system and hub raises its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"dataset.path={path}: datasets does not open it ({reason}). Check the name.") from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def import_datasets() -> Any:
    """Import Hugging Face `datasets`. Raises ValueError if it is not installed."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError("datasets is not installed: pip install 'diracdiff[hf]'") from error
    return datasets
