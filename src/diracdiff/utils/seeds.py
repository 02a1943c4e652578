"""Seeds from names and counters, without global generator state."""

import hashlib

DEGRADATION, ORDER, AUGMENTATION, DROPOUT, MEASUREMENT, OPERATOR = 1, 2, 3, 4, 5, 6
"""Purposes of random numbers; the first counter of `step_seed`."""


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big") >> 1


def image_seed(seed: int, name: str) -> int:
    """Return the 63-bit seed of an image from the seed of the run and the name of the image."""
    return _digest(f"image/{seed}/{name}")


def step_seed(seed: int, *counters: int) -> int:
    """Return the 63-bit seed of an event from the seed of the run and counters, such as (purpose, step, rank)."""
    return _digest("/".join(["step", str(seed), *map(str, counters)]))
