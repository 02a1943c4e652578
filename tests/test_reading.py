"""Image files as training and evaluation read them: decoders, sizes, faults, and those that are skipped."""

import struct
import zlib

import numpy as np
import pytest
import torch
from conftest import SHARED, needs_shared
from PIL import Image
from test_data import write_images
from torch.utils.data import Subset

from diracdiff.data import ImageFolder, ImageNet
from diracdiff.data.images import load_image, load_square
from diracdiff.data.inputs import plan
from diracdiff.data.jpeg import DRAFT_MARGIN, load_square_fast
from diracdiff.training import ImageDataModule
from diracdiff.utils.errors import UserError
from diracdiff.utils.pixels import from_pixels


def smooth(size, seed=0, mode="RGB"):
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def psnr(a, b):
    return (10 * torch.log10(255**2 / (a.float() - b.float()).square().mean())).item()


def turned(orientation, where):
    exif = Image.Exif()
    exif[0x0112] = orientation
    if where == "exif":
        return {"exif": exif}
    tag = f'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="{orientation}"></x:xmpmeta>'
    return {"xmp": tag.encode()}


# decoders


@needs_shared
@pytest.mark.parametrize(("folder", "size"), [("celeba-128", 64), ("imagenet-sample/train", 128)])
def test_the_fast_decoder_is_within_a_rounding_of_pillow(folder, size):
    files = sorted((SHARED / "data" / folder).rglob("*.[jJ]*"))[:60]
    found = [psnr(load_square_fast(path, size), load_square(path, size)) for path in files]
    assert min(found) > 70


@pytest.mark.parametrize("size", [(40, 30), (31, 45), (24, 24)])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_fast_decoder_crops_as_pillow_does(tmp_path, size, progressive):
    smooth(size).save(tmp_path / "a.jpg", quality=95, progressive=progressive)
    side = min(size)
    assert torch.equal(load_square_fast(tmp_path / "a.jpg", side), load_square(tmp_path / "a.jpg", side))
    assert psnr(load_square_fast(tmp_path / "a.jpg", 16), load_square(tmp_path / "a.jpg", 16)) > 55


