"""Splits of a folder: by top-level folders, by a hash, and for identical images."""

import csv
import os
import shutil

import pytest
from conftest import BRIEF, SMALL, refused, run_here
from test_data import refused as refused_value
from test_data import write_images

from diracdiff.checkpoints import Checkpoint
from diracdiff.data import CelebAHQ, ImageFolder
from diracdiff.data.splits import find_duplicates
from diracdiff.utils.seeds import image_seed

SPLITS = ("train", "val", "test")


def write(root, *names, size=12):
    return write_images(root, names, (size, size))


def splits(root, *arguments, **options):
    return {name: list(ImageFolder(root, 8, *arguments, **options).split(name).names) for name in SPLITS}


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "val", "test"),
        ("training", "validation", "testing"),
        ("Train", "Valid", "TEST"),
        ("train", "dev", "test"),
    ],
)
def test_standard_folder_names_define_splits(tmp_path, folders):
    names = [f"{folder}/{i}.png" for folder in folders for i in range(2)]
    write(tmp_path, *names, "other/0.png")
    assert splits(tmp_path) == {
        split: [name for name in names if name.startswith(folder)]
        for split, folder in zip(SPLITS, folders, strict=True)
    }


@pytest.mark.parametrize("present", [("train", "valid"), ("train", "testing"), ("valid", "testing"), ("testing",)])
def test_a_missing_split_is_taken_from_the_training_images(tmp_path, present):
    train = [f"train/{i}.png" if "train" in present else f"photos/{i}.png" for i in range(20)]
    held_out = [f"{folder}/{i}.png" for folder in present if folder != "train" for i in range(3)]
    write(tmp_path, *train, *held_out)
    split_names = splits(tmp_path)
    assert sorted(name for names in split_names.values() for name in names) == sorted([*train, *held_out])
    for split, folder in (("val", "valid"), ("test", "testing")):
        if folder in present:
            assert split_names[split] == [name for name in held_out if name.startswith(folder)]
        else:
            assert len(split_names[split]) == 2 and set(split_names[split]) <= set(train)
    assert set(split_names["train"]) <= set(train)


def test_two_folders_for_one_split_are_refused(tmp_path):
    write(tmp_path, "train/0.png", "val/0.png", "Validation/0.png", "test/0.png")
    for split in SPLITS:
        with refused_value("Validation and val both name the val split", "Keep one"):
            ImageFolder(tmp_path, 8).split(split)


def test_identical_images_are_in_one_split(tmp_path):
    names = [f"{i:02}.png" for i in range(30)]
    write(tmp_path, *names)
    before = splits(tmp_path, 0.2, 0.2)
    for name in names[:12]:
        (tmp_path / f"y{name}").write_bytes((tmp_path / name).read_bytes())
    os.mkfifo(tmp_path / "z.png")
    (tmp_path / "zz.png").symlink_to("zz.png")
    assert find_duplicates(tmp_path, sorted(os.listdir(tmp_path))) == {f"y{name}": name for name in names[:12]}
    os.remove(tmp_path / "z.png")
    os.remove(tmp_path / "zz.png")
    split_names = splits(tmp_path, 0.2, 0.2)
    for split, part in before.items():
        assert sorted(split_names[split]) == sorted([*part, *(f"y{name}" for name in names[:12] if name in part)])


def test_the_hash_rule_is_fixed(tmp_path):
    """New versions of the package or of libraries must not change the splits."""
    write(tmp_path, *(f"{i:02}.png" for i in range(20)))
    assert list(CelebAHQ(tmp_path, 8, seed=0).split("val").names) == ["05.png", "15.png"]
    assert list(CelebAHQ(tmp_path, 8, seed=1).split("test").names) == ["01.png", "12.png"]


# paths


def test_circular_links_are_followed_once(tmp_path):
    write(tmp_path / "a", *(f"{i}.png" for i in range(5)))
    write(tmp_path / "b", *(f"{i}.png" for i in range(5)))
    (tmp_path / "a" / "to b").symlink_to("../b")
    (tmp_path / "b" / "to a").symlink_to("../a")
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "a" / "up").symlink_to("..")
    split_names = splits(tmp_path)
    assert {os.path.realpath(tmp_path / name) for names in split_names.values() for name in names} == {
        os.path.realpath(path) for part in ("a", "b") for path in (tmp_path / part).glob("*.png")
    }
    sets = [{os.path.realpath(tmp_path / name) for name in names} for names in split_names.values()]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    (tmp_path / "loop").symlink_to("loop")
    with refused_value(tmp_path / "loop", "does not exist"):
        ImageFolder(tmp_path / "loop").split("train")


