"""Random and fixed crops of photographs in a folder."""

import numpy as np
import pytest
import torch
from conftest import BRIEF, SMALL, refused
from PIL import Image
from test_data import refused as refused_value

from diracdiff.data import ImageFolder, crops
from diracdiff.data.sampler import ShardSampler
from diracdiff.training import ImageDataModule
from diracdiff.utils.pixels import to_pixels


@pytest.fixture
def photos(tmp_path):
    """Thirty images of different sizes whose pixel values encode the position."""
    for i in range(30):
        width, height = 60 + i, 90 - i
        rows, columns = np.indices((height, width), dtype=np.uint8)
        part = tmp_path / "photos" / f"{i % 3}"
        part.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([rows, columns, np.full_like(rows, i)], -1)).save(part / f"{i}.png")
    return tmp_path / "photos"


def folder(root, **options):
    return ImageFolder(root, 16, crop="random", **options)


def test_random_crops_are_squares_of_the_photographs(photos):
    train = folder(photos, crops_per_epoch=200).split("train")
    seen, flipped = set(), 0
    for epoch in (0, 3):
        for index in range(200):
            item = train[epoch, index]
            photo, left, top, side = item["name"].rsplit("-", 3)
            pixels = np.asarray(Image.open(photos / photo))
            crop = pixels[int(top) : int(top) + 16, int(left) : int(left) + 16]
            image = (item["x"] * 255).round().byte().permute(1, 2, 0).numpy()
            flipped += (image == crop[:, ::-1]).all()
            assert side == "0016" and ((image == crop).all() or (image == crop[:, ::-1]).all())
            seen.add(item["name"])
    assert len(seen) > 350 and 120 < flipped < 280
    plain = folder(photos, crops_per_epoch=200, flip=False).split("train")
    assert plain[3, 7]["name"] == train[3, 7]["name"]


