"""Checks of TIFF and PNG files before libvips decodes them."""

import struct
import zlib

from diracdiff.storage.tiff_tags import Tag, first_value, integers, read_tags

REPLACE = "Replace or remove the file."
SAVE_DEPTH = "Save it with 8 or 16 bits."

COMPRESSION, PHOTOMETRIC, SAMPLES, EXTRA_SAMPLES, SAMPLE_FORMAT = 259, 262, 277, 338, 339
TILE_WIDTH, TILE_LENGTH, IMAGE_DEPTH, TILE_DEPTH = 322, 323, 32997, 32998
PALETTE = 3
COLOURS = {0: 1, 1: 1, 2: 3, PALETTE: 1, 5: 4, 6: 3}
"""Colour channels of a TIFF by its photometric interpretation: grey, RGB, palette, CMYK, YCbCr."""
LOSSLESS = (1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000)
"""Lossless compressions of TIFF."""
ASSOCIATED_ALPHA, STRAIGHT_ALPHA = 1, 2


class Unreadable(Exception):
    """An image that is damaged, not supported or too large.

    Attributes:
        reason: states the problem, without a full stop.
        remedy: a sentence.
    """

    def __init__(self, reason: str, remedy: str = REPLACE):
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


def check_tiff(data: bytes) -> dict[int, Tag]:
    """Read a TIFF's tags.

    Raises:
        Unreadable: if libvips would misread the file or would need memory out of proportion.
    """
    tags = read_tags(data)
    if max(first_value(tags, IMAGE_DEPTH, 1), first_value(tags, TILE_DEPTH, 1)) > 1:
        raise Unreadable("a volume of several depths is not supported", "Save each depth as an image.")
    if set(integers(tags, SAMPLE_FORMAT)) - {1}:
        raise Unreadable("its values are not unsigned integers", SAVE_DEPTH)
    colours = COLOURS.get(first_value(tags, PHOTOMETRIC, 1))
    if colours is None:
        raise Unreadable("its colour space is not supported", "Save it as RGB.")
    extra, kinds = first_value(tags, SAMPLES, 1) - colours, integers(tags, EXTRA_SAMPLES)
    if extra and (extra != 1 or not set(kinds) & {ASSOCIATED_ALPHA, STRAIGHT_ALPHA}):
        raise Unreadable("it has more channels than colours and alpha", "Save it as RGB or RGBA.")
    return tags


def check_png(data: bytes) -> dict[bytes, bytes]:
    """Check the checksums of a PNG's chunks and return the last chunk of each name.

    Raises:
        Unreadable: if a chunk is damaged or the last one is missing.
    """
    chunks, at, view = {}, 8, memoryview(data)
    while b"IEND" not in chunks:
        if at + 12 > len(data):
            raise Unreadable("the file is truncated")
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise Unreadable("the file is truncated")
        if zlib.crc32(view[at + 4 : at + 8 + length]) != int.from_bytes(data[at + 8 + length : at + 12 + length]):
            raise Unreadable("the file is damaged: a checksum is wrong")
        chunks[kind] = b"" if kind == b"IDAT" else data[at + 8 : at + 8 + length]
        at += 12 + length
    return chunks
