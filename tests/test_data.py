"""Image files, data sets, image order over epochs and ranks, and batches in Lightning."""

import inspect
import types
from collections import defaultdict
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch.utils.data import Dataset

from diracdiff.data import FFHQ, CelebAHQ, ImageFolder, ImageNet, Photos, ShardSampler
from diracdiff.data.files import image_names
from diracdiff.data.images import center_crop_resize, load_image, load_square
from diracdiff.data.photos import PHOTOS
from diracdiff.degradations import Identity
from diracdiff.evaluation.measurement import measure, training_batch
from diracdiff.metrics import PSNR
from diracdiff.models import Denoiser
from diracdiff.noise import ConstantNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import ReverseSampler
from diracdiff.training import ImageDataModule, RestorerModule
from diracdiff.utils.seeds import DEGRADATION, step_seed


def write_images(folder, names, size=(12, 10)):
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return folder


def names_of(dataset):
    return [dataset[i]["name"] for i in range(len(dataset))]


@contextmanager
def refused(*parts):
    """Expect a ValueError with a single-line message that contains all `parts`."""
    with pytest.raises(ValueError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


# image files


def test_images_below_a_folder_are_listed_in_order(tmp_path):
    write_images(tmp_path, ["b.PNG", "a/2.jpg", "a/10.jpeg", ".hidden.png", ".trash/x.png", "z.webp"])
    (tmp_path / "notes.txt").touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert image_names(tmp_path) == ["a/10.jpeg", "a/2.jpg", "b.PNG", "z.webp"]
    assert image_names(tmp_path, "a") == ["a/10.jpeg", "a/2.jpg"]
    (tmp_path / "empty").mkdir()
    for name, part in (("none", "does not exist"), ("notes.txt", "is a file"), ("empty", "has no images")):
        with refused(tmp_path / name, part):
            image_names(tmp_path / name)


def test_center_crop_resize(tmp_path):
    image = torch.arange(3 * 4 * 8).view(3, 4, 8).to(torch.uint8)
    assert torch.equal(center_crop_resize(image, 4), image[:, :, 2:6])
    tall = torch.randint(0, 256, (3, 50, 30), dtype=torch.uint8)
    reference = Image.fromarray(tall[:, 10:40].permute(1, 2, 0).contiguous().numpy()).resize((8, 8), Image.BICUBIC)
    assert torch.equal(center_crop_resize(tall, 8), torch.from_numpy(np.array(reference)).permute(2, 0, 1))
    path = write_images(tmp_path, ["small.png"]) / "small.png"
    assert torch.equal(load_square(path, 10), center_crop_resize(load_image(path), 10))
    with refused(path, "12x10", "data.image_size=11", "smaller data.image_size"):
        load_square(path, 11)
    with refused("photo.png"):
        center_crop_resize(tall, 31, "photo.png")


# data sets


FLAT = [f"{i:02}.png" for i in range(20)]


def make_ffhq(folder):
    return write_images(folder, [f"{d:05}/{d * 1000 + i:05}.png" for d in range(4) for i in range(3)])


def make_imagenet(folder):
    train = [f"train/n{c}/n{c}_{i}.JPEG" for c in range(3) for i in range(2)]
    val = [f"val/n{c}/v_{i}.JPEG" for c in range(3) for i in (3, 1, 2)]
    return write_images(folder, train + val)


DATASETS = {
    "photos": lambda path: Photos(8, crops_per_epoch=20),
    "folder": lambda path: ImageFolder(write_images(path, [f"a/{n}" for n in FLAT]), 8),
    "celebahq": lambda path: CelebAHQ(write_images(path, FLAT), 8),
    "ffhq": lambda path: FFHQ(make_ffhq(path), 8),
    "imagenet": lambda path: ImageNet(make_imagenet(path), 8),
}


@pytest.mark.parametrize("kind", DATASETS)
def test_every_data_set_implements_the_interface(tmp_path, kind):
    dataset = DATASETS[kind](tmp_path)
    for argument in inspect.signature(type(dataset)).parameters:
        assert isinstance(getattr(dataset, argument), str | int | float | bool | None)
    seen = set()
    for name in ("train", "val", "test"):
        split = dataset.split(name)
        items = [split[i] for i in range(len(split))]
        assert len(items) > 0 and [item["index"] for item in items] == list(range(len(split)))
        for item in items:
            x = item["x"]
            assert set(item) == {"x", "name", "index"}
            assert x.dtype == torch.float32 and x.shape == (3, 8, 8) and x.min() >= 0 and x.max() <= 1
        names = {item["name"] for item in items}
        assert len(names) == len(items) and not names & seen
        seen |= names
        if name != "train":
            assert all(torch.equal(split[i]["x"], items[i]["x"]) for i in range(len(split)))
    with refused("split=valid: must be one of train, val, test"):
        dataset.split("valid")


@pytest.mark.parametrize("kind", DATASETS)
def test_epoch_and_index_determine_training_images(tmp_path, kind):
    train, again = (DATASETS[kind](tmp_path).split("train") for _ in range(2))
    epochs = [[train[epoch, i]["x"] for i in range(len(train))] for epoch in range(4)]
    backwards = [again[3, i]["x"] for i in reversed(range(len(train)))]
    assert all(torch.equal(a, b) for a, b in zip(epochs[3], reversed(backwards), strict=True))
    assert torch.equal(train[0]["x"], epochs[0][0])
    assert any(not torch.equal(a, b) for one, two in pairwise(epochs) for a, b in zip(one, two, strict=True))


def test_folders_refuse_bad_arguments(tmp_path):
    for root in (None, "???", ""):
        for dataset in (ImageFolder, CelebAHQ, FFHQ, ImageNet):
            with refused("must be a folder of images", "data.root=/path/to/images"):
                dataset(root)
    with refused("data.image_size=big"):
        FFHQ(tmp_path, "big")
    with refused("data.image_size", "0"):
        ImageFolder(tmp_path, 0)
    with refused("data.val_fraction", "0"):
        ImageFolder(tmp_path, val_fraction=0)
    with refused("sum must be below 1"):
        ImageFolder(tmp_path, val_fraction=0.5, test_fraction=0.5)
    with refused("2 images", "at least 3"):
        ImageFolder(write_images(tmp_path, ["a.png", "b.png"])).split("train")
    for dataset in (ImageFolder, CelebAHQ, FFHQ, ImageNet):
        with refused(tmp_path / "none", "does not exist"):
            dataset(tmp_path / "none").split("train")
    assert ImageFolder("~/faces").root == "~/faces"


def test_ffhq_splits_by_folder(tmp_path):
    dataset = FFHQ(make_ffhq(tmp_path), 8)
    assert names_of(dataset.split("test")) == ["00000/00000.png", "00000/00001.png", "00000/00002.png"]
    assert {name[:5] for name in names_of(dataset.split("val"))} == {"00001"}
    assert {name[:5] for name in names_of(dataset.split("train"))} == {"00002", "00003"}
    write_images(tmp_path / "part", ["00000/0.png"])
    assert len(FFHQ(tmp_path / "part", 8).split("test")) == 1
    for split, folder in (("val", "00001"), ("train", "00002")):
        with refused(tmp_path / "part", folder):
            FFHQ(tmp_path / "part", 8).split(split)


def test_imagenet_holds_out_the_first_and_last_of_each_class(tmp_path):
    dataset = ImageNet(make_imagenet(tmp_path), 8)
    assert len(dataset.split("train")) == 6
    assert names_of(dataset.split("val")) == [f"val/n{c}/v_1.JPEG" for c in range(3)]
    assert names_of(dataset.split("test")) == [f"val/n{c}/v_3.JPEG" for c in range(3)]
    write_images(tmp_path, [f"val/n{c}/only.JPEG" for c in (6, 7, 8)])
    assert names_of(dataset.split("val"))[3:] == ["val/n6/only.JPEG", "val/n8/only.JPEG"]
    assert names_of(dataset.split("test"))[3:] == ["val/n7/only.JPEG"]
    write_images(tmp_path / "flat", ["val/1.JPEG", "val/2.JPEG"])
    for split in ("train", "val"):
        with refused(tmp_path / "flat", "train/<wnid>/*.JPEG", "val/<wnid>/*.JPEG"):
            ImageNet(tmp_path / "flat", 8).split(split)


def test_photos_holds_out_whole_photographs():
    files = [file for part in PHOTOS.values() for file in part]
    assert len(set(files)) == len(files)
    dataset = Photos(64, crops_per_epoch=100)
    used = {part: {name.split("-")[0] for name in names_of(dataset.split(part))} for part in PHOTOS}
    assert used == {part: {Path(file).stem for file in files} for part, files in PHOTOS.items()}
    for part in ("val", "test"):
        boxes = defaultdict(list)
        for name in names_of(dataset.split(part)):
            title, *box = name.split("-")
            boxes[title].append(tuple(map(int, box)))
        assert len(boxes) >= 2 and len({name.split("-")[0] for name in names_of(dataset.split(part))[:6]}) >= 2
        for crops in boxes.values():
            assert len(crops) == 16
            small = [box for box in crops if box[2] == min(side for _, _, side in crops)]
            assert len(small) == 12
            for i, (left, top, side) in enumerate(small):  # adjacent, with little overlap
                for other_left, other_top, _ in small[:i]:
                    assert max(abs(left - other_left), abs(top - other_top)) > 0.9 * side
    crops = [dataset.split("train")[0, i]["name"] for i in range(100)]
    sides = [int(name.split("-")[3]) for name in crops]
    assert min(sides) >= 64 and max(sides) > 400 and len(set(crops)) == 100
    assert len(Photos(300, 4).split("val")) > 1 and Photos(300, 4).split("train")[0]["x"].shape == (3, 300, 300)
    assert not torch.equal(Photos(8, seed=1).split("train")[0]["x"], Photos(8, seed=0).split("train")[0]["x"])


def test_photos_refuses_bad_arguments(monkeypatch):
    with refused("data.image_size", "300", "512"):
        Photos(512)
    with refused("data.crops_per_epoch", "0"):
        Photos(crops_per_epoch=0)
    with refused("data.recolour", "yes"):
        Photos(recolour="yes")
    with pytest.raises(IndexError):
        Photos(8, 4).split("train")[4]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with refused("astronaut.png", "Reinstall scikit-image"):
        Photos(8).split("train")


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_images_raise_or_are_replaced_by_the_next(tmp_path, workers, capfd):
    write_images(tmp_path, FLAT)
    whole = {name: ImageFolder(tmp_path, 8, 0.2).split(name).names for name in ("train", "val")}
    bad = [whole["train"][3], whole["val"][1]]
    for name in bad:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:60] + name.encode())
    modules = {
        rule: ImageDataModule(ImageFolder(tmp_path, 8, 0.2, on_error=rule), 4, num_workers=workers)
        for rule in ("skip", "error")
    }
    train = [name for batch in modules["skip"].train_dataloader() for name in batch["name"]]
    assert len(train) == 12 and not {*train} & {*bad}
    val = [name for batch in modules["skip"].val_dataloader() for name in batch["name"]]
    assert val == [whole["val"][i] for i in (0, 2, 3)]  # once, also where it replaces its neighbour
    assert workers or capfd.readouterr().err.count("warning: skipped, the next image takes its place: ") == 2
    try:  # the traceback of pytest.raises would keep the worker alive
        list(modules["error"].val_dataloader())
    except ValueError as error:
        message = str(error)
    assert message.startswith(f"{tmp_path / bad[1]}: cannot be decoded (") and "\n" not in message


