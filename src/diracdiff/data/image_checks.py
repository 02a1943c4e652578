"""Checks of TIFF, PNG and BMP files before they are decoded."""

import struct
import zlib

from diracdiff.utils.tiff_tags import Tag, first_value, integers, read_tags

REPLACE = "Replace or remove the file."
SAVE_DEPTH = "Save it with 8 or 16 bits."
SAVE_RGB = "Save it as RGB or RGBA."

BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR = 258, 259, 262, 277, 284
TILE_WIDTH, EXTRA_SAMPLES, SAMPLE_FORMAT, IMAGE_DEPTH, TILE_DEPTH = 322, 338, 339, 32997, 32998
PALETTE, CMYK = 3, 5
COLOURS = {0: 1, 1: 1, 2: 3, PALETTE: 1, CMYK: 4, 6: 3}
"""Colour channels of a TIFF by its photometric interpretation: grey, RGB, palette, CMYK, YCbCr."""
LOSSLESS = {1, 5, 8, 32773, 32946}
"""Compressions of TIFF: none, LZW, deflate and PackBits."""
FAX = {2, 3, 4}
"""Compressions of TIFF for one bit per pixel."""
JPEG = 7
"""Compression of TIFF with losses."""
ASSOCIATED_ALPHA, STRAIGHT_ALPHA = 1, 2

LONGEST_PROFILE = 2**20
"""Bytes of EXIF that a text chunk of a PNG may hold."""


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
        Unreadable: if the file is not one that libvips reads correctly.
    """
    tags = read_tags(data)
    photometric, compression = first_value(tags, PHOTOMETRIC, 1), first_value(tags, COMPRESSION, 1)
    bits, colours = set(integers(tags, BITS)) or {1}, COLOURS.get(photometric)
    if max(first_value(tags, IMAGE_DEPTH, 1), first_value(tags, TILE_DEPTH, 1)) > 1:
        raise Unreadable("a volume of several depths is not supported", "Save each depth as an image.")
    if set(integers(tags, SAMPLE_FORMAT)) - {1} or len(bits) > 1 or bits - {1, 2, 4, 8, 16}:
        raise Unreadable("its values are not unsigned integers of 8 or 16 bits", SAVE_DEPTH)
    if colours is None:
        raise Unreadable("its colour space is not supported", SAVE_RGB)
    extra = first_value(tags, SAMPLES, 1) - colours
    kinds = set(integers(tags, EXTRA_SAMPLES)) or {STRAIGHT_ALPHA}  # OpenCV does not declare it
    if extra and (extra != 1 or photometric == CMYK or not kinds & {ASSOCIATED_ALPHA, STRAIGHT_ALPHA}):
        raise Unreadable("it has more channels than colours and alpha", SAVE_RGB)
    planar = first_value(tags, PLANAR, 1) == 2
    jpeg = compression == JPEG and bits == {8} and photometric not in (PALETTE, CMYK) and not extra and not planar
    fax = compression in FAX and bits == {1} and colours == 1
    if not (jpeg or fax or compression in LOSSLESS) or (planar and extra and colours == 1):
        raise Unreadable("its compression or layout is not supported", "Save it with LZW or without compression.")
    return tags


def check_png(data: bytes) -> dict[bytes, bytes]:
    """Check the checksums of a PNG's chunks.

    Returns:
        The last chunk of each name; "eXIf" also where text holds it, as older versions of ImageMagick write it.

    Raises:
        Unreadable: if a chunk is damaged or the last one is missing.
    """
    chunks, at, view = {}, 8, memoryview(data)
    while b"IEND" not in chunks:
        length, kind = struct.unpack_from(">I4s", data, at) if at + 8 <= len(data) else (0, b"")
        end = at + 8 + length
        if end + 4 > len(data):
            raise Unreadable("the file is truncated")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise Unreadable("the file is damaged: a checksum is wrong")
        content = b"" if kind == b"IDAT" else data[at + 8 : end]
        chunks[kind] = content
        if kind in (b"tEXt", b"zTXt") and content.startswith((b"Raw profile type exif\0", b"Raw profile type APP1\0")):
            chunks.setdefault(b"eXIf", _raw_profile(content, kind == b"zTXt"))
        at = end + 4
    return chunks


def _raw_profile(content: bytes, compressed: bool) -> bytes:
    """Return the bytes that a text chunk holds in hexadecimal digits, after a line each for their name and number."""
    text = content.partition(b"\0")[2]
    try:
        text = zlib.decompressobj().decompress(text[1:], LONGEST_PROFILE) if compressed else text
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except (zlib.error, ValueError):
        return b""


def bmp_size(data: bytes) -> tuple[int, int]:
    """Return the width and height that a BMP's header gives.

    Raises:
        Unreadable: if the file is truncated.
    """
    if len(data) < 26:
        raise Unreadable("the file is truncated")
    old = data[14:18] == b"\x0c\0\0\0"
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    return abs(width), abs(height)
