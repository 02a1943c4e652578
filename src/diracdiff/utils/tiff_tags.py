"""TIFF directories, which describe TIFF files and hold the EXIF of every format: read, change and write their tags."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

ORIENTATION, EXIF, GPS, INTEROPERABILITY = 274, 34665, 34853, 40965
DESCRIPTIVE = (270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432)
"""Tags of a TIFF that do not concern its pixels: description, camera, resolution, software, date, artist, copyright."""

UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of the numbers that values are made of, by TIFF type."""
RATIONALS = (5, 10)
"""Types whose values are made of two numbers."""
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
"""Unsigned integer types and their format characters."""


@dataclass(frozen=True)
class Tag:
    """One entry of a directory.

    Attributes:
        type: TIFF type, a key of UNITS.
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

    def ordered(self, order: str) -> bytes:
        """Return the bytes of the values in a byte order."""
        unit = UNITS[self.type] if order != self.order else 1
        return b"".join(self.raw[at : at + unit][::-1] for at in range(0, len(self.raw), unit))


Directory = Mapping[int, Tag]


def read_tags(data: bytes, start: int | None = None) -> dict[int, Tag]:
    """Read a directory of a TIFF file or of an EXIF payload, classic or BigTIFF.

    Entries with unknown types or with values outside of the data are left out; so is a directory outside of it.

    Args:
        data: a file or payload.
        start: position of the directory; None: the first one.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return {}
    big = data[2:4] in (b"+\0", b"\0+")
    offset, count, header = ("Q", "Q", 8) if big else ("I", "H", 4)
    try:
        start = struct.unpack_from(order + offset, data, header)[0] if start is None else start
        (entries,) = struct.unpack_from(order + count, data, start)
    except struct.error:
        return {}
    first, inline = start + struct.calcsize(count), struct.calcsize(offset)
    length = 4 + 2 * inline
    tags = {}
    for at in range(first, min(first + entries * length, len(data) - length + 1), length):
        number, type, values = struct.unpack_from(f"{order}HH{offset}", data, at)
        size = UNITS.get(type, 0) * values * (2 if type in RATIONALS else 1)
        place = at + 4 + inline
        position = place if size <= inline else struct.unpack_from(order + offset, data, place)[0]
        if size and position + size <= len(data):
            tags[number] = Tag(type, values, position, data[position : position + size], order)
    return tags


def integers(tags: Directory, number: int) -> tuple[int, ...]:
    """Return the values of a tag; empty where it is missing."""
    return tags[number].integers if number in tags else ()


def first_value(tags: Directory, number: int, default: int = 0) -> int:
    """Return the first value of a tag, or `default` where it is missing."""
    return next(iter(integers(tags, number)), default)


def set_integers(data: bytes, tag: Tag, value: int) -> bytes:
    """Set all values of a tag of an unsigned integer type, and leave every other byte of the data as it is."""
    raw = struct.pack(f"{tag.order}{tag.count}{INTEGERS[tag.type]}", *[value] * tag.count)
    return data[: tag.start] + raw + data[tag.start + len(raw) :]


def reset_orientation(exif: bytes) -> bytes:
    """Set the orientation of an EXIF payload to 1, and leave every other byte as it is."""
    tag = read_tags(exif).get(ORIENTATION)
    return set_integers(exif, tag, 1) if tag is not None and tag.integers else exif


def exif_of_tiff(data: bytes) -> bytes | None:
    """Return an EXIF payload with the descriptive, EXIF and GPS tags of a TIFF file, or None where there are none."""
    main, inner = _metadata(data)
    if not main and not inner:
        return None
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    header = data[:2] + struct.pack(f"{order}H", 42)
    return _with_directories(header + bytes(4), order, main, inner)


def add_exif(tiff: bytes, exif: bytes) -> bytes:
    """Add the descriptive, EXIF and GPS tags of an EXIF payload to a classic TIFF file."""
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]
    main, inner = _metadata(exif)
    return _with_directories(tiff, order, {**read_tags(tiff), **main}, inner)


def _metadata(data: bytes) -> tuple[dict[int, Tag], dict[int, dict[int, Tag]]]:
    """Return the descriptive tags of a TIFF file or an EXIF payload, and its EXIF and GPS directories."""
    tags = read_tags(data)
    inner = {pointer: read_tags(data, first_value(tags, pointer)) for pointer in (EXIF, GPS) if pointer in tags}
    for directory in inner.values():
        directory.pop(INTEROPERABILITY, None)
    return {number: tags[number] for number in DESCRIPTIVE if number in tags}, {k: v for k, v in inner.items() if v}


def _with_directories(data: bytes, order: str, main: Directory, inner: Mapping[int, Directory]) -> bytes:
    """Append directories to a classic TIFF file or to its header of 8 bytes, and make `main` the first one."""
    pointers = {}
    for number, tags in inner.items():
        data += bytes(len(data) % 2)
        pointers[number] = Tag(4, 1, 0, struct.pack(f"{order}I", len(data)), order)
        data += _directory(tags, len(data), order)
    data += bytes(len(data) % 2)
    return (
        data[:4] + struct.pack(f"{order}I", len(data)) + data[8:] + _directory({**main, **pointers}, len(data), order)
    )


def _directory(tags: Directory, start: int, order: str) -> bytes:
    """Return the bytes of a directory at the position `start`, followed by the values that its entries cannot hold."""
    classic = {number: tag for number, tag in sorted(tags.items()) if tag.type <= 13}
    entries, values = struct.pack(f"{order}H", len(classic)), b""
    after = start + 2 + 12 * len(classic) + 4
    for number, tag in classic.items():
        raw = tag.ordered(order)
        entries += struct.pack(f"{order}HHI", number, tag.type, tag.count)
        if len(raw) <= 4:
            entries += raw.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}I", after + len(values))
            values += raw + bytes(len(raw) % 2)
    return entries + bytes(4) + values
