"""Data sets of Hugging Face `datasets`, and data sets written by `diracdiff pack`."""

import pickle

import pytest
import torch
from conftest import BRIEF, SMALL
from test_data import refused, write_images

from diracdiff.data import HuggingFace, ImageFolder
from diracdiff.data.packing import pack
from diracdiff.training import ImageDataModule
from diracdiff.utils.files import read_rows

datasets = pytest.importorskip("datasets")
SPLITS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def separate_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path):
    """A folder of twenty JPEG files."""
    return write_images(tmp_path / "photos", [f"{i:02}.jpg" for i in range(20)])


def test_a_packed_data_set_equals_its_folder(folder, tmp_path):
    images = ImageFolder(folder, 8, 0.2, 0.2, seed=3)
    assert pack(images, SPLITS, tmp_path / "packed") == {"train": 12, "val": 4, "test": 4}
    packed = HuggingFace(tmp_path / "packed", 8, seed=3)
    for name in SPLITS:
        one, two = images.split(name), packed.split(name)
        assert two.names == one.names and two.fingerprint()["count"] == len(one)
        for epoch in (0, 5):
            assert all(torch.equal(one[epoch, i]["x"], two[epoch, i]["x"]) for i in range(len(one)))
    assert len(pickle.dumps(packed.split("train"))) < 20_000  # workers map the file
    with refused("was packed with 8 pixels per side", "data.image_size=8"):
        HuggingFace(tmp_path / "packed", 4).split("val")[0]


def test_image_folders_parquet_files_and_saved_data_sets_are_read(folder, tmp_path):
    table = datasets.load_dataset(str(folder), split="train")
    table.to_parquet(tmp_path / "table.parquet")
    table.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": table, "validation": table.select(range(5))}).save_to_disk(tmp_path / "both")
    truth = [item["x"] for item in ImageFolder(folder, 8, 0.5, 0.2, flip=False).split("val")]
    for path in (folder, tmp_path / "table.parquet", tmp_path / "saved"):
        data = HuggingFace(path, 8, val_fraction=0.2, flip=False)
        splits = {name: data.split(name) for name in SPLITS}
        assert {name: len(split) for name, split in splits.items()} == {"train": 14, "val": 4, "test": 2}
        rows = [row for split in splits.values() for row in split.rows]
        assert sorted(rows) == list(range(20))
        stacked = torch.stack([item["x"] for split in splits.values() for item in split])
        assert all((stacked == x).flatten(1).all(1).any() for x in truth)
        assert HuggingFace(path, 8, val_fraction=0.2, seed=1).split("val").rows != splits["val"].rows
    both = HuggingFace(tmp_path / "both", 8)
    assert [len(both.split(name)) for name in SPLITS] == [18, 5, 2]


def test_unreadable_images_raise_or_are_skipped(folder, tmp_path, capfd):
    name = ImageFolder(folder, 8).split("train").names[0]
    (folder / name).write_bytes(b"no image")
    with refused(name, "not an image"):
        pack(ImageFolder(folder, 8), SPLITS, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
    assert pack(ImageFolder(folder, 8, on_error="skip"), ["train"], tmp_path / "packed") == {"train": 15}
    assert "warning: skipped: " in capfd.readouterr().err
    with refused("images are crops"):
        pack(ImageFolder(folder, 8, crop="random"), SPLITS, tmp_path / "crops")


def test_invalid_arguments_are_refused(folder, tmp_path):
    for path in (None, "", "???"):
        with refused("must be a folder, a URL"):
            HuggingFace(path)
    with refused("does not exist"):
        HuggingFace(tmp_path / "none").split("train")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "state.json").write_text("{")
    with refused("cannot open it"):
        HuggingFace(tmp_path / "broken").split("train")
    with refused("has the columns image", "Set the column of the images"):
        HuggingFace(folder, column="picture").split("train")


def test_the_commands_pack_train_and_evaluate(tmp_path, call):
    write_images(tmp_path / "photos", [f"{i:02}.jpg" for i in range(20)], size=(40, 32))
    overrides = ["data.image_size=32", "data.root=photos"]
    assert call("pack", "data=folder", *overrides, "output=packed", "num_workers=1")[0] == 0
    assert call("pack", "data=folder", *overrides, "output=packed")[0] == 2
    overrides = ["data=huggingface", "data.path=packed", "data.image_size=32", "lpips=null"]
    run = ["task=inpaint", *overrides, *SMALL, *BRIEF, "hydra.run.dir=run"]
    assert call("train", *run)[0] == 0
    assert (
        call("evaluate", "checkpoint=run/best.ckpt", *overrides, "trainer=cpu", "metrics=[psnr]", "output=out")[0] == 0
    )
    assert (tmp_path / "out" / "images.csv").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_workers(folder, tmp_path, workers):
    images = ImageFolder(folder, 8)
    pack(images, SPLITS, tmp_path / "packed")
    modules = [ImageDataModule(data, 5, num_workers=workers) for data in (images, HuggingFace(tmp_path / "packed", 8))]
    for one, two in zip(*(module.train_dataloader() for module in modules), strict=True):
        assert torch.equal(one["x"], two["x"]) and one["name"] == two["name"]


def test_another_spelling_of_the_path_keeps_the_splits(tmp_path, call):
    folder = write_images(tmp_path / "photos", [f"{i:02}.jpg" for i in range(20)], size=(40, 32))
    datasets.load_dataset(str(folder), split="train").save_to_disk(tmp_path / "saved")
    options = ["data=huggingface", "data.image_size=32", "metrics=[psnr]", "data.test_fraction=0.3"]
    run = ["task=inpaint", *options, *SMALL, *BRIEF, "lpips=null", "data.path=saved", "data.seed=3"]
    assert call("train", *run, "hydra.run.dir=run")[0] == 0
    arguments = ["checkpoint=run/best.ckpt", "trainer=cpu", "output=out", "data=huggingface", "data.path=./saved"]
    assert call("evaluate", *arguments, "metrics=[psnr]")[0] == 0
    expected = HuggingFace(tmp_path / "saved", 32, test_fraction=0.3, seed=3).split("test").names
    assert {row["name"] for row in read_rows(tmp_path / "out" / "images.csv")} == {*expected}
