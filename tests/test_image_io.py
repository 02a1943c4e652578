"""The image reader and writer, compared with arrays in files of other programs."""

import io
import itertools
import os
import struct
import subprocess
import sys
import tempfile
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from conftest import SHARED, needs_shared
from PIL import Image, ImageCms, ImageOps

from diracdiff.data.image_io import ImageError, convert_depth, read_image, read_info, read_rgb8, write_image

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 20, 37
LARGEST = {"u1": 255, "u2": 65535}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = SRGB[:16] + b"GRAY" + SRGB[20:]


def read_bytes(data, read=read_image):
    """Read an image from bytes through a temporary file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return read(file.name)


def noise(channels, kind="u1"):
    return RNG.integers(0, LARGEST[kind] + 1, (HEIGHT, WIDTH, channels), dtype=kind)


def three(pixels):
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)) if pixels.shape[2] == 1 else pixels


def check(image, colours, alpha=None, grey=None):
    """Compare a decoded image with the written colours, (H, W, 1 or 3), and alpha, (H, W)."""
    assert image.pixels.dtype == colours.dtype and image.pixels.flags.c_contiguous
    assert np.array_equal(image.pixels, three(colours))
    assert image.grey == (colours.shape[2] == 1 if grey is None else grey)
    assert image.info.alpha == (alpha is not None) and (image.alpha is None) == (alpha is None)
    if alpha is not None:
        assert image.alpha.dtype == colours.dtype and np.array_equal(image.alpha, alpha)
    assert image.info.size == colours.shape[1::-1] and image.info.bits == 8 * colours.itemsize


def refusal(read, *arguments):
    with pytest.raises(ImageError) as error:
        read(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


# TIFF files of tifffile

LAYOUTS = list(itertools.product((None, "zlib", "predictor"), (None, (16, 16)), "<>", (False,)))
LAYOUTS += [(None, None, "<", True), ("zlib", (16, 16), "<", True)]


def tiff(pixels, photometric, compression=None, tile=None, order="<", big=False, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels),
        photometric=photometric,
        planarconfig="contig" if pixels.shape[2] > 1 else None,
        compression="zlib" if compression else None,
        predictor=True if compression == "predictor" else None,
        tile=tile,
        byteorder=order,
        bigtiff=big,
        metadata=None,
        **options,
    )
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize(
    ("photometric", "alpha"), [("miniswhite", False), ("minisblack", False), ("rgb", False), ("rgb", True)]
)
def test_every_layout_of_tiff(kind, photometric, alpha):
    colours, opacity = noise(3 if photometric == "rgb" else 1, kind), noise(1, kind)
    shown = LARGEST[kind] - colours if photometric == "miniswhite" else colours
    pixels = np.concatenate([colours, opacity], -1) if alpha else colours
    for layout in LAYOUTS:
        options = {"extrasamples": ["unassalpha"]} if alpha else {}
        try:
            image = read_bytes(tiff(pixels, photometric, *layout, **options))
        except ImageError as error:  # a combination that Pillow does not support
            assert photometric == "miniswhite" and kind == "u2" and layout[2] == ">", error
            continue
        check(image, shown, opacity[..., 0] if alpha else None)


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_cmyk_becomes_srgb(kind):
    inks = np.zeros((1, 6, 4), "u1")
    inks[0, 1], inks[0, 2, 0], inks[0, 3, 1], inks[0, 4, 2], inks[0, 5, 3] = 255, 255, 255, 255, 255
    image = read_bytes(tiff(convert_depth(inks, 16 if kind == "u2" else 8), "separated", iccprofile=SRGB))
    assert image.pixels.dtype == kind and image.icc != SRGB and image.info.channels == 3
    white, all_inks, cyan, magenta, yellow, black = convert_depth(image.pixels, 8)[0].astype(int)
    assert white.min() >= 254 and all_inks.max() < 60 and black.max() < 80
    assert cyan[0] < 60 < 130 < cyan[1] < cyan[2] and magenta[1] < 60 < 200 < magenta[0]
    assert yellow[2] < 60 < 200 < min(yellow[:2])


def test_unsupported_tiff_files_are_refused_in_one_line(tmp_path):
    """Unsupported pixel formats, some of which libvips or Pillow decode incorrectly."""
    rgb, path, grey16 = noise(3), tmp_path / "a.tif", noise(1, "u2")
    for options in (
        dict(data=rgb.astype("f4"), photometric="rgb"),
        dict(data=grey16[..., 0].astype("f2"), photometric="minisblack"),
        dict(data=np.zeros((HEIGHT, WIDTH), "u4"), photometric="minisblack"),
        dict(data=grey16[..., 0].astype("i2"), photometric="minisblack"),
        dict(data=rgb, photometric="cielab"),
        dict(data=rgb[..., 0].copy(), photometric="cfa"),
        dict(data=np.moveaxis(rgb, -1, 0).copy(), photometric="rgb", planarconfig="separate"),
        dict(data=noise(4), photometric="rgb", extrasamples=["assocalpha"]),
        dict(data=noise(4), photometric="rgb", extrasamples=["unspecified"]),
        dict(data=noise(5), photometric="minisblack", planarconfig="contig"),
        dict(data=noise(5), photometric="separated", extrasamples=["unassalpha"]),
        dict(data=np.zeros((16, 32, 32), "u2"), photometric="minisblack", volumetric=True),
        dict(data=rgb, photometric="rgb", compression="lzma", tile=(16, 16)),
    ):
        tifffile.imwrite(path, **options)
        message = refusal(read_image, path)
        assert message.startswith(f"{path}: ") and "not supported" in message
        assert refusal(read_info, path) == message == refusal(read_rgb8, path)


# files of OpenCV and Pillow


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".png", "u1"), (".png", "u2"), (".tif", "u1"), (".tif", "u2"), (".webp", "u1"), (".bmp", "u1")],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_files_of_opencv(kind, suffix, channels):
    pixels = noise(channels, kind)
    if channels == 4 and suffix == ".webp":
        pixels[..., 3] |= 1  # WebP drops the colours of fully transparent pixels
    stored = pixels[..., [2, 1, 0, 3][:channels]] if channels > 1 else pixels
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    success, data = cv2.imencode(suffix, np.ascontiguousarray(stored), options)
    assert success
    check(read_bytes(data.tobytes()), pixels[..., :3], pixels[..., 3] if channels == 4 else None)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "jpeg"])
def test_every_orientation_is_applied_once(orientation, suffix):
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(noise(3)).save(buffer, suffix, exif=exif, **{"lossless": True} if suffix == "webp" else {})
    check(read_bytes(buffer.getvalue()), np.asarray(ImageOps.exif_transpose(Image.open(buffer)).convert("RGB")))


@pytest.mark.parametrize(
    ("mode", "suffixes"),
    [
        ("1", ["png", "tiff", "bmp"]),
        ("L", ["png", "tiff", "bmp", "gif"]),
        ("LA", ["png", "tiff"]),
        ("P", ["png", "gif", "bmp", "tiff"]),
        ("RGB", ["png", "tiff", "bmp", "webp"]),
        ("RGBA", ["png", "tiff", "webp"]),
        ("I;16", ["png", "tiff"]),
    ],
)
def test_every_mode_of_pillow(mode, suffixes):
    source = Image.fromarray(noise(3 if mode == "P" else 4))
    picture = Image.fromarray(noise(1, "u2")[..., 0]) if mode == "I;16" else source.convert(mode)
    for suffix in suffixes:
        buffer = io.BytesIO()
        picture.save(buffer, suffix, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
        image = read_bytes(buffer.getvalue())
        if mode == "I;16":
            check(image, np.asarray(picture)[..., None])
            continue
        truth = np.asarray(picture.convert("RGBA"))
        assert np.array_equal(image.pixels, truth[..., :3]), suffix
        assert (image.alpha is None) == (mode not in ("LA", "RGBA"))
        assert image.alpha is None or np.array_equal(image.alpha, truth[..., 3])
        assert image.grey == (mode in ("1", "L", "LA"))


@pytest.mark.parametrize(("suffix", "options"), [("png", {}), ("jpeg", {}), ("webp", {"lossless": True}), ("tiff", {})])
def test_grey_stored_as_rgb_is_grey(suffix, options):
    for tint in (0, 1):
        pixels, buffer = np.array(three(noise(1))), io.BytesIO()
        pixels[-9:, -9:, 2] ^= 255 * tint
        Image.fromarray(pixels).save(buffer, suffix, **options)
        image = read_bytes(buffer.getvalue())
        assert image.grey == (not tint) and image.info.channels == 3


@pytest.mark.parametrize(
    ("mode", "profile", "kept"),
    [("RGB", SRGB, True), ("L", GREY, True), ("RGB", GREY, False), ("L", SRGB, False)],
)
@pytest.mark.parametrize("suffix", ["png", "jpeg", "tiff"])
def test_a_profile_is_kept_if_it_fits_the_mode(mode, profile, kept, suffix):
    buffer = io.BytesIO()
    Image.fromarray(noise(3)).convert(mode).save(buffer, suffix, icc_profile=profile)
    if suffix == "png" and not kept:
        pytest.skip("libpng refuses it")
    assert read_bytes(buffer.getvalue()).icc == (profile if kept else None)


@pytest.mark.parametrize("suffix", ["gif", "webp", "tiff", "png"])
def test_the_first_of_several_frames_is_read(suffix):
    frames, buffer = [Image.new("RGB", (12, 10), colour) for colour in ("red", "blue", "lime")], io.BytesIO()
    frames[0].save(buffer, suffix, save_all=True, append_images=frames[1:], lossless=True)
    assert read_bytes(buffer.getvalue()).pixels[5, 5].tolist() == [255, 0, 0]


# opening and limits


def test_only_a_regular_file_of_a_known_format_is_read(tmp_path):
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "folder.jpg").mkdir()
    contents = {"empty.jpg": "", "text.png": "no image", "two\nlines.png": "no image"}
    contents |= {"script.png": "%!PS-Adobe-3.0 EPSF-3.0", "drawing.png": '<svg xmlns="http://www.w3.org/2000/svg"/>'}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    reasons = {"fifo.jpg": "not a regular file", "folder.jpg": "not a regular file", "/dev/zero": "not a regular file"}
    reasons |= {"empty.jpg": "is empty", "none.jpg": "does not exist"}
    for name in [*contents, *reasons]:
        for read in (read_image, read_info, read_rgb8):
            assert reasons.get(name, "not an image of a supported format") in refusal(read, tmp_path / name)


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "gif", "bmp", "tiff"])
def test_limits_are_checked_before_decoding(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise(3)).save(path)
    size = path.stat().st_size
    assert read_image(path, max_pixels=WIDTH * HEIGHT, max_bytes=size).info.size == (WIDTH, HEIGHT)
    with pytest.raises(ImageError, match=f"{WIDTH}x{HEIGHT} pixels, more than {WIDTH * HEIGHT - 1}. Shrink it."):
        read_image(path, max_pixels=WIDTH * HEIGHT - 1)
    with pytest.raises(ImageError, match=f"{size} bytes, more than {size - 1}"):
        read_image(path, max_bytes=size - 1)


MEMORY = """
import resource, sys
from diracdiff.data.image_io import ImageError, read_image
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
read_image(sys.argv[1])
before = peak()
for path in sys.argv[2:]:
    try:
        print(read_image(path).info)
    except ImageError as error:
        print(error)
    print(peak() - before)
