"""Read image files of other programs, whole, cut, damaged or with huge headers: run by `test_image_fuzz.py`.

Usage: python image_fuzz.py SEED COUNT. Prints counts as JSON, and fails at the first file that is read wrongly.
"""

import io
import json
import random
import resource
import struct
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image
from test_image_io import MAGICK, SHOWN, converted, three

from diracdiff.data.image_io import ImageError, read_image, read_info, read_rgb8

LOSSY = ("jpeg", "webp lossy")


def picture(rng, channels, kind):
    """Smooth pixels with noise, 8 x 8 to 60 x 60."""
    height, width, largest = rng.randint(8, 60), rng.randint(8, 60), np.iinfo(kind).max
    values = np.random.default_rng(rng.randrange(2**32))
    coarse = values.random((3, 3, channels), dtype=np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, channels)
    return ((smooth * 0.9 + 0.1 * values.random(smooth.shape)) * largest).astype(kind)


def pillow(rng):
    form = rng.choice(["png", "jpeg", "webp", "webp lossy", "gif", "bmp", "tiff"])
    channels = rng.choice([1, 3]) if form in ("jpeg", "bmp", "gif") else rng.choice([1, 2, 3, 4])
    channels = {1: 3, 2: 4}.get(channels, channels) if form.startswith("webp") else channels
    pixels, buffer, orientation = picture(rng, channels, "u1"), io.BytesIO(), rng.randint(1, 8)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    options = {"quality": 95, "subsampling": 0, "progressive": rng.random() < 0.5} if form == "jpeg" else {}
    options |= {"lossless": form == "webp", "exact": True} if form.startswith("webp") else {}
    options |= {"compression": rng.choice([None, "tiff_lzw", "packbits", "tiff_deflate"])} if form == "tiff" else {}
    if form in ("png", "jpeg", "webp", "webp lossy", "tiff"):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    else:
        orientation = 1
    image.save(buffer, form.split()[0], **options)
    lossy = form in LOSSY or form == "gif"
    return f"pillow {form} {channels}", buffer.getvalue(), SHOWN[orientation](pixels), lossy


def tiff(rng):
    kind, photometric = rng.choice(["u1", "u2"]), rng.choice(["minisblack", "miniswhite", "rgb"])
    alpha = photometric != "miniswhite" and rng.random() < 0.4
    pixels = picture(rng, (3 if photometric == "rgb" else 1) + alpha, kind)
    channels = pixels.shape[2]
    planar = rng.choice(["contig", "separate"]) if channels > 1 else None
    stored = np.moveaxis(pixels, -1, 0) if planar == "separate" else pixels[..., 0] if channels == 1 else pixels
    compression, buffer, orientation = rng.choice([None, "zlib", "lzma"]), io.BytesIO(), rng.randint(1, 8)
    tifffile.imwrite(
        buffer,
        np.ascontiguousarray(stored),
        photometric=photometric,
        planarconfig=planar,
        compression=compression,
        predictor=True if compression == "zlib" and rng.random() < 0.5 else None,
        tile=rng.choice([None, (16, 16), (32, 16)]),
        rowsperstrip=None,
        byteorder=rng.choice("<>"),
        bigtiff=rng.random() < 0.3,
        extrasamples=["unassalpha"] if alpha else None,
        extratags=[(274, 3, 1, orientation, True)],
        metadata=None,
    )
    shown = np.iinfo(kind).max - pixels if photometric == "miniswhite" else pixels
    return f"tifffile {photometric} {kind} {planar} {compression}", buffer.getvalue(), SHOWN[orientation](shown), False


def opencv(rng):
    form, kind, channels = rng.choice([".png", ".tif", ".jpg", ".bmp"]), rng.choice(["u1", "u2"]), rng.choice([1, 3, 4])
    kind = "u1" if form in (".jpg", ".bmp") else kind
    channels = min(channels, 3) if form in (".jpg", ".bmp") else channels
    pixels = picture(rng, channels, kind)
    stored = pixels[..., [2, 1, 0, 3][:channels]] if channels > 1 else pixels
    return (
        f"opencv {form} {kind} {channels}",
        cv2.imencode(form, np.ascontiguousarray(stored))[1].tobytes(),
        pixels,
        form == ".jpg",
    )


