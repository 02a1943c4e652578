"""Tags of TIFF files and of EXIF payloads, which are TIFF directories, too."""

import io
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

ORIENTATION, EXIF, GPS = 274, 34665, 34853
DESCRIPTIVE = (270, 271, 272, 282, 283, 296, 305, 306, 315, 33432)
"""Tags of a TIFF that do not concern its pixels: description, camera, resolution, software, date, artist, copyright."""


def read_directory(data: bytes) -> ImageFileDirectory_v2:
    """Return the first directory of a TIFF file, classic or BigTIFF.

    Raises:
        SyntaxError, OSError, struct.error: if it is damaged.
    """
    directory = ImageFileDirectory_v2(data[: 16 if data[2:4] in (b"+\0", b"\0+") else 8])
    file = io.BytesIO(data)
    file.seek(directory.next)
    directory.load(file)
    return directory


def read_tags(data: bytes) -> dict[int, Any]:
    """Read the tags of a TIFF file; those that are damaged are left out."""
    tags: dict[int, Any] = {}
    with suppress(SyntaxError, OSError, struct.error):
        directory = read_directory(data)
        for number in directory:
            with suppress(Exception):  # Pillow raises errors of many kinds where tags are damaged
                tags[number] = directory[number]
    return tags


def integers(tags: Mapping[int, Any], number: int) -> tuple[int, ...]:
    """Return the integers of a tag; empty where it is missing."""
    value = tags.get(number, ())
    return tuple(item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, int))


def first_value(tags: Mapping[int, Any], number: int, default: int = 0) -> int:
    """Return the first integer of a tag, or `default` where it is missing."""
    return next(iter(integers(tags, number)), default)


def descriptive_tags(data: bytes) -> dict[int, Any]:
    """Return the descriptive tags of a TIFF file or EXIF payload, and its EXIF and GPS directories as dictionaries.

    Raises:
        Exception: of many kinds, if tags are damaged.
    """
    source = Image.Exif()
    source.load(data)
    tags: dict[int, Any] = {number: source[number] for number in DESCRIPTIVE if number in source}
    tags = {number: tag.encode("latin-1") if isinstance(tag, str) else tag for number, tag in tags.items()}
    return tags | {number: inner for number in (EXIF, GPS) if (inner := dict(source.get_ifd(number)))}


def exif_of_tiff(data: bytes) -> bytes | None:
    """Return an EXIF payload with the descriptive, EXIF and GPS tags of a TIFF file, None if it has none."""
    with suppress(Exception):  # Pillow raises errors of many kinds where tags are damaged
        if tags := descriptive_tags(data):
            exif = Image.Exif()
            exif.update(tags)
            return exif.tobytes().removeprefix(b"Exif\0\0")
    return None


def reset_orientation(exif: bytes) -> bytes:
    """Set the orientation of an EXIF payload to 1, and leave every other byte as it is."""
    with suppress(KeyError, struct.error):
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            number, kind = struct.unpack_from(f"{order}HH", exif, at)
            if (number, kind) == (ORIENTATION, 3):
                return exif[: at + 8] + struct.pack(f"{order}H", 1) + exif[at + 10 :]
    return exif
