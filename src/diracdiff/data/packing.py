"""Pack a data set: write its decoded images into a folder of Hugging Face `datasets`."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from diracdiff.data.datasets import Splits, StillImages, worker_options
from diracdiff.data.huggingface import NAME, PIXELS, import_datasets
from diracdiff.data.image_io import ImageError
from diracdiff.utils.errors import warn


def pack(dataset: Splits, splits: Sequence[str], output: Path, num_workers: int = 0) -> dict[str, int]:
    """Write the decoded images of splits into a folder of `datasets`, which appears when it is complete.

    Args:
        dataset: a data set whose images are the same in every epoch.
        splits: some of train, val and test.
        output: a folder that does not exist.
        num_workers: processes that decode.

    Returns:
        {split: number of images}. Images that cannot be read are left out if the data set skips them.

    Raises:
        ValueError: if an image cannot be read, the images are random crops, or the folder cannot be written.
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
                if not isinstance(rows["images"], StillImages):
                    raise ValueError(f"the {name} images are random crops, which cannot be packed")
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
        raise ValueError(f"output={output} cannot be written ({reason}): give another output") from error
    return {name: len(part) for name, part in parts.items()}


class _Images(Dataset[dict[str, Any] | None]):
    """Rows of a packed data set, None for an image that is skipped."""

    def __init__(self, images: StillImages):
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


def _rows(images: StillImages, num_workers: int) -> Iterator[dict[str, Any]]:
    loader = DataLoader(_Images(images), batch_size=None, **worker_options(num_workers))
    yield from (row for row in loader if row is not None)