def magick(rng):
    form, kind, channels = rng.choice(["png", "tiff", "jpeg", "bmp3"]), rng.choice(["u1", "u2"]), rng.choice([1, 3])
    kind = "u1" if form in ("jpeg", "bmp3") else kind
    pixels = picture(rng, channels, kind)
    compression = ["-compress", rng.choice(["None", "LZW", "RLE", "Zip"])] if form == "tiff" else []
    interlace = ["-interlace", rng.choice(["none", "line", "plane"])]
    name = ["-type", "Grayscale" if channels == 1 else "TrueColor"]
    depth = ["-define", f"png:bit-depth={8 * pixels.itemsize}"] if form == "png" else []
    data = converted(pixels, form, *interlace, *compression, *depth, *name)
    return f"magick {form} {kind} {channels}", data, pixels, form == "jpeg"


def huge(rng, data):
    """Write large numbers where the header has the size."""
    value = rng.choice([0, 2**15, 30000, 65535, 2**31 - 1, 2**32 - 1])
    if data.startswith(b"\x89PNG"):
        header = data[12:16] + struct.pack(">II", value, value) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    changed = bytearray(data)
    if data.startswith(b"BM"):
        changed[18:26] = struct.pack("<II", value, value)
    elif data.startswith(b"\xff\xd8"):
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        changed[at + 5 : at + 9] = struct.pack(">HH", value % 65536, value % 65536)
    elif data.startswith(b"GIF8"):
        changed[6:10] = struct.pack("<HH", value % 65536, value % 65536)
    else:
        for at in range(0, min(len(data) - 12, 400), 2):
            if data[at : at + 2] in (b"\x00\x01", b"\x01\x01", b"\x42\x01", b"\x43\x01", b"\x01\x00", b"\x01\x42"):
                changed[at + 8 : at + 12] = struct.pack("<I" if data[:2] == b"II" else ">I", value)
    return bytes(changed)


def damaged(rng, data, how):
    if how == "whole":
        return data
    if how == "cut":
        return data[: rng.randrange(len(data))]
    if how == "huge":
        return huge(rng, data)
    changed = bytearray(data)
    for _ in range(rng.choice([1, 3, 30])):
        changed[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(changed)


def right(image, pixels, lossy):
    colours, alpha = (pixels[..., :-1], pixels[..., -1]) if pixels.shape[2] in (2, 4) else (pixels, None)
    if image.pixels.shape[:2] != pixels.shape[:2] or image.pixels.dtype != pixels.dtype:
        return False
    if alpha is not None and (image.alpha is None or not np.array_equal(image.alpha, alpha)):
        return False
    visible = np.ones(pixels.shape[:2], bool) if alpha is None else alpha > 0
    difference = np.abs(image.pixels.astype(int) - three(colours))[visible]
    return bool((difference.mean() < 30) if lossy and difference.size else not difference.any())


def run(seed, count):
    rng, counts, path = random.Random(seed), Counter(), Path(tempfile.mkdtemp()) / "image"
    writers = [pillow, tiff, opencv] + ([magick] if MAGICK else [])
    read_info_of = {"read_info": read_info, "read_rgb8": read_rgb8}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        name, whole, pixels, lossy = rng.choice(writers)(rng)
        how = rng.choice(["whole", "whole", "cut", "damaged", "huge"])
        data = damaged(rng, whole, how)
        path.write_bytes(data)
        result = "refused"
        try:
            image = read_image(path)
        except ImageError as error:
            assert "\n" not in str(error) and str(error).startswith(f"{path}: "), error
            if how == "whole":
                assert "not supported" in str(error), (seed, number, name, error)
        else:
            good = right(image, pixels, lossy)
            result = "right" if good else "other pixels"
            checked = data.startswith(b"\x89PNG") and how != "huge"
            assert good or (how in ("damaged", "huge") and not checked), (seed, number, name, how)
        for read in read_info_of.values():
            try:
                read(path)
            except ImageError as error:
                assert result == "refused" or "decoded" in str(error), (seed, number, name, error)
        counts[f"{how}: {result}"] += 1
    counts["MB"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    return counts


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
