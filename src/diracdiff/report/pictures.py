"""Encoding of the pictures of a report within its size limit."""

from __future__ import annotations

import base64
import io
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from diracdiff.metrics import Row

BUDGET = 4_400_000
"""Maximum bytes of all encoded pictures of a report. The charting library needs most of the other bytes."""

QUALITY = 92
"""JPEG quality of lossy pictures."""


def encode_pictures(
    sets: Mapping[Any, Tensor], optional: Sequence[Sequence[Hashable]] = (), budget: int = BUDGET
) -> tuple[dict[Any, list[str]], str]:
    """Encode pictures within a budget of bytes.

    The steps to reduce the size are: JPEG instead of PNG, fewer optional groups, and a lower resolution.

    Args:
        sets: {key: uint8 images (N, 3, H, W)}.
        optional: groups of keys that may be dropped.
        budget: maximum bytes of all encoded pictures.

    Returns:
        {key: data URIs, one per image}, and a note about the encoding.
    """
    max_level = len(optional).bit_length()
    encodings = [
        (True, 0, 0),
        *((False, i, 0) for i in range(max_level + 1)),
        *((False, max_level, i) for i in range(1, 16)),
    ]
    for exact, every, shrink in ((exact, 2**i, 2**j) for exact, i, j in encodings):
        dropped = {key for i, group in enumerate(optional, start=1) if i % every for key in group}
        pictures, left = dict[Any, list[str]](), budget
        for key in (key for key in sets if key not in dropped and left >= 0):
            height, width = (max(1, side // shrink) for side in sets[key].shape[-2:])
            small = adaptive_avg_pool2d(sets[key].float(), (height, width)).round().byte()
            pictures[key] = [data_uri(image, exact) for image in small]
            left -= sum(map(len, pictures[key]))
        if left >= 0:
            note = "exact (PNG)" if exact else f"compressed (JPEG, quality {QUALITY})"
            if every > 1:
                note += f", shown at {len(optional) // every} of the {len(optional)} times between stopping times"
            return pictures, f"Pictures are {note}{f', sides divided by {shrink}' if shrink > 1 else ''}."
    raise AssertionError("pictures of one pixel fit")


def data_uri(pixels: Tensor, exact: bool = True) -> str:
    """Encode a picture, uint8 (3, H, W), as a data URI: PNG if `exact`, else JPEG."""
    kind, file = "png" if exact else "jpeg", io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, kind, quality=QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def image_values(rows: Sequence[Row], names: Sequence[str], digits: int = 6) -> list[dict[str, float]]:
    """Return the metrics of single images.

    Args:
        rows: rows with "name" and metrics.
        names: names of the images, in the order of the result.
        digits: significant digits.
    """
    by_name = {row["name"]: row for row in rows}
    selected = [{key: v for key, v in by_name.get(name, {}).items() if isinstance(v, float)} for name in names]
    return [{key: float(f"{v:.{digits}g}") for key, v in row.items() if key != "t"} for row in selected]
