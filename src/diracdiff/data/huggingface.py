"""Data sets of Hugging Face `datasets`, memory-mapped with random access, and packed data sets."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import to_absolute_path
from torch import Tensor

from diracdiff.data.datasets import SPLITS, StaticImages
from diracdiff.data.image_io import ImageError
from diracdiff.data.images import load_square
from diracdiff.data.splits import check_fractions, divide, match_splits
from diracdiff.utils.validate import check_count, check_option

PIXELS, NAME = "pixels", "name"
"""Columns of a packed data set: bytes of the image, uint8 (3, S, S), and its name."""


class HuggingFace:
    """Data set of Hugging Face `datasets`, or a folder written by `diracdiff pack`.

    A missing split is taken from the training rows, in a random order given by the seed.

    Args:
        path: folder of `save_to_disk`, of Parquet files or of images; a Parquet file, glob pattern or URL; or the name
            of a data set on the Hub.
        image_size: side in pixels; for a packed data set, the side used for packing.
        column: column of the images; None: `pixels`, or the first column of type `Image`.
        val_fraction: fraction of the training rows for validation if there is no such split, in (0, 1).
        test_fraction: fraction of the training rows for the test if there is no such split, in (0, 1).
        seed: seed of the split and of mirroring, at least 0.
        flip: mirror training images with probability 0.5.
        on_error: see `diracdiff.data.folders.Folder`.

    Raises:
        ValueError: if `path` is missing or an argument is out of range.
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
            raise ValueError(f"data.path={path}: must be a folder, a URL or a name on the Hub. Set data.path=….")
        check_count(image_size, "data.image_size")
        check_fractions(val_fraction, test_fraction)
        check_count(seed, "data.seed", 0)
        check_option(("error", "skip"), **{"data.on_error": on_error})
        self.path, self.image_size, self.column, self.on_error = str(path), image_size, column, on_error
        self.val_fraction, self.test_fraction, self.seed, self.flip = val_fraction, test_fraction, seed, flip
        self._tables: dict[str, Any] = {}

    def split(self, name: str) -> "TableImages":
        """Return the images of a split.

        Args:
            name: "train", "val" or "test".

        Raises:
            ValueError: if the name is unknown, or the split has no images.
        """
        check_option(SPLITS, split=name)
        tables = self._tables = self._tables or open_dataset(self.path)
        key = f"data.path={self.path}"
        splits = match_splits(tables, key)
        if not splits and len(tables) == 1:
            splits = {"train": next(iter(tables))}
        source = splits.get(name, splits.get("train"))
        if source is None:
            raise ValueError(f"{key}: has the splits {', '.join(tables)} but no training split. Add one.")
        rows: Sequence[int] = range(len(tables[source]))
        if source == splits.get("train"):
            order = np.random.default_rng(self.seed).permutation(len(rows)).tolist()
            rows = divide(order, splits.keys(), {"val": self.val_fraction, "test": self.test_fraction}, key)[name]
        return TableImages(self, tables[source], source, rows, self.seed if self.flip and name == "train" else None)


class TableImages(StaticImages):
    """Images in the rows of a table of `datasets`. Each process memory-maps the files.

    Args:
        dataset: data set of the table.
        table: table of one split.
        source: name of that split.
        rows: numbers of the rows to use.
        flip_seed: see `StaticImages`.

    Raises:
        ValueError: if the table has no column of images.
    """

    def __init__(self, dataset: HuggingFace, table: Any, source: str, rows: Sequence[int], flip_seed: int | None):
        images = [name for name, feature in table.features.items() if type(feature).__name__ == "Image"]
        columns = [dataset.column] if dataset.column else [PIXELS] if PIXELS in table.features else images
        if not columns or columns[0] not in table.features:
            raise ValueError(
                f"data.column={dataset.column}: data.path={dataset.path} has the columns "
                f"{', '.join(table.features)}. Set the column of the images."
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
            raise ImageError(f"{name}: was packed with {packed} pixels per side. Set data.image_size={packed}.")
        return torch.frombuffer(bytearray(stored), dtype=torch.uint8).view(3, side, side)

    def fingerprint(self) -> dict[str, Any]:
        names = "\0".join(self.names).encode("utf-8", "surrogateescape")
        return {"count": len(self), "sha256": hashlib.sha256(names).hexdigest()}


def open_dataset(path: str) -> dict[str, Any]:
    """Open a data set of Hugging Face `datasets`.

    Args:
        path: see `HuggingFace`.

    Returns:
        {name of a split: table}.

    Raises:
        ValueError: if `datasets` is not installed or cannot open the data set.
    """
    datasets = import_datasets()
    location = to_absolute_path(os.path.expanduser(path))
    if not os.path.exists(location):
        if path.startswith((".", "/", "~")) and "*" not in path:
            raise ValueError(f"data.path={path}: does not exist. Use a folder, a URL or a name on the Hub.")
        location = os.path.expanduser(path)
    try:
        if any(os.path.exists(os.path.join(location, file)) for file in ("dataset_dict.json", "state.json")):
            opened = datasets.load_from_disk(location)
        elif ".parquet" in location:
            opened = datasets.load_dataset("parquet", data_files=location)
        else:
            opened = datasets.load_dataset(location)
    except Exception as error:  # exception types differ by builder, file system and hub
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"data.path={path}: datasets cannot open it ({reason}). Check the name.") from error
    return dict(opened) if isinstance(opened, dict) else {"train": opened}


def import_datasets() -> Any:
    """Import Hugging Face `datasets`.

    Raises:
        ValueError: if the package is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise ValueError("datasets: is not installed. Run pip install 'diracdiff[hf]'.") from error
    return datasets
