"""Packed data sets: what they hold, how they are written, and what a damaged one says."""

import fcntl
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL, refused, run_here
from packing_process import pack, pack_until_killed, packer
from test_data import write_images
from test_reading import broken, refusal, smooth

from diracdiff.data import CelebAHQ, ImageFolder, Packed, Photos, packing, workers
from diracdiff.data.packed import INDEX, checksum, header
from diracdiff.data.packing import Packer
from diracdiff.training import ImageDataModule

SPLITS = ("train", "val", "test")


@pytest.fixture
def images(tmp_path):
    return ImageFolder(write_images(tmp_path / "images", [f"{i:02}.jpg" for i in range(30)], (14, 12)), 8)


@pytest.fixture
def small_portions(monkeypatch):
    monkeypatch.setattr(packing, "PORTION", 2 * 3 * 8 * 8)


# what it holds


def test_evaluation_images_are_the_folder_s_bit_for_bit(images, tmp_path):
    assert pack(images, tmp_path / "packed") == {"train": 24, "val": 3, "test": 3}
    packed = Packed(tmp_path / "packed", 8)
    for name in SPLITS:
        ours, theirs = packed.split(name), images.split(name)
        assert list(ours.names) == list(theirs.names)
        for i in range(len(theirs)):
            assert torch.equal(ours[3, i]["x"], theirs[3, i]["x"]) and ours[i]["name"] == theirs[i]["name"]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_batches_are_those_of_the_folder_s_pillow_decoder(images, tmp_path, workers):
    pack(images, tmp_path / "packed")
    slow = ImageFolder(images.root, 8, decoder="pillow")
    modules = [ImageDataModule(d, 5, num_workers=workers) for d in (slow, Packed(tmp_path / "packed", 8))]
    for epoch in range(2):
        batches = []
        for module in modules:
            loader = module.train_dataloader()
            loader.sampler.set_epoch(epoch)
            batches.append([module.on_after_batch_transfer(batch, 0) for batch in loader])
        for a, b in zip(*batches, strict=True):
            assert torch.equal(a["x"], b["x"]) and a["name"] == b["name"] and torch.equal(a["index"], b["index"])
            assert a["x"].dtype == torch.float32 and a["x"].max() <= 1


