"""Seeds that follow from names and counters, never from hidden generator state."""

import hashlib

DEGRADATION, ORDER, AUGMENTATION, DROPOUT, MEASUREMENT, OPERATOR = 1, 2, 3, 4, 5, 6
"""Purposes of random numbers: the first counter of `step_seed`."""


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big") >> 1


def image_seed(seed: int, name: str) -> int:
    """Return the seed of one image in evaluation, 63 bits that follow from the run's seed and the image's name only."""
    return _digest(f"image/{seed}/{name}")


def step_seed(seed: int, *counters: int) -> int:
    """Return the seed of one event of a run, 63 bits that follow from counters, for example (purpose, step, rank)."""
    return _digest("/".join(["step", str(seed), *map(str, counters)]))