# image order


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_shards_cover_the_data(world_size):
    def shards(shuffle):
        return [list(ShardSampler(10, shuffle=shuffle, rank=rank, world_size=world_size)) for rank in range(world_size)]

    assert sorted(i for shard in shards(False) for i in shard) == list(range(10))
    training = shards(True)
    assert len({len(shard) for shard in training}) == 1
    assert {i for shard in training for _, i in shard} == set(range(10))
    order = [i for _, i in ShardSampler(10, shuffle=True)]
    together = [i for turn in zip(*training, strict=True) for _, i in turn]
    assert together[:10] == order and together[10:] == order[: len(together) - 10]
    for shuffle in (True, False):
        for rank in range(world_size):
            sampler = ShardSampler(10, shuffle=shuffle, rank=rank, world_size=world_size)
            assert len(sampler) == len(list(sampler))


def test_skip_belongs_to_one_epoch():
    sampler = ShardSampler(10, shuffle=True, rank=1, world_size=2, epoch=4, skip=2)
    complete = list(ShardSampler(10, shuffle=True, rank=1, world_size=2, epoch=4))
    sampler.set_epoch(4)
    assert list(sampler) == complete[2:] and len(sampler) == 5
    sampler.set_epoch(5)
    assert len(list(sampler)) == 5
    assert list(ShardSampler(10, rank=1, world_size=2, skip=2)) == [5, 7, 9]