"""


def test_decompression_bombs_need_little_memory(tmp_path):
    """Files: 3,000 slices, 30,000 x 30,000 pixels, 100 pages, large tiles, and 900 MB of compressed text."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(width, height, *chunks):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")

    Image.fromarray(noise(3)).save(tmp_path / "small.png")
    compressor = zlib.compressobj(1)
    block = compressor.compress(bytes(3_000_000)) + compressor.flush(zlib.Z_FULL_FLUSH)
    rows = block + block[2:] * 300  # 900 MB of zeros
    (tmp_path / "wide.png").write_bytes(png(30000, 30000, chunk(b"IDAT", rows)))
    options = {"photometric": "minisblack", "compression": "zlib"}
    tifffile.imwrite(tmp_path / "volume.tif", np.zeros((3000, 64, 64), "u2"), volumetric=True, **options)
    tifffile.imwrite(tmp_path / "pages.tif", np.zeros((100, 500, 500), "u2"), **options)
    tifffile.imwrite(tmp_path / "tile.tif", np.zeros((64, 64), "u1"), tile=(8192, 8192), **options)
    pixel = chunk(b"IDAT", zlib.compress(bytes(2)))
    (tmp_path / "text.png").write_bytes(png(1, 1, chunk(b"zTXt", b"Raw profile type exif\0\0" + rows), pixel))
    names = ["small.png", "volume.tif", "wide.png", "pages.tif", "tile.tif", "text.png"]
    command = [sys.executable, "-c", MEMORY, *[str(tmp_path / name) for name in names]]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "not supported" in lines[0] and "30000x30000 pixels" in lines[2]
    assert "size=(500, 500)" in lines[4] and "size=(1, 1)" in lines[8]
    assert max(int(line) for line in lines[1::2]) < 300