ODD = {
    "grey.jpg": (smooth((40, 30), mode="L"), {}),
    "ink.jpg": (smooth((40, 30), mode="CMYK"), {}),
    "turned.jpg": (smooth((40, 30)), turned(6, "exif")),
    "mirrored.jpg": (smooth((40, 30)), turned(2, "exif")),
    "turned by xmp.jpg": (smooth((40, 30)), turned(8, "xmp")),
    "photo.png": (smooth((40, 30)), {}),
    "photo.webp": (smooth((40, 30)), {}),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_take_the_exact_path(tmp_path, name):
    image, options = ODD[name]
    image.save(tmp_path / name, **options)
    assert torch.equal(load_square_fast(tmp_path / name, 20), load_square(tmp_path / name, 20))
    if name.startswith("turned"):
        assert load_image(tmp_path / name).shape == (3, 40, 30)


@pytest.mark.parametrize(("side", "scale"), [(127, None), (128, 2), (254, 2), (256, 4), (1024, 8)])
@pytest.mark.parametrize("options", [{}, turned(6, "exif"), turned(3, "xmp")], ids=["upright", "exif", "xmp"])
def test_a_large_jpeg_is_decoded_at_a_fraction(tmp_path, monkeypatch, side, scale, options):
    """From eight times the size on, with DRAFT_MARGIN times the size left to the antialiased filter."""
    assert DRAFT_MARGIN == 4
    smooth((side + 8, side)).save(tmp_path / "a.jpg", quality=95, **options)
    exact, shrunk, resize = load_square(tmp_path / "a.jpg", 16), [], Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda image, *a: shrunk.append(image.size) or resize(image, *a))
    assert psnr(exact, load_square_fast(tmp_path / "a.jpg", 16)) > 45
    if scale is not None:
        assert [sorted(size) for size in shrunk] == [[side // scale, (side + 8) // scale]]


@pytest.mark.parametrize("decoder", ["fast", "pillow"])
def test_training_reads_with_its_decoder_and_all_else_with_pillow(tmp_path, decoder, monkeypatch):
    for i in range(12):
        smooth((40, 30), seed=i).save(tmp_path / f"{i:02}.jpg")
    data = ImageFolder(tmp_path, 16, decoder=decoder)
    module = ImageDataModule(data, batch_size=4)
    batch = next(iter(module.train_dataloader()))
    assert batch["x"].dtype == torch.uint8 and set(batch) == {"x", "name", "index"}
    given = module.on_after_batch_transfer(batch, 0)
    load = load_square_fast if decoder == "fast" else load_square
    for x, name, index in zip(given["x"], batch["name"], batch["index"].tolist(), strict=True):
        image = from_pixels(load(tmp_path / name, 16))
        assert torch.equal(x, image) or torch.equal(x, image.flip(-1))
        assert x.flatten().tolist() == pytest.approx(data.split("train")[0, index]["x"].flatten().tolist(), abs=0.05)
    for split, loader in (("val", module.val_dataloader()), ("test", module.test_dataloader())):
        (batch,) = loader
        assert batch["x"].dtype == torch.float32
        assert torch.equal(batch["x"][0], from_pixels(load_square(tmp_path / batch["name"][0], 16))), split


def test_a_decoder_that_is_not_to_be_had_is_no_silent_change(tmp_path, monkeypatch):
    write_images(tmp_path, [f"{i}.jpg" for i in range(5)])

    def missing(*_):
        raise RuntimeError("Couldn't load the image extension")

    monkeypatch.setattr("torchvision.io.decode_jpeg", missing)
    with pytest.raises(UserError, match=r"Couldn't load the image extension.*set dataset.decoder=pillow"):
        ImageFolder(tmp_path, 8).split("train").for_training()
    assert len(ImageFolder(tmp_path, 8, decoder="pillow").split("train").for_training()) == 3


# sizes and faults


def png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def refusal(read, *arguments):
    with pytest.raises(UserError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bomb_is_refused_by_its_size_before_it_is_decoded(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_header(30000, 30000))
    for read in (load_image, lambda path: load_square(path, 8), lambda path: load_square_fast(path, 8)):
        message = refusal(read, tmp_path / "bomb.png")
        assert "30000x30000 pixels, more than dataset.max_pixels=178956970" in message
    inputs, skipped = plan(tmp_path, tmp_path / "restored", [], "refuse")
    assert not inputs and "30000x30000 pixels, more than 178956970" in str(skipped[tmp_path / "bomb.png"])


def test_the_limit_of_pixels_is_the_user_s(tmp_path):
    for name in ("a.jpg", "a.png"):
        smooth((40, 30)).save(tmp_path / name)
        for read in (load_square, load_square_fast):
            assert "max_pixels=1199" in refusal(read, tmp_path / name, 8, 1199)
            assert read(tmp_path / name, 8, 1200).shape == (3, 8, 8)


def test_a_single_pixel_is_an_image(tmp_path):
    for name in ("a.png", "a.jpg", "a.tif"):
        Image.new("RGB", (1, 1), "white").save(tmp_path / name)
        assert load_square(tmp_path / name, 1).tolist() == load_square_fast(tmp_path / name, 1).tolist()
        assert load_square(tmp_path / name, 1).min() >= 254


# skipping


def broken(folder, names):
    for name in names:
        (folder / name).write_bytes((folder / name).read_bytes()[:60] + name.encode())  # all differ


@pytest.fixture
def photos(tmp_path):
    """Twenty photographs, of which each split has one or two that are broken: (data set's arguments, broken names)."""
    write_images(tmp_path, [f"{i:02}.jpg" for i in range(20)])
    whole = ImageFolder(tmp_path, 8, 0.2, 0.2)
    bad = [whole.split("val").names[1], *whole.split("train").names[3:5], whole.split("test").names[0]]
    broken(tmp_path, bad)
    return tmp_path, bad


@pytest.mark.parametrize("workers", [0, 2])
def test_training_replaces_what_it_skips_and_counts_it(photos, workers, capfd):
    root, bad = photos
    module = ImageDataModule(ImageFolder(root, 8, 0.2, 0.2, on_error="skip"), batch_size=4, num_workers=workers)
    loader = module.train_dataloader()
    for epoch in range(2):
        batches = list(loader)
        assert [len(batch["x"]) for batch in batches] == [4] * len(loader) == [4, 4, 4]
        names = [name for batch in batches for name in batch["name"]]
        assert not set(names) & set(bad)
        followers = [module.split("train").names[5]] if epoch == 0 else []
        assert all(names.count(name) == 3 for name in followers)
        loader.sampler.set_epoch(epoch + 1)
    module.teardown("fit")
    lines = capfd.readouterr().err.splitlines()
    for name in [] if workers else bad[1:3]:
        assert [line for line in lines if line.startswith(f"warning: skipped: {root / name}: it cannot be decoded (")]
    assert lines[-1] == "warning: skipped 2 of 12 train images, which cannot be read: others took their place"
    assert bad[0] not in "".join(lines)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch", [1, 3])
def test_evaluation_goes_without_what_it_skips_and_says_so(photos, workers, batch, capfd):
    root, bad = photos
    module = ImageDataModule(
        ImageFolder(root, 8, 0.2, 0.2, on_error="skip"), 4, eval_batch_size=batch, num_workers=workers
    )
    for _ in range(2):
        names = [name for found in module.val_dataloader() for name in found["name"]]
        assert names == [name for name in module.split("val").names if name != bad[0]]
    lines = capfd.readouterr().err.splitlines()
    if not workers:  # workers write to the stderr that the fork server began with, which pytest has replaced
        assert len(lines) == 2 and bad[0] in lines[0]
    assert lines[-1] == "warning: skipped 1 of 4 val images, which cannot be read: results are of the others"


def test_a_part_of_a_split_counts_its_own(photos, capfd):
    root, _ = photos
    module = ImageDataModule(ImageFolder(root, 8, 0.2, 0.2, on_error="skip"), 4, val_images=2)
    assert isinstance(module.split("val"), Subset)
    first, third = module.split("val").dataset.names[0], module.split("val").dataset.names[2]
    assert [name for batch in module.val_dataloader() for name in batch["name"]] == [first, third]
    broken(root, [third])
    assert [name for batch in module.val_dataloader() for name in batch["name"]] == [first]
    assert "skipped 1 of 2 val images" in capfd.readouterr().err


def test_with_nothing_left_skipping_is_an_error(photos):
    root, _ = photos
    broken(root, [path.name for path in root.iterdir()])
    module = ImageDataModule(ImageFolder(root, 8, on_error="skip"), 4)
    assert refusal(list, module.train_dataloader()).startswith("none of the 16 training images can be read")
    assert refusal(list, module.val_dataloader()) == "none of the val images can be read: check dataset.root"


def test_many_faults_are_named_up_to_ten(tmp_path, capfd):
    write_images(tmp_path, [f"{i:02}.png" for i in range(40)])
    broken(tmp_path, [f"{i:02}.png" for i in range(30)])
    list(ImageDataModule(ImageFolder(tmp_path, 8, on_error="skip"), 4).train_dataloader())
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 10 and lines[-1].endswith("; further ones are counted only")


def test_by_default_a_fault_ends_the_command(photos):
    root, bad = photos
    module = ImageDataModule(ImageFolder(root, 8, 0.2, 0.2), 4)
    assert bad[0] in refusal(list, module.val_dataloader())
    assert any(name in refusal(list, module.train_dataloader()) for name in bad)


@needs_shared
def test_validation_of_a_real_folder_is_what_pillow_alone_gives():
    """Written down, so that no new decoder moves a published figure."""
    images = ImageNet(SHARED / "data/imagenet-sample", 128).split("val")
    crc = 0
    for i in range(10):
        crc = zlib.crc32((images[i]["x"] * 255).round().byte().numpy().tobytes(), crc)
    assert crc == 4044726955