# batches


class Numbers(Dataset):
    """Images whose values encode index and epoch."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, key):
        epoch, index = key if isinstance(key, tuple) else (0, key)
        x = torch.tensor([index, epoch, 0]).float().view(3, 1, 1).expand(3, 2, 2) / 100
        return {"x": x.contiguous(), "name": f"n{index}", "index": index}


class Source:
    def __init__(self, train=13, val=7, test=7):
        self.lengths = {"train": train, "val": val, "test": test}

    def split(self, name):
        return Numbers(self.lengths[name])


class Process(StochasticDegradation):
    """Process that returns the noise as the degraded image."""

    def __init__(self):
        super().__init__(Identity(image_size=2), ConstantNoise(1.0))
        self.times = []

    def sample(self, x, t, noise):
        assert t.shape == (len(x),) and noise.shape == x.shape
        return noise

    def measure(self, x, noise, t=1.0):
        self.times.append(t)
        return noise


def eval_batches(module, name="val"):
    return list({"val": module.val_dataloader, "test": module.test_dataloader}[name]())


def measured(batches, seed=0, t=1.0):
    return [measure(Process(), batch["x"], batch["name"], seed, t) for batch in batches]


def test_measurements_do_not_depend_on_the_batch():
    single_batches, large_batches = (eval_batches(ImageDataModule(Source(), eval_batch_size=n)) for n in (1, 5))
    assert [len(batch["x"]) for batch in large_batches] == [5, 2]
    assert all(set(batch) == {"x", "name", "index"} for batch in (*single_batches, *large_batches))
    assert [name for batch in large_batches for name in batch["name"]] == [f"n{i}" for i in range(7)]
    one, many = measured(single_batches), measured(large_batches)
    y = torch.cat([batch.y for batch in one])
    assert torch.equal(y, torch.cat([batch.y for batch in many]))
    assert y.flatten(1).unique(dim=0).shape[0] == 7
    assert [seed for batch in one for seed in batch.seeds] == [seed for batch in many for seed in batch.seeds]
    assert all(type(seed) is int for seed in many[0].seeds)
    following = torch.cat([batch.noise.normal((3, 2, 2), torch.float32) for batch in one])
    assert torch.equal(following, torch.cat([b.noise.normal((3, 2, 2), torch.float32) for b in many]))
    assert not torch.equal(following, y)
    assert not torch.equal(measured(large_batches, seed=1)[0].y, many[0].y)


def test_limited_images_are_spaced_over_the_split():
    module = ImageDataModule(Source(val=100), val_images=4, test_images=50)
    assert [batch["index"].tolist() for batch in eval_batches(module)] == [[0, 25, 50, 75]]
    assert len(eval_batches(module, "test")[0]["x"]) == 7


def test_evaluation_shards_over_devices():
    seen = []
    for rank in range(3):
        module = ImageDataModule(Source())
        module.trainer = types.SimpleNamespace(global_rank=rank, world_size=3, training=False)
        seen += [i for batch in eval_batches(module) for i in batch["index"].tolist()]
    assert sorted(seen) == list(range(7))


def test_datamodule_refuses_bad_arguments():
    for name, value in {
        "batch_size": 0,
        "eval_batch_size": -1,
        "num_workers": -1,
        "val_images": 0,
        "test_images": "all",
        "seed": -1,
    }.items():
        with refused(f"{name}={value}"):
            ImageDataModule(Source(), **{name: value})
    with refused("data.batch_size=16: 13 training images"):
        ImageDataModule(Source(), batch_size=16).train_dataloader()


# training with Lightning


class Spy(torch.nn.Module):
    """Network that records its inputs (level, y)."""

    image_channels, multiple, conditions = 3, 1, 1

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.1))
        self.seen = []

    def forward(self, y, level):
        self.seen.append((level.detach().clone(), y.detach().clone()))
        return self.scale * y


class Recorder(RestorerModule):
    """Record the images, times and degraded images of every training batch."""

    def __init__(self):
        denoiser = Denoiser(Spy(), conditioning="time")
        super().__init__(Restorer(Process(), denoiser, ReverseSampler(2)), metrics=[PSNR()])
        self.seen, self.batches = denoiser.network.seen, []

    def training_step(self, batch, batch_idx):
        images = (batch["x"][:, :2, 0, 0] * 100).round().int().tolist()
        self.seen.clear()
        loss = super().training_step(batch, batch_idx)
        ((t, y),) = self.seen
        self.batches.append((self.current_epoch, self.global_step, batch_idx, images, t, y))
        return loss


def fit(module, **options):
    """Train for 3 epochs and return the recorded batches."""
    torch.manual_seed(0)
    recorder = Recorder()
    quiet = {f"enable_{name}": False for name in ("checkpointing", "progress_bar", "model_summary")}
    options |= {"max_epochs": 3, "num_sanity_val_steps": 0, "logger": False, "use_distributed_sampler": False}
    pl.Trainer(accelerator="cpu", **quiet, **options).fit(recorder, module)
    return recorder.batches


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_step_determines_training_batches(accumulate):
    """An epoch contains each image once. Noise and times differ and do not depend on the number of workers."""
    batches = fit(ImageDataModule(Source(), batch_size=4), accumulate_grad_batches=accumulate)
    assert len(batches) == 9
    for start in range(0, 9, 3):
        images = [image for batch in batches[start : start + 3] for image in batch[3]]
        assert len(images) == len({index for index, _ in images}) == 12
        assert {epoch for _, epoch in images} == {start // 3}
    for epoch, step, number, images, t, y in batches:
        x = torch.tensor([[index, epoch, 0] for index, _ in images]).float().view(4, 3, 1, 1).expand(4, 3, 2, 2) / 100
        expected = training_batch(Process(), x, step_seed(0, DEGRADATION, step, number % accumulate, 0))
        assert torch.equal(t, expected.t) and torch.equal(y, expected.y)
    times, noise = (torch.cat([batch[i] for batch in batches]) for i in (4, 5))
    assert times.unique().numel() == 36 and noise.unique().numel() == noise.numel()
    if accumulate == 2:
        loaded = fit(ImageDataModule(Source(), batch_size=4, num_workers=1), accumulate_grad_batches=2)
        for one, other in zip(batches, loaded, strict=True):
            assert one[:4] == other[:4] and torch.equal(one[4], other[4]) and torch.equal(one[5], other[5])


@pytest.mark.parametrize("times", [(0.0, 1.0), (0.25, 0.5), (1.0, 1.0)])
def test_the_seed_determines_a_training_batch(times):
    x, process = torch.rand(50, 3, 2, 2), StochasticDegradation(Identity(image_size=2), ConstantNoise(0.5))
    one, same, other = (training_batch(process, x, seed, times) for seed in (1, 1, 2))
    assert torch.equal(one.x, x) and one.t.shape == one.s.shape == (50,) and one.y.shape == x.shape
    for name in ("y", "t", "s"):
        assert torch.equal(getattr(one, name), getattr(same, name))
    assert not torch.equal(one.y, other.y) and not torch.equal(one.s, other.s)
    assert one.t.min() >= times[0] and one.t.max() <= times[1]
    assert one.t.unique().numel() == (1 if times[0] == times[1] else 50)
    assert (one.s >= 0).all() and (one.s < one.t).all() and one.s.unique().numel() == 50
    noise = (one.y - x) / 0.5
    assert noise.unique().numel() == noise.numel() and abs(noise.std() - 1) < 0.15


@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
def test_prob_terminal_is_the_fraction_at_the_last_time(fraction):
    x, process = torch.rand(2000, 1, 1, 1), StochasticDegradation(Identity(image_size=1), ConstantNoise(0.5))
    plain, terminal = (training_batch(process, x, 1, (0.25, 0.5), prob_terminal=s) for s in (0.0, fraction))
    at_end = terminal.t == 0.5
    assert at_end.float().mean().item() == pytest.approx(fraction, abs=0.04)
    assert torch.equal(terminal.t[~at_end], plain.t[~at_end]) and (terminal.s < terminal.t).all()


def test_a_wrong_folder_is_reported_before_training(tmp_path):
    with refused(tmp_path / "none", "does not exist"):
        fit(ImageDataModule(ImageFolder(tmp_path / "none")))
