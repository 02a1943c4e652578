"""Packing of a data set: decoded images in a folder of Hugging Face `datasets`."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from diracdiff.data.datasets import SplitDataset, StaticImages, worker_options
from diracdiff.data.huggingface import NAME, PIXELS, import_datasets
from diracdiff.data.image_io import ImageError
from diracdiff.utils.errors import warn


def pack(dataset: SplitDataset, splits: Sequence[str], output: Path, num_workers: int = 0) -> dict[str, int]:
    """Write the decoded images of splits to a folder of `datasets`. The folder appears when it is complete.

    Args:
        dataset: data set with images that are the same in every epoch.
        splits: splits to write: "train", "val", "test".
        output: folder that does not exist yet.
        num_workers: number of decoding processes.

    Returns:
        {split: number of images}. Unreadable images are omitted if the data set skips them.

    Raises:
        ValueError: if an image cannot be read, the images are crops, or the folder cannot be written.
    """
    datasets, parts = import_datasets(), {}
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    features = datasets.Features({PIXELS: datasets.Value("large_binary"), NAME: datasets.Value("string")})
    options = {"features": features, "writer_batch_size": 100}
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.absolute().parent, prefix=".") as folder:
            for name in splits:
                rows = {"images": dataset.split(name), "num_workers": num_workers}
                if not isinstance(rows["images"], StaticImages):
                    raise ValueError(
                        f"split={name}: its images are crops, which cannot be packed. Use data.crop=resize."
                    )
                part = datasets.Dataset.from_generator(
                    _rows, gen_kwargs=rows, fingerprint=name, cache_dir=folder, **options
                )
                parts[name] = part
            datasets.DatasetDict(parts).save_to_disk(f"{folder}/packed")
            os.rename(f"{folder}/packed", output)
    except datasets.exceptions.DatasetGenerationError as error:
        raise error.__cause__ or error from None
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"output={output}: cannot be written ({reason}). Use another folder.") from error
    return {name: len(part) for name, part in parts.items()}


class _PackedRows(Dataset[dict[str, Any] | None]):
    """Rows of a packed data set, None for a skipped image."""

    def __init__(self, images: StaticImages):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any] | None:
        try:
            pixels = self.images.pixels(index)
        except ImageError as error:
            if self.images.failed is None:
                raise
            warn(f"skipped: {error}", from_every_process=True)
            return None
        name = os.fsencode(self.images.names[index]).decode(errors="backslashreplace")
        return {PIXELS: pixels.numpy().tobytes(), NAME: name}


def _rows(images: StaticImages, num_workers: int) -> Iterator[dict[str, Any]]:
    loader = DataLoader(_PackedRows(images), batch_size=None, **worker_options(num_workers))
    yield from (row for row in loader if row is not None)
