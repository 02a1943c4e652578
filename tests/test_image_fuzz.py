"""Damaged image files give a result or a one-line error, and no other exception."""

import io
import os
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diracdiff.data.images import load_square
from diracdiff.data.inputs import find_inputs

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of Pillow on metadata
CASES = int(os.environ.get("FUZZ_CASES", 50))
SETTINGS = settings(
    max_examples=CASES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seeds():
    """Return {name: bytes} of small files of every supported format."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 4), dtype=np.uint8)
    colour, clear = Image.fromarray(pixels[..., :3]), Image.fromarray(pixels)
    grey, deep = Image.fromarray(pixels[..., 0]), Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    frames = {"save_all": True, "append_images": [colour.rotate(90), grey.convert("RGB")]}
    return {
        "plain.jpg": encoded(colour, "JPEG"),
        "progressive.jpg": encoded(colour, "JPEG", progressive=True, exif=exif),
        "ink.jpg": encoded(colour.convert("CMYK"), "JPEG"),
        "grey.jpg": encoded(grey, "JPEG", exif=exif),
        "colour.png": encoded(colour, "PNG", exif=exif),
        "clear.png": encoded(clear, "PNG"),
        "palette.png": encoded(colour.quantize(7), "PNG", transparency=1),
        "deep.png": encoded(deep, "PNG"),
        "animated.png": encoded(colour, "PNG", **frames),
        "lossy.webp": encoded(colour, "WEBP", exif=exif),
        "animated.webp": encoded(colour, "WEBP", **frames),
        "plain.bmp": encoded(colour, "BMP"),
        "plain.tif": encoded(colour, "TIFF"),
        "packed.tif": encoded(deep, "TIFF", compression="tiff_lzw"),
        "pages.tif": encoded(colour, "TIFF", compression="tiff_deflate", **frames),
        "animated.gif": encoded(colour, "GIF", **frames),
    }


FILES = seeds()
damage = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 300), st.binary(max_size=9)), min_size=1, max_size=6)


def damaged(data, changes):
    """Replace up to 300 bytes at each position, which removes, overwrites or inserts data."""
    data = bytearray(data)
    for position, removed, inserted in changes:
        start = position % max(1, len(data))
        data[start : start + min(removed, len(inserted) if removed % 2 else removed)] = inserted
    return bytes(data)


def repaired(data):
    """Return a PNG with corrected checksums, so that decoders read the damaged chunks."""
    out, start = bytearray(data[:8]), 8
    while start + 12 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        chunk = data[start + 4 : start + 8 + length]
        if len(chunk) < 4 + length:
            break
        out += data[start : start + 4] + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        start += 12 + length
    return bytes(out) + data[start:]


def result_or_none(call):
    """Return the result of a call, or None after a one-line ValueError."""
    try:
        return call()
    except ValueError as error:
        assert str(error) and "\n" not in str(error)
        return None


def read_every_way(path):
    image = result_or_none(lambda: load_square(path, 8, 10_000))
    assert image is None or image.shape == (3, 8, 8)
    result_or_none(lambda: find_inputs(path, path.parent / "restored", [], False))


@pytest.mark.parametrize("name", FILES)
def test_damaged_images(tmp_path, name):
    path = tmp_path / name

    @SETTINGS
    @given(damage)
    def run(changes):
        data = damaged(FILES[name], changes)
        path.write_bytes(data)
        read_every_way(path)
        if name.endswith(".png"):
            path.write_bytes(repaired(data))
            read_every_way(path)

    path.write_bytes(FILES[name])
    assert load_square(path, 8).shape == (3, 8, 8)
    run()