def test_the_array_is_one_that_numpy_maps_into_memory(images, tmp_path):
    pack(images, tmp_path)
    mapped = np.load(tmp_path / "train.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap) and mapped.shape == (24, 3, 8, 8) and mapped.dtype == np.uint8
    assert np.array_equal(mapped[5], images.split("train").pixels(5).numpy())


def test_mirroring_can_be_left_out(images, tmp_path):
    pack(images, tmp_path)
    still = Packed(tmp_path, 8, flip=False).split("train")
    assert all(torch.equal(still[e, i]["x"], still[0, i]["x"]) for e in range(3) for i in range(24))


def test_a_split_travels_to_other_processes_without_its_images(images, tmp_path):
    pack(images, tmp_path)
    split = Packed(tmp_path, 8).split("train")
    copy = pickle.loads(pickle.dumps(split))
    assert torch.equal(copy[3]["x"], split[3]["x"]) and len(pickle.dumps(split)) < 3000


def test_random_crops_cannot_be_packed(tmp_path):
    data = Photos(8, 4)
    assert "random crops" in refusal(lambda: Packer(tmp_path, {"train": data.split("train")}, ""))


# writing


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_packing_that_is_killed_goes_on(images, tmp_path, small_portions, workers):
    """SIGKILL at every place where something is written or renamed; the set is then what it would have been."""
    pack(images, tmp_path / "whole")
    expected = files(tmp_path / "whole")
    assert set(expected) == {"train.npy", "val.npy", "test.npy", INDEX}
    killed = 0
    for moment in range(1, 100, 7 if workers else 1):
        folder = tmp_path / "killed"
        if not killed_at(moment, images, folder, num_workers=workers):
            break
        killed += 1
        if moment % 2 and not workers:  # half of them are killed once more, in what they have left over
            continue
        if not (folder / INDEX).exists():
            assert "is not finished" in refusal(Packed(folder, 8).split, "train") or not any(folder.glob("*.npy"))
        pack(images, folder, num_workers=workers)
        assert files(folder) == expected, moment
        shutil.rmtree(folder)
    assert killed > (2 if workers else 20)


def killed_at(moment, images, folder, **options):
    """Pack in another process, which kills itself at a call that changes the disk; False if it ends before that."""
    context = workers.options(1)["multiprocessing_context"]  # libvips has run in this process, so that it must not fork
    named = {"target": pack_until_killed, "args": (moment, packing.PORTION, images, folder), "kwargs": options}
    process = multiprocessing.get_context(context).Process(**named)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == -signal.SIGKILL


def test_what_is_done_is_not_done_again(images, tmp_path, small_portions, monkeypatch):
    read, load = [], packing.Pixels.__getitem__

    def stop_at_nine(rest, index):
        if len(read) == 9:
            raise KeyboardInterrupt
        read.append(rest.start + index)
        return load(rest, index)

    monkeypatch.setattr(packing.Pixels, "__getitem__", stop_at_nine)
    with pytest.raises(KeyboardInterrupt):
        pack(images, tmp_path / "packed")
    monkeypatch.undo()
    monkeypatch.setattr(packing, "PORTION", 2 * 3 * 8 * 8)
    monkeypatch.setattr(packing.Pixels, "__getitem__", lambda rest, i: read.append(rest.start + i) or load(rest, i))
    pack(images, tmp_path / "packed")
    assert read[:9] == list(range(9)) and read[9] == 8  # portions of two: eight were on the disk


def test_a_journal_is_believed_up_to_its_first_damage(images, tmp_path, small_portions):
    pack(images, tmp_path / "whole")
    expected, folder = files(tmp_path / "whole"), tmp_path / "packed"
    assert killed_at(14, images, folder)
    begun, journal = files(folder), (folder / packing.JOURNAL).read_bytes()
    assert journal.count(b"\n") > 3
    for at in range(0, len(journal), len(journal) // 9):
        for damaged in (journal[:at], journal[:at] + bytes([journal[at] ^ 4]) + journal[at + 1 :]):
            for name, content in begun.items():
                (folder / name).write_bytes(content)
            (folder / packing.JOURNAL).write_bytes(damaged)
            pack(images, folder)
            assert files(folder) == expected
            (folder / INDEX).unlink()


def test_an_array_that_lost_its_end_is_not_filled_up(images, tmp_path, small_portions):
    assert killed_at(14, images, tmp_path)
    os.truncate(tmp_path / "train.npy", 300)
    assert "train.npy is shorter than packing.jsonl says: add overwrite=true" in refusal(pack, images, tmp_path)
    assert pack(images, tmp_path, overwrite=True)["train"] == 24 and Packed(tmp_path, 8, verify=True).split("train")


def locked(path):
    with open(path, "ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def test_two_packings_do_not_share_a_folder(images, tmp_path):
    tmp_path.joinpath("packed").mkdir()
    code = "import fcntl, sys; fcntl.lockf(sys.stdout, fcntl.LOCK_EX); sys.stdin.read()"
    with open(tmp_path / "packed" / packing.JOURNAL, "wb") as journal:
        other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=journal)
    while not locked(tmp_path / "packed" / packing.JOURNAL):
        time.sleep(0.01)
    assert "another process is packing into" in refusal(pack, images, tmp_path / "packed")
    other.communicate()
    assert pack(images, tmp_path / "packed")["val"] == 3


def test_other_images_or_settings_do_not_go_on(images, tmp_path, small_portions):
    assert killed_at(14, images, tmp_path / "packed")
    larger = ImageFolder(images.root, 10)
    assert "holds the beginning of a packed set of other" in refusal(
        packer(larger, tmp_path / "packed").is_complete, False
    )
    assert not packer(images, tmp_path / "packed").is_complete(False)
    pack(images, tmp_path / "packed")
    assert packer(images, tmp_path / "packed").is_complete(False)
    write_images(tmp_path / "images", ["new.jpg"], (14, 12))
    more = ImageFolder(images.root, 8)
    assert "holds a packed set of other images" in refusal(packer(more, tmp_path / "packed").is_complete, False)
    assert not packer(more, tmp_path / "packed").is_complete(True)


def test_an_image_that_cannot_be_read_ends_a_packing_or_is_left_out(images, tmp_path):
    bad = [images.split("train").names[4], images.split("val").names[0]]
    broken(tmp_path / "images", bad)
    assert bad[0] in refusal(pack, images, tmp_path / "packed")
    assert "is not finished" in refusal(Packed(tmp_path / "packed", 8).split, "val")
    skipping = ImageFolder(images.root, 8, on_error="skip")
    assert pack(skipping, tmp_path / "packed", overwrite=True, skip=True) == {"train": 23, "val": 2, "test": 3}
    packed, whole = Packed(tmp_path / "packed", 8).split("train"), images.split("train")
    assert list(packed.names) == [name for name in whole.names if name not in bad]
    index = list(whole.names).index(packed.names[-1])
    assert torch.equal(packed.pixels(22), whole.pixels(index))
    broken(tmp_path / "images", [path.name for path in (tmp_path / "images").iterdir()])
    assert "none of the 24 train images" in refusal(lambda: pack(skipping, tmp_path / "none", skip=True))


def test_a_disk_that_is_too_small_or_not_writable_is_named(images, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 8, 2))
    assert "needs 0.0 GB more, but the disk has 0.0 GB" in refusal(pack, images, tmp_path / "packed")
    monkeypatch.undo()
    assert "cannot be written" in refusal(pack, images, tmp_path / "images" / "00.jpg")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in refusal(pack, images, tmp_path / "packed")
    monkeypatch.undo()
    assert pack(images, tmp_path / "packed")["train"] == 24


# damage


def rewritten(folder, change):
    content = json.loads((folder / INDEX).read_text())
    change(content)
    (folder / INDEX).write_text(json.dumps(content | {"sha256": checksum(content)}))


def test_what_is_no_packed_set_says_so(images, tmp_path):
    def opened(size=8, split="train", **options):
        return refusal(Packed(tmp_path / "packed", size, **options).split, split)

    assert "does not exist" in opened()
    (tmp_path / "packed").mkdir()
    assert "is no packed set" in opened()
    pack(images, tmp_path / "packed")
    assert "holds images of 8 px, not dataset.image_size=16: set dataset.image_size=8" in opened(16)
    whole = (tmp_path / "packed" / INDEX).read_bytes()
    rewritten(tmp_path / "packed", lambda content: content["splits"].pop("test"))
    assert "holds no images to test with, only train, val" in opened(split="test")
    rewritten(tmp_path / "packed", lambda content: content.update(version=2))
    assert "is of version 2, not 1" in opened()
    for text in (b"", b"{", b"[1]", b"\xff", b'{"sha256": 3}', b"[" * 100_000):
        (tmp_path / "packed" / INDEX).write_bytes(text)
        assert "is damaged" in opened()
    (tmp_path / "packed" / INDEX).write_bytes(whole)
    for root in (None, "???", ""):
        assert "dataset.root must be" in refusal(Packed, root)
    assert "dataset.verify must be true or false" in refusal(lambda: Packed(tmp_path, 8, verify="no"))


def test_a_damaged_array_says_so(images, tmp_path):
    pack(images, tmp_path)
    path = tmp_path / "train.npy"
    whole = path.read_bytes()
    assert whole[: len(header(24, 8))] == header(24, 8)
    for content in (b"", whole[:-1], whole + b"\0", whole[:100]):
        path.write_bytes(content)
        assert "bytes, but must have" in refusal(Packed(tmp_path, 8).split, "train")
    path.write_bytes(whole.replace(b"24, 3", b"25, 3"))
    assert "does not begin as its index.json says" in refusal(Packed(tmp_path, 8).split, "train")
    name = images.split("train").names[7]
    at = len(header(24, 8)) + 7 * 192 + 100
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert len(Packed(tmp_path, 8).split("train")) == 24
    assert f"the image {name} is damaged" in refusal(Packed(tmp_path, 8, verify=True).split, "train")
    path.unlink()
    assert "cannot be read (No such file" in refusal(Packed(tmp_path, 8).split, "train")


def test_an_array_that_is_cut_while_it_is_read_is_an_error_and_no_crash(images, tmp_path):
    pack(images, tmp_path)
    split = Packed(tmp_path, 8).split("train")
    os.truncate(tmp_path / "train.npy", 1000)
    assert split[0]["x"].shape == (3, 8, 8)
    assert "ends before byte" in refusal(lambda: split[20])
    assert "ends before byte" in refusal(split.for_training().__getitems__, [(0, 1), (0, 20)])


# speed


def test_packed_images_load_many_times_as_fast(tmp_path):
    """CPU time in turns; what is really gained: experiments/loading."""
    (tmp_path / "images").mkdir()
    for i in range(60):
        smooth((160, 128), seed=i).save(tmp_path / f"images/{i:02}.jpg", quality=92)
    data = ImageFolder(tmp_path / "images", 64)
    pack(data, tmp_path / "packed")
    loaders = [ImageDataModule(d, 12).train_dataloader() for d in (data, Packed(tmp_path / "packed", 64))]
    spent = [[], []]
    for _ in range(5):
        for loader, times in zip(loaders, spent, strict=True):
            start = time.process_time()
            for epoch in range(1, 4):
                list(loader)
                loader.sampler.set_epoch(epoch)
            times.append(time.process_time() - start)
    assert min(spent[0]) > 8 * min(spent[1])


# the command


def test_the_command_packs_checks_and_feeds_a_training(image_folder, tmp_path, call, capsys):
    source = ["dataset=folder", f"dataset.root={image_folder}", "dataset.image_size=32"]
    assert call("pack", *source, "output=my set") == (0, [])
    assert call("pack", *source, "output=my set", "dataset.decoder=pillow") == (0, [])
    data = ["dataset=packed", "dataset.root=my set", "dataset.image_size=32", "lpips=null"]
    brief = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]
    assert call("train", "task=inpaint", *data, *SMALL, *brief) == (0, [])
    array = bytearray((tmp_path / "my set/val.npy").read_bytes())
    array[-1] ^= 1
    (tmp_path / "my set/val.npy").write_bytes(array)
    refused(call("pack", *source, "output=my set"), "is damaged: make it anew")
    refused(call("train", *data, "dataset.verify=true", *SMALL, *brief), "val.npy: the image .* is damaged")
    assert call("pack", *source, "output=my set", "overwrite=true") == (0, [])


