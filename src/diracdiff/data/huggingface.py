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

from diracdiff.data.datasets import SPLITS, StillImages
from diracdiff.data.image_io import ImageError
from diracdiff.data.images import load_square
from diracdiff.data.splits import check_fractions, divide, folders_of
from diracdiff.utils.validate import check_count, check_option

PIXELS, NAME = "pixels", "name"
"""Columns of a packed data set: the bytes of uint8 (3, S, S), and the name of the image."""


class HuggingFace:
    """A data set of Hugging Face `datasets`, or a folder that `diracdiff pack` wrote.

    A split that the data set lacks is taken from the training rows, in a random order that follows from the seed.

    Args:
        path: a folder of `save_to_disk`, Parquet files or images, a Parquet file, pattern or address, or the name of a
            data set on the Hub.
        image_size: side in pixels; that of the packing for a packed data set.
        column: column of the images; None: `pixels`, or the first column of images.
        val_fraction: fraction of the training rows for validation where there is no such split, in (0, 1).
        test_fraction: fraction for the test, likewise.
        seed: seed of the division and of the mirroring.
        flip: mirror half of the training images.
        on_error: see `diracdiff.data.folders.Folder`.

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
    ):
        if path is None or str(path) in ("", "???"):
            raise ValueError("data.path must be a folder, an address or a name on the Hub: set data.path=…")
        check_count(image_size, "data.image_size")
        check_fractions(val_fraction, test_fraction)
        check_count(seed, "data.seed", 0)
        check_option(("error", "skip"), **{"data.on_error": on_error})
        self.path, self.image_size, self.column, self.on_error = str(path), image_size, column, on_error
        self.val_fraction, self.test_fraction, self.seed, self.flip = val_fraction, test_fraction, seed, flip
        self._tables: dict[str, Any] = {}

    def split(self, name: str) -> "Rows":
        """Return the split train, val or test. Raises ValueError if it has no images."""
        check_option(SPLITS, split=name)
        tables = self._tables = self._tables or open_dataset(self.path)
        key = f"data.path={self.path}"
        found = folders_of(tables, key)
        if not found and len(tables) == 1:
            found = {"train": next(iter(tables))}
        source = found.get(name, found.get("train"))
        if source is None:
            raise ValueError(f"{key}: it has the splits {', '.join(tables)} and none to train on")
        rows: Sequence[int] = range(len(tables[source]))
        if source == found.get("train"):
            order = np.random.default_rng(self.seed).permutation(len(rows)).tolist()
            rows = divide(order, found.keys(), {"val": self.val_fraction, "test": self.test_fraction}, key)[name]
        return Rows(self, tables[source], source, rows, self.seed if self.flip and name == "train" else None)


class Rows(StillImages):
    """Images in rows of a table; every process maps its files into memory."""

    def __init__(self, dataset: HuggingFace, table: Any, source: str, rows: Sequence[int], flip_seed: int | None):
        images = [name for name, feature in table.features.items() if type(feature).__name__ == "Image"]
        columns = [dataset.column] if dataset.column else [PIXELS] if PIXELS in table.features else images
        if not columns or columns[0] not in table.features:
            raise ValueError(
                f"data.column={dataset.column}: data.path={dataset.path} has the columns "
                f"{', '.join(table.features)}. Name that of the images."
            )
        self.table, self.column, self.rows = table, columns[0], rows
        self.image_size, self.flip_seed = dataset.image_size, flip_seed
        self.failed = set() if dataset.on_error == "skip" else None
        packed = self.column == PIXELS and NAME in table.features
        named = table.data.column(NAME).to_pylist() if packed else None
        self.names = [named[row] if named else f"{source}/{row:08}" for row in rows]

    def pixels(self, index: int) -> Tensor:
        value = self.table.data.column(self.column)[self.rows[index]]
        side, name = self.image_size, self.names[index]
        if self.column != PIXELS:
            content = value.as_py() or {}
            return load_square(content.get("bytes") or content.get("path") or b"", side, name)
        stored = value.as_buffer()
        if len(stored) != 3 * side * side:
            packed = round((len(stored) / 3) ** 0.5)
            raise ImageError(f"{name}: packed with {packed} pixels a side. Set data.image_size={packed}.")
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
    place = to_absolute_path(os.path.expanduser(path))
    if not os.path.exists(place):
        if path.startswith((".", "/", "~")) and "*" not in path:
            raise ValueError(f"data.path={path}: does not exist. Give a folder, an address or a name on the Hub.")
        place = os.path.expanduser(path)
    try:
        if any(os.path.exists(os.path.join(place, file)) for file in ("dataset_dict.json", "state.json")):
            found = datasets.load_from_disk(place)
        elif ".parquet" in place:
            found = datasets.load_dataset("parquet", data_files=place)
        else:
            found = datasets.load_dataset(place)
    except Exception as error:  # every builder, file system and hub raises its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"data.path={path}: datasets does not open it ({reason}). Check the name.") from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def import_datasets() -> Any:
    """Import Hugging Face `datasets`. Raises ValueError if it is not installed."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError("datasets is not installed: pip install 'diracdiff[hf]'") from error
    return datasets
