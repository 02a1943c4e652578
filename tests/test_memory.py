"""Loading does not fill the memory: the small version of `experiments/loading/memory.py`."""

import importlib

import pytest
from conftest import ROOT
from test_packed import pack
from test_reading import smooth

from diracdiff.data import ImageFolder, Packed
from diracdiff.training import ImageDataModule


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["folder", "packed"])
def test_memory_is_flat_over_training_batches(tmp_path, kind, workers, monkeypatch):
    """To keep the images of these batches would take 39 MB."""
    for i in range(40):
        smooth((40, 32), seed=i).save(tmp_path / f"{i:02}.jpg")
    data = ImageFolder(tmp_path, 32)
    if kind == "packed":
        pack(data, tmp_path / "packed")
        data = Packed(tmp_path / "packed", 32)
    monkeypatch.syspath_prepend(ROOT)
    growth = importlib.import_module("experiments.loading.memory").growth
    module = ImageDataModule(data, 16, num_workers=workers)
    marks = growth(module, 800, marks=4)
    assert len(marks) == 4
    assert marks[-1] - marks[0] < 0.02 * marks[0]