def test_recoloured_crops_have_permuted_channels_raised_to_powers(tmp_path):
    generator, orders, powers = np.random.default_rng(0), set(), []
    for i in range(12):
        Image.fromarray(generator.integers(40, 220, (20, 20, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    plain, coloured = (folder(tmp_path, crops_per_epoch=60, recolour=r).split("train") for r in (False, True))
    for index in range(60):
        x, y = (split[0, index]["x"].flatten(1).log() for split in (plain, coloured))
        order = torch.corrcoef(torch.cat([y, x]))[:3, 3:].argmax(1)
        power = (y / x[order]).median(1).values
        assert torch.allclose(y.exp(), (power.unsqueeze(1) * x[order]).exp(), atol=0.01)
        orders.add(tuple(order.tolist()))
        powers += power.tolist()
    assert len(orders) == 6 and 0.49 < min(powers) < 0.6 and 1.8 < max(powers) < 2.01


def test_max_scale_limits_random_crops(photos):
    for limit, largest in ((1, 16), (2, 32), (100, 75)):
        train = folder(photos, crops_per_epoch=300, max_scale=limit).split("train")
        sides = [int(train[0, i]["name"].rsplit("-", 1)[1]) for i in range(300)]
        assert min(sides) == 16 and 0.9 * largest <= max(sides) <= largest
        assert all(train[0, i]["x"].shape == (3, 16, 16) for i in range(0, 300, 50))


def test_held_out_photographs_have_a_fixed_grid_of_crops(photos):
    data = folder(photos, max_scale=2)
    for split in ("val", "test"):
        images = data.split(split)
        names = [images[i]["name"] for i in range(len(images))]
        assert len(set(names)) == len(names) == 3 * (12 + 4)
        for i in range(0, len(images), 5):
            photo, left, top, side = names[i].rsplit("-", 3)
            crop = Image.open(photos / photo).crop((int(left), int(top), int(left) + int(side), int(top) + int(side)))
            crop = crop if side == "0016" else crop.resize((16, 16), Image.Resampling.BICUBIC)
            assert torch.equal(to_pixels(images[i]["x"]), torch.from_numpy(np.array(crop)).permute(2, 0, 1))
    assert len(folder(photos).split("val")) == 3 * 12


def test_crops_do_not_depend_on_workers_or_ranks(photos):
    def batches(workers):
        module = ImageDataModule(folder(photos, max_scale=3, crops_per_epoch=64), batch_size=8, num_workers=workers)
        loader = module.train_dataloader()
        loader.sampler.set_epoch(1)
        return list(loader)

    one, two = batches(0), batches(2)
    assert len(one) == 8
    assert all(torch.equal(a["x"], b["x"]) and a["name"] == b["name"] for a, b in zip(one, two, strict=True))
    train = folder(photos, crops_per_epoch=64).split("train")
    order = [key for key in ShardSampler(64, shuffle=True, order=train.order)]
    ranks = [list(ShardSampler(64, shuffle=True, order=train.order, rank=r, world_size=2)) for r in range(2)]
    assert [key for pair in zip(*ranks, strict=True) for key in pair] == order
    assert sorted(index for _, index in order) == list(range(64))


def test_consecutive_crops_come_from_few_photographs(photos):
    train = folder(photos, crops_per_epoch=24 * 64).split("train")
    order = [index for _, index in ShardSampler(len(train), seed=1, shuffle=True, order=train.order)]
    names = [train[0, index]["name"].rsplit("-", 3)[0] for index in order]
    assert len(set(names)) == 24
    recent, decoded = [], 0
    for name in names:
        decoded += name not in recent
        recent = [*(other for other in recent if other != name), name][-crops.CACHE_SIZE :]
    assert decoded <= 3 * 24  # each has 64 crops
    assert all(len(set(names[start : start + 32])) > 3 for start in range(0, len(names), 32))
    assert order != [index for _, index in ShardSampler(len(train), seed=2, shuffle=True, order=train.order)]


def test_unusable_photographs_are_refused_or_skipped(photos, capfd):
    whole = {name: list(folder(photos).split(name).photographs.names) for name in ("train", "val", "test")}
    small, cut = whole["val"][0], whole["val"][1]
    bad = [*whole["train"][:2], small, cut]
    Image.new("RGB", (15, 80)).save(photos / small)
    for name in bad:
        if name != small:
            (photos / name).write_bytes((photos / name).read_bytes()[:-300] + name.encode())
    with refused_value(small, "15x80", "smaller than data.image_size=16"):
        folder(photos).split("val")
    module = ImageDataModule(folder(photos, on_error="skip", crops_per_epoch=64), batch_size=8)
    names = [name for batch in module.train_dataloader() for name in batch["name"]]
    assert len(names) == 64 and not {name.rsplit("-", 3)[0] for name in names} & set(bad)
    held_out = [name for batch in module.val_dataloader() for name in batch["name"]]
    assert {name.rsplit("-", 3)[0] for name in held_out} == {whole["val"][2]} and len(held_out) == 12
    lines = capfd.readouterr().err.splitlines()
    assert sum(line.startswith("warning: skipped, ") for line in lines) == 4
    with refused_value(whole["train"][0]):
        train = folder(photos, crops_per_epoch=200).split("train")
        [train[0, i] for i in range(200)]


def test_invalid_crop_options_are_refused(photos):
    for options, part in (
        ({"crop": "center"}, "data.crop=center: must be one of resize, random"),
        ({"crop": "random", "max_scale": 0.5}, "data.max_scale=0.5"),
        ({"crop": "random", "max_scale": True}, "data.max_scale=True"),
        ({"crop": "random", "crops_per_epoch": 0}, "data.crops_per_epoch"),
        ({"max_scale": 2}, "need random crops"),
        ({"crops_per_epoch": 20}, "need random crops"),
        ({"recolour": True}, "need random crops"),
        ({"crop": "random", "recolour": 1}, "data.recolour=1: must be true or false"),
    ):
        with refused_value(part):
            ImageFolder(photos, 16, **options)


def test_the_commands_train_on_crops_and_evaluate(photos, tmp_path, call):
    options = ["data=folder", f"data.root={photos}", "data.image_size=32", "lpips=null", "data.crop=random"]
    crop_options = ["data.crops_per_epoch=8", "data.max_scale=1.5"]
    assert call("train", "task=inpaint", *options, *crop_options, *SMALL, *BRIEF, "hydra.run.dir=run") == (0, [])
    assert call("evaluate", "checkpoint=run/best.ckpt", *options, "trainer=cpu", "metrics=[psnr]", "output=out")[0] == 0
    assert "-0032," in (tmp_path / "out" / "images.csv").read_text()
    refused(call("pack", *[word for word in options if "lpips" not in word], "output=set"), "images are crops")
