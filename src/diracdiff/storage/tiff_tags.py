"""TIFF directories, which describe TIFF files and hold the EXIF of all formats: find tags, reset the orientation."""

import struct
from dataclasses import dataclass

ORIENTATION = 274
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value by its TIFF type."""
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}


@dataclass(frozen=True)
class Tag:
    """One entry of a directory.

    Attributes:
        type: TIFF type, a key of SIZES.
        count: number of values.
        start: position of the first value in the data.
        raw: bytes of the values.
        order: byte order, "<" or ">".
    """

    type: int
    count: int
    start: int
    raw: bytes
    order: str

    @property
    def integers(self) -> tuple[int, ...]:
        """The values of an unsigned integer type; empty for other types."""
        code = INTEGERS.get(self.type)
        return struct.unpack(f"{self.order}{self.count}{code}", self.raw) if code else ()


def read_tags(data: bytes) -> dict[int, Tag]:
    """Read the first directory of a TIFF file or of an EXIF payload, classic or BigTIFF.

    Entries with unknown types or with values outside of the data are left out, and so is a directory outside of it.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return {}
    big = data[2:4] in (b"+\0", b"\0+")
    offset, count, header = ("Q", "Q", 8) if big else ("I", "H", 4)
    try:
        (start,) = struct.unpack_from(order + offset, data, header)
        (entries,) = struct.unpack_from(order + count, data, start)
    except struct.error:
        return {}
    first, inline = start + struct.calcsize(count), struct.calcsize(offset)
    length = 4 + 2 * inline
    tags = {}
    for at in range(first, min(first + entries * length, len(data) - length + 1), length):
        number, type, values = struct.unpack_from(f"{order}HH{offset}", data, at)
        size = SIZES.get(type, 0) * values
        place = at + 4 + inline
        position = place if size <= inline else struct.unpack_from(order + offset, data, place)[0]
        if size and position + size <= len(data):
            tags[number] = Tag(type, values, position, data[position : position + size], order)
    return tags


def integers(tags: dict[int, Tag], number: int) -> tuple[int, ...]:
    """Return the values of a tag; empty where it is missing."""
    return tags[number].integers if number in tags else ()


def first_value(tags: dict[int, Tag], number: int, default: int = 0) -> int:
    """Return the first value of a tag, or `default` where it is missing."""
    return next(iter(integers(tags, number)), default)


def read_orientation(exif: bytes) -> int | None:
    """Return the orientation of an EXIF payload, 1 to 8, or None where it has none."""
    value = first_value(read_tags(exif), ORIENTATION)
    return value if 1 <= value <= 8 else None


def reset_orientation(exif: bytes) -> bytes:
    """Set the orientation tag of an EXIF payload to 1 and leave every other byte as it is."""
    if read_orientation(exif) is None:
        return exif
    tag = read_tags(exif)[ORIENTATION]
    upright = struct.pack(tag.order + INTEGERS[tag.type], 1)
    return exif[: tag.start] + upright + exif[tag.start + len(upright) :]
