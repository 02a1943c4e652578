"""Seeds that follow from names and counters, never from hidden generator state."""

import hashlib

# What an event draws for: the first counter of `step_seed`. A new purpose takes a new number.
DEGRADATION, ORDER, AUGMENTATION, DROPOUT, MEASUREMENT, OPERATOR = 1, 2, 3, 4, 5, 6


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big") >> 1


def image_seed(seed: int, name: str) -> int:
    """Seed of one image in evaluation: depends on the run's seed and the image's name only (63 bits)."""
    return _digest(f"image/{seed}/{name}")


def step_seed(seed: int, *counters: int) -> int:
    """Seed of one event of a run, numbered by counters: (purpose, step, rank) for example (63 bits)."""
    return _digest("/".join(["step", str(seed), *map(str, counters)]))
