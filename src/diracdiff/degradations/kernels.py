"""Blur kernels: Gaussians, discs (defocus), lines (motion) and paths (camera shake), random or described by text."""

import math
import re
from collections.abc import Callable

import torch
from torch import Tensor

SIDE = 25
"""Side of random kernels, in pixels."""

GAUSSIAN, DISC, PATH = (0.4, 3.0), (0.7, 4.5), (2.0, 20.0)
"""Ranges of standard deviation, radius and length of random kernels, in pixels."""

REACH = 4.0
"""Half-width of a Gaussian from text, in standard deviations."""

LARGEST = {"gaussian": 50.0, "disc": 200.0, "line": 400.0}
"""Largest standard deviation, radius and length of kernels from text, in pixels."""

WORDS = "gaussian:2.5 (its standard deviation), disc:3 (its radius) or line:12:30 (its length and degrees), in pixels"


def drawn(seed: int) -> Tensor:
    """Return a kernel of random kind and size, (25, 25), float32, that sums to 1."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    kind = uniform(0, 3)
    if kind < 1:
        angle, first, second = uniform(0, math.pi), uniform(*GAUSSIAN), uniform(*GAUSSIAN)
        kernel = _gaussian(SIDE, first, second, angle)
    elif kind < 2:
        kernel = _disc(SIDE, uniform(*DISC))
    else:
        kernel = _camera(uniform(*PATH), generator)
    return kernel / kernel.sum()


def in_words(words: str) -> bool:
    """Return True for a text that begins as the description of a kernel does."""
    return words.partition(":")[0] in LARGEST and ":" in words


def told(words: str) -> Tensor:
    """Return the kernel that a text describes, (h, w) with odd sides, float32, that sums to 1.

    Args:
        words: "gaussian:W", W its standard deviation; "disc:R", R its radius; or "line:L:A", L its length and A its
            angle in degrees, 0 along the rows and growing counterclockwise. All in pixels.

    Raises:
        ValueError: if the text describes no kernel.
    """
    kind, *texts = words.split(":")
    numbers = [float(text) if re.fullmatch(r"-?\d+\.?\d*|-?\.\d+", text) else math.nan for text in texts]
    if kind not in SHAPES or len(numbers) != (2 if kind == "line" else 1) or not all(map(math.isfinite, numbers)):
        raise ValueError(f"a kernel in words is {WORDS}, got {words}")
    if not 0 < numbers[0] <= LARGEST[kind]:
        raise ValueError(f"{kind} must be above 0 and at most {LARGEST[kind]:g} pixels, got {words}")
    kernel = SHAPES[kind](*numbers)
    return kernel / kernel.sum()


def _isotropic(deviation: float) -> Tensor:
    return _gaussian(_odd(REACH * deviation), deviation, deviation, 0.0)


def _filled(radius: float) -> Tensor:
    return _disc(_odd(radius + 0.5), radius)


def _line(length: float, degrees: float) -> Tensor:
    angle = math.radians(degrees)
    place = torch.linspace(-length / 2, length / 2, 2 * math.ceil(4 * length) + 1).unsqueeze(1)
    return _spread(place * torch.tensor([-math.sin(angle), math.cos(angle)]), _odd(length / 2))


SHAPES: dict[str, Callable[..., Tensor]] = {"gaussian": _isotropic, "disc": _filled, "line": _line}


def _odd(reach: float) -> int:
    """Return the side of a kernel of half-width `reach` and a margin of one pixel."""
    return 2 * math.ceil(reach) + 3


def _places(side: int) -> tuple[Tensor, Tensor]:
    """Return rows, (side, 1), and columns, (side,), from the middle."""
    place = torch.arange(side, dtype=torch.float32) - side // 2
    return place.unsqueeze(1), place


def _gaussian(side: int, first: float, second: float, angle: float) -> Tensor:
    rows, columns = _places(side)
    along = rows * math.cos(angle) + columns * math.sin(angle)
    across = columns * math.cos(angle) - rows * math.sin(angle)
    return (-(along**2) / (2 * first**2) - across**2 / (2 * second**2)).exp()


def _disc(side: int, radius: float) -> Tensor:
    rows, columns = _places(side)
    return (radius + 0.5 - (rows**2 + columns**2).sqrt()).clamp(0, 1)


def _camera(length: float, generator: torch.Generator) -> Tensor:
    """Return the path of a shaking camera, weighted by time."""
    steps = max(2, 4 * math.ceil(length))
    turns = 0.25 * torch.randn(steps, generator=generator).cumsum(0) + 2 * math.pi * torch.rand((), generator=generator)
    points = torch.stack([turns.sin(), turns.cos()], 1).cumsum(0) * (length / steps)
    return _spread((points - points.mean(0)).clamp(-(SIDE // 2) + 1, SIDE // 2 - 1), SIDE)


def _spread(points: Tensor, side: int) -> Tensor:
    """Distribute points, (n, 2), rows and columns from the middle, bilinearly over the pixels around them."""
    rows, columns = _places(side)
    shares = (1 - (rows - points[:, 0, None, None]).abs()).clamp(min=0) * (
        1 - (columns - points[:, 1, None, None]).abs()
    ).clamp(min=0)
    return shares.sum(0)
