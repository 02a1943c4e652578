"""Pictures in a page: as many, and as exact, as its size allows."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from diracdiff.metrics.metric import Row
from diracdiff.utils.image_files import encode_image

BUDGET = 7_500_000
"""Bytes of pictures in a page, as text; the rest of its size is left to figures and settings."""

QUALITY = 92
"""Of JPEG, where pictures are not exact."""

Key = TypeVar("Key")


@dataclass(frozen=True)
class Form:
    """How pictures are kept.

    Attributes:
        exact: PNG, or else JPEG.
        every: which of the steps are kept: every so manyth.
        images: number of images.
        shrink: by which sides are divided.
    """

    exact: bool
    every: int
    images: int
    shrink: int


@dataclass(frozen=True)
class Album(Generic[Key]):
    """Pictures as a page holds them.

    Attributes:
        pictures: {key: data URIs, one per image}, of the keys that are kept.
        form: how.
    """

    pictures: dict[Key, list[str]]
    form: Form

    @classmethod
    def of(cls, sets: Mapping[Key, Tensor], steps: Sequence[Sequence[Key]] = (), budget: int = BUDGET) -> Album[Key]:
        """The best form that fits: first JPEG replaces PNG, then steps are left out, then images, then pixels.

        Args:
            sets: {key: uint8 images (N, C, H, W) or (N, H, W)}.
            steps: keys that may be left out, those of one step together.
            budget: bytes of all pictures.
        """
        count = len(next(iter(sets.values())))
        for form in _forms(count, len(steps)):
            left_out = {key for i, step in enumerate(steps, start=1) if i % form.every for key in step}
            pictures = _encoded({key: s for key, s in sets.items() if key not in left_out}, form, budget)
            if pictures is not None:
                return cls(pictures, form)
        raise AssertionError("pictures of one pixel fit")

    def told(self, images: int, steps: int = 0) -> str:
        """What was left out, in words.

        Args:
            images: that there were.
            steps: that there were.
        """
        form, said = self.form, []
        if form.every > 1:
            kept = steps // form.every
            said.append(f"{kept} of the {steps} times between the stops have pictures, while the curves have all times")
        if form.images < images:
            said.append(f"{form.images} of the {images} images are kept")
        if form.shrink > 1:
            said.append(f"their sides are divided by {form.shrink}")
        how = (
            "exact (PNG)" if form.exact else f"compressed (JPEG, quality {QUALITY}), and so are errors taken from them"
        )
        return f"Pictures are {how}" + (f": to keep the page small, {'; '.join(said)}." if said else ".")


def data_uri(pixels: Tensor, exact: bool = True) -> str:
    """A picture, uint8 (3, H, W), (1, H, W) or (H, W), as PNG or else as JPEG."""
    flat = pixels[0] if pixels.dim() == 3 and len(pixels) == 1 else pixels
    array = (flat if flat.dim() == 2 else flat.permute(1, 2, 0)).contiguous().numpy()
    kind, suffix = ("png", ".png") if exact else ("jpeg", ".jpg")
    return f"data:image/{kind};base64,{base64.b64encode(encode_image(suffix, array, quality=QUALITY)).decode()}"


def values_of(rows: Sequence[Row], names: Sequence[str], digits: int = 6) -> list[dict[str, float]]:
    """The figures of single images, in the order of `names`, short enough for a page."""
    by_name = {row["name"]: row for row in rows}
    short = [{key: v for key, v in by_name.get(name, {}).items() if isinstance(v, float)} for name in names]
    return [{key: float(f"{v:.{digits}g}") for key, v in row.items() if key != "t"} for row in short]


def _forms(images: int, steps: int) -> Iterator[Form]:
    form = Form(True, 1, images, 1)
    yield form
    form = replace(form, exact=False)
    yield form
    while form.every <= steps:
        form = replace(form, every=2 * form.every)
        yield form
    while form.images > 1:
        form = replace(form, images=form.images // 2)
        yield form
    while True:
        form = replace(form, shrink=2 * form.shrink)
        yield form


def _encoded(sets: Mapping[Key, Tensor], form: Form, budget: int) -> dict[Key, list[str]] | None:
    """The pictures, or None once they are larger than the budget."""
    pictures: dict[Key, list[str]] = {}
    left = budget
    for key, images in sets.items():
        pictures[key] = []
        for image in _shrunk(images[: form.images], form.shrink):
            pictures[key].append(data_uri(image, form.exact))
            left -= len(pictures[key][-1])
            if left < 0:
                return None
    return pictures


def _shrunk(images: Tensor, by: int) -> Tensor:
    """uint8 images, (N, C, H, W) or (N, H, W), the mean of by x by pixels; of a narrow one all pixels of a side."""
    if by == 1:
        return images
    grey = images.dim() == 3
    whole = (images.unsqueeze(1) if grey else images).float()
    sides = (max(1, whole.shape[-2] // by), max(1, whole.shape[-1] // by))
    small = torch.nn.functional.adaptive_avg_pool2d(whole, sides).round().byte()
    return small.squeeze(1) if grey else small
