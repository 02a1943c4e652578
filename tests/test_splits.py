"""Splits of a folder: by folders at its top, by a hash, and with identical images in one of them."""

import csv
import os
import shutil

import pytest
from conftest import BRIEF, SMALL, refused, run_here
from test_data import refused as refused_call
from test_data import write_images

from diracdiff.checkpoints import Checkpoint
from diracdiff.data import CelebAHQ, ImageFolder
from diracdiff.data.splits import find_copies
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
def test_usual_folder_names_divide_a_data_set(tmp_path, folders):
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
    found = splits(tmp_path)
    assert sorted(name for names in found.values() for name in names) == sorted([*train, *held_out])
    for split, folder in (("val", "valid"), ("test", "testing")):
        if folder in present:
            assert found[split] == [name for name in held_out if name.startswith(folder)]
        else:
            assert len(found[split]) == 2 and set(found[split]) <= set(train)
    assert set(found["train"]) <= set(train)


def test_two_folders_for_one_split_are_refused(tmp_path):
    write(tmp_path, "train/0.png", "val/0.png", "Validation/0.png", "test/0.png")
    for split in SPLITS:
        with refused_call("Validation and val both name the val split", "Keep one"):
            ImageFolder(tmp_path, 8).split(split)


def test_identical_images_are_in_one_split(tmp_path):
    names = [f"{i:02}.png" for i in range(30)]
    write(tmp_path, *names)
    before = splits(tmp_path, 0.2, 0.2)
    for name in names[:12]:
        (tmp_path / f"y{name}").write_bytes((tmp_path / name).read_bytes())
    os.mkfifo(tmp_path / "z.png")
    (tmp_path / "zz.png").symlink_to("zz.png")
    assert find_copies(tmp_path, sorted(os.listdir(tmp_path))) == {f"y{name}": name for name in names[:12]}
    os.remove(tmp_path / "z.png")
    os.remove(tmp_path / "zz.png")
    found = splits(tmp_path, 0.2, 0.2)
    for split, part in before.items():
        assert sorted(found[split]) == sorted([*part, *(f"y{name}" for name in names[:12] if name in part)])


def test_the_hash_rule_is_written_down(tmp_path):
    """No new version of anything may divide a data set differently."""
    write(tmp_path, *(f"{i:02}.png" for i in range(20)))
    assert list(CelebAHQ(tmp_path, 8, seed=0).split("val").names) == ["05.png", "15.png"]
    assert list(CelebAHQ(tmp_path, 8, seed=1).split("test").names) == ["01.png", "12.png"]


# paths


def test_links_in_a_circle_are_followed_once(tmp_path):
    write(tmp_path / "a", *(f"{i}.png" for i in range(5)))
    write(tmp_path / "b", *(f"{i}.png" for i in range(5)))
    (tmp_path / "a" / "to b").symlink_to("../b")
    (tmp_path / "b" / "to a").symlink_to("../a")
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "a" / "up").symlink_to("..")
    found = splits(tmp_path)
    assert {os.path.realpath(tmp_path / name) for names in found.values() for name in names} == {
        os.path.realpath(path) for part in ("a", "b") for path in (tmp_path / part).glob("*.png")
    }
    sets = [{os.path.realpath(tmp_path / name) for name in names} for names in found.values()]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    (tmp_path / "loop").symlink_to("loop")
    with refused_call(tmp_path / "loop", "does not exist"):
        ImageFolder(tmp_path / "loop").split("train")


def test_a_loop_of_links_in_place_of_an_image_is_named(tmp_path, call):
    write(tmp_path / "photos", *(f"{i}.png" for i in range(18)))
    for i in range(2):
        (tmp_path / "photos" / f"loop{i}.png").symlink_to(f"loop{i}.png")
    words = ["data=folder", "data.root=photos", "data.image_size=8", "output=set"]
    refused(call("pack", *words), r"photos/loop\d.png: it cannot be read")
    assert call("pack", *words, "data.on_error=skip")[0] == 0


def test_a_seed_follows_from_any_file_name():
    assert image_seed(0, "a.png") == 6244953048068547554
    assert image_seed(0, os.fsdecode(b"\xff.png")) != image_seed(0, os.fsdecode(b"\xfe.png"))