def test_a_circular_link_in_place_of_an_image_is_named(tmp_path, call):
    write(tmp_path / "photos", *(f"{i}.png" for i in range(18)))
    for i in range(2):
        (tmp_path / "photos" / f"loop{i}.png").symlink_to(f"loop{i}.png")
    overrides = ["data=folder", "data.root=photos", "data.image_size=8", "output=set"]
    refused(call("pack", *overrides), r"photos/loop\d.png: cannot be read")
    assert call("pack", *overrides, "data.on_error=skip")[0] == 0


def test_any_file_name_determines_a_seed():
    assert image_seed(0, "a.png") == 6244953048068547554
    assert image_seed(0, os.fsdecode(b"\xff.png")) != image_seed(0, os.fsdecode(b"\xfe.png"))


def test_training_accepts_names_that_are_not_utf_8(tmp_path, call):
    write(tmp_path / "photos", *(f"{i}.png" for i in range(10)), size=32)
    for path in list((tmp_path / "photos").iterdir()):
        os.rename(path, os.fsencode(path.with_suffix("")) + b"\xff\xe9.png")
    overrides = ["data=folder", "data.root=photos", "data.image_size=32", "lpips=null"]
    assert call("train", "task=inpaint", *overrides, *SMALL, *BRIEF, "hydra.run.dir=run") == (0, [])


def test_a_relative_root_is_relative_to_the_working_directory(tmp_path, call):
    write(tmp_path / "photos", *(f"{i}.png" for i in range(10)), size=32)
    overrides = ["task=inpaint", "data=folder", "data.root=photos", "data.image_size=32", "lpips=null"]
    assert call("train", *overrides, *SMALL, *BRIEF, "hydra.job.chdir=true", "hydra.run.dir=run") == (0, [])
    assert Checkpoint.read(tmp_path / "run" / "last.ckpt").dataset["root"] == "photos"


# splits of a checkpoint


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of images, and a checkpoint trained on it with other splits than the default."""
    cwd = tmp_path_factory.mktemp("trained")
    write(cwd / "photos", *(f"{i:02}.png" for i in range(24)), size=32)
    overrides = ["data=folder", "data.root=photos", "data.image_size=32", "lpips=null", "metrics=[psnr]"]
    fractions = ["data.val_fraction=0.25", "data.test_fraction=0.125", "data.seed=3"]
    run = ["task=inpaint", *overrides, *fractions, *SMALL, *BRIEF, "hydra.run.dir=run"]
    assert run_here(cwd, "train", *run) == 0
    return cwd, overrides, run


def measured(call, cwd, *overrides):
    status, lines = call(
        "evaluate", f"checkpoint={cwd}/run/best.ckpt", "trainer=cpu", "if_exists=overwrite", *overrides
    )
    if status:
        return status, lines
    with open("evaluation/images.csv") as file:
        return sorted({row["name"] for row in csv.DictReader(file)})


def test_evaluation_uses_the_splits_of_the_checkpoint(trained, tmp_path, call):
    cwd, overrides, _ = trained
    data = ImageFolder(cwd / "photos", 32, 0.25, 0.125, 3)
    overrides = ["data=folder", "data.root=photos", "metrics=[psnr]", "lpips=null"]
    shutil.copytree(cwd / "photos", tmp_path / "photos")  # the same images in another folder
    assert measured(call, cwd, *overrides) == list(data.split("test").names)
    for key, value in (("val_fraction", 0.5), ("test_fraction", 0.25), ("seed", 0)):
        line = f"data.{key}={value}: the checkpoint was trained with "
        refused(measured(call, cwd, *overrides, f"data.{key}={value}"), line)
    write(tmp_path / "others", *(f"{i:02}.png" for i in range(24)), size=33)
    other = ["data=folder", "data.root=others", "metrics=[psnr]", "lpips=null", "data.test_fraction=0.5"]
    assert len(measured(call, cwd, *other)) == 12


def test_a_changed_folder_is_refused_by_train_and_evaluate(trained, tmp_path, call):
    cwd, _, run = trained
    copy = tmp_path / "moved"
    shutil.copytree(cwd, copy)
    os.chdir(copy)
    resume = [*run, "trainer.max_epochs=3", "ckpt_path=run/last.ckpt"]
    (copy / "photos" / "00.png").rename(copy / "photos" / "new.png")
    refused(call("train", *resume), r"was trained with another images\.train\.sha256")
    (copy / "photos" / "new.png").rename(copy / "photos" / "00.png")
    write(copy / "photos", *(f"more{i}.png" for i in range(24)), size=32)
    refused(call("train", *resume), r"was trained with another images\.train\.count")
    os.chdir(copy)
    refused(
        measured(call, copy, "data=folder", "data.root=photos", "lpips=null", "metrics=[psnr]"),
        "data.root=photos: 30 training images, the checkpoint was trained on 15 others, which may be among the test",
    )
    for i in range(24):
        (copy / "photos" / f"more{i}.png").unlink()
    assert call("train", *resume) == (0, [])