def test_mistakes_in_packing(call, tmp_path, image_folder):
    source = ["dataset=folder", f"dataset.root={image_folder}", "dataset.image_size=32"]
    refused(call("pack"), "dataset.root must be given")
    refused(call("pack", "dataset=photos"), "random crops")
    refused(call("pack", *source, "splits=[train,tset]"), "splits must be some of train, val, test")
    refused(call("pack", *source, "splits=[]"), "splits must be some of")
    refused(call("pack", *source, "splits=[val,val]"), "each once")
    refused(call("pack", *source, "num_workers=-1"), "num_workers must be an integer of at least 0, got -1")
    refused(call("pack", *source, "overwrite=no"), "overwrite must be true or false")
    refused(call("pack", *source, "dataset.image_size=48"), "smaller than dataset.image_size=48")
    refused(call("pack", *source, "output=/proc/packed"), "output=/proc/packed cannot be written")
    (tmp_path / "file").touch()
    refused(call("pack", *source, "output=file"), "must be a folder")


def test_a_set_is_never_packed_onto_its_own_source(call, tmp_path, image_folder):
    source = ["dataset=folder", f"dataset.root={image_folder}", "dataset.image_size=32"]
    assert call("pack", *source, "output=set") == (0, [])
    before = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
    (tmp_path / "link").symlink_to("set")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "val.npy").symlink_to("../set/val.npy")
    for output in ("set", "link", "./set/../set", "other"):
        for overwrite in ("false", "true"):
            words = ["dataset=packed", "dataset.root=set", "dataset.image_size=32", f"output={output}"]
            status, lines = call("pack", *words, f"overwrite={overwrite}")
            assert status == 2 and len(lines) == 1 and "overwrite" not in lines[0]
            assert f"output={output}" in lines[0] and "would replace the input dataset.root=" in lines[0]
    refused(call("pack", *source, f"output={image_folder}", "overwrite=true"), "would replace the input")
    assert {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()} == before


def test_an_interrupted_command_says_how_to_go_on(tmp_path, image_folder, monkeypatch, capsys):
    words = ["dataset=folder", f"dataset.root={image_folder}", "dataset.image_size=8", "output=packed"]
    load = packing.Pixels.__getitem__

    def interrupted(rest, index):
        if index == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return load(rest, index)

    monkeypatch.setattr(packing.Pixels, "__getitem__", interrupted)
    assert run_here(tmp_path, "pack", *words) == 143
    assert capsys.readouterr().out == "interrupted: what is done is in packed; go on with the same command\n"
    monkeypatch.undo()
    assert run_here(tmp_path, "pack", *words) == 0
    assert len(Packed(tmp_path / "packed", 8).split("train")) == 20


def test_the_readme_s_data_sets_can_be_packed(tmp_path):
    assert {path.stem for path in (ROOT / "conf/dataset").iterdir()} >= {"packed", "folder"}
    data = CelebAHQ(write_images(tmp_path / "a", [f"{i}.jpg" for i in range(10)]), 8)
    assert pack(data, tmp_path / "packed")["train"] == 8