@needs_shared
def test_pixels_are_equal_to_pillow():
    files = sorted((SHARED / "data").rglob("*.[jJpP]*[gG]"))[::100]
    assert len(files) > 50
    for path in files:
        assert np.array_equal(read_rgb8(path), np.asarray(Image.open(path).convert("RGB"))), path


def test_transparency_is_composited_onto_white():
    pixels = np.zeros((256, 256, 4), "u1")
    pixels[..., :3], pixels[..., 3] = np.arange(256)[:, None, None], np.arange(256)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    white = Image.new("RGBA", (256, 256), "white")
    truth = np.asarray(Image.alpha_composite(white, Image.fromarray(pixels)).convert("RGB"))
    image = read_bytes(buffer.getvalue())
    assert np.array_equal(image.pixels, pixels[..., :3])
    assert np.array_equal(read_bytes(buffer.getvalue(), read_rgb8), truth)


# writing


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
def test_other_programs_read_the_written_files(tmp_path, kind, suffix, grey, transparent):
    path, pixels, alpha = tmp_path / f"a{suffix}", noise(1 if grey else 3, kind), noise(1, kind)
    icc = None if grey and transparent and suffix == ".tif" else GREY if grey else SRGB
    write_image(
        path,
        pixels[..., 0] if grey else pixels,
        icc=GREY if grey else SRGB,
        **{"alpha": alpha[..., 0]} if transparent else {},
    )
    expected = np.concatenate([three(pixels), alpha], -1) if transparent else pixels
    if suffix == ".tif":  # OpenCV multiplies TIFF colours by alpha
        loaded = tifffile.imread(path).reshape(expected.shape)
    else:
        loaded = np.atleast_3d(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        loaded = loaded if grey and not transparent else loaded[..., [2, 1, 0, 3][: loaded.shape[2]]]
    assert loaded.dtype == kind and np.array_equal(loaded, expected)
    with Image.open(path) as opened:
        assert opened.info.get("icc_profile") == icc
    image = read_image(path)
    assert np.array_equal(image.pixels, three(pixels)) and image.grey == grey


def test_an_image_that_a_format_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"wide.jpg: cannot be written \(.+\). Choose another format."):
        write_image(tmp_path / "wide.jpg", np.zeros((1, 70000), np.uint8))
    assert not list(tmp_path.iterdir())