def test_names_that_are_not_utf_8_are_trained_on(tmp_path, call):
    write(tmp_path / "photos", *(f"{i}.png" for i in range(10)), size=32)
    for path in list((tmp_path / "photos").iterdir()):
        os.rename(path, os.fsencode(path.with_suffix("")) + b"\xff\xe9.png")
    words = ["data=folder", "data.root=photos", "data.image_size=32", "lpips=null"]
    assert call("train", "task=inpaint", *words, *SMALL, *BRIEF, "hydra.run.dir=run") == (0, [])


def test_a_relative_root_begins_where_the_command_was_started(tmp_path, call):
    write(tmp_path / "photos", *(f"{i}.png" for i in range(10)), size=32)
    words = ["task=inpaint", "data=folder", "data.root=photos", "data.image_size=32", "lpips=null"]
    assert call("train", *words, *SMALL, *BRIEF, "hydra.job.chdir=true", "hydra.run.dir=run") == (0, [])
    assert Checkpoint.read(tmp_path / "run" / "last.ckpt").dataset["root"] == "photos"


# the checkpoint's division


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of images and a checkpoint that was trained on it with another division than the default."""
    cwd = tmp_path_factory.mktemp("trained")
    write(cwd / "photos", *(f"{i:02}.png" for i in range(24)), size=32)
    words = ["data=folder", "data.root=photos", "data.image_size=32", "lpips=null", "metrics=[psnr]"]
    division = ["data.val_fraction=0.25", "data.test_fraction=0.125", "data.seed=3"]
    run = ["task=inpaint", *words, *division, *SMALL, *BRIEF, "hydra.run.dir=run"]
    assert run_here(cwd, "train", *run) == 0
    return cwd, words, run


def measured(call, cwd, *words):
    status, lines = call("evaluate", f"checkpoint={cwd}/run/best.ckpt", "trainer=cpu", "if_exists=overwrite", *words)
    if status:
        return status, lines
    with open("evaluation/images.csv") as file:
        return sorted({row["name"] for row in csv.DictReader(file)})


def test_evaluation_uses_the_division_of_the_checkpoint(trained, tmp_path, call):
    cwd, words, _ = trained
    data = ImageFolder(cwd / "photos", 32, 0.25, 0.125, 3)
    words = ["data=folder", "data.root=photos", "metrics=[psnr]", "lpips=null"]
    shutil.copytree(cwd / "photos", tmp_path / "photos")  # the same images in another folder
    assert measured(call, cwd, *words) == list(data.split("test").names)
    for key, value in (("val_fraction", 0.5), ("test_fraction", 0.25), ("seed", 0)):
        line = f"data.{key}={value}: the checkpoint was trained with "
        refused(measured(call, cwd, *words, f"data.{key}={value}"), line)
    write(tmp_path / "others", *(f"{i:02}.png" for i in range(24)), size=33)
    other = ["data=folder", "data.root=others", "metrics=[psnr]", "lpips=null", "data.test_fraction=0.5"]
    assert len(measured(call, cwd, *other)) == 12


def test_a_folder_that_has_changed_is_neither_resumed_on_nor_measured(trained, tmp_path, call):
    cwd, _, run = trained
    moved = tmp_path / "moved"
    shutil.copytree(cwd, moved)
    os.chdir(moved)
    resume = [*run, "trainer.max_epochs=3", "ckpt_path=run/last.ckpt"]
    (moved / "photos" / "00.png").rename(moved / "photos" / "new.png")
    refused(call("train", *resume), r"was trained with another images\.train\.sha256")
    (moved / "photos" / "new.png").rename(moved / "photos" / "00.png")
    write(moved / "photos", *(f"more{i}.png" for i in range(24)), size=32)
    refused(call("train", *resume), r"was trained with another images\.train\.count")
    os.chdir(moved)
    refused(
        measured(call, moved, "data=folder", "data.root=photos", "lpips=null", "metrics=[psnr]"),
        "data.root=photos: 30 training images, the checkpoint was trained on 15 others, which may be among the test",
    )
    for i in range(24):
        (moved / "photos" / f"more{i}.png").unlink()
    assert call("train", *resume) == (0, [])
