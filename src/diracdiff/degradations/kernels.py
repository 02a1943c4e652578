"""Blur kernels, random or parsed from text: Gaussians, discs (defocus), lines (motion) and paths (camera shake)."""

import math
import re

import torch
from torch import Tensor

SIDE = 25
"""Side of random kernels, in pixels."""

GAUSSIAN, DISC, PATH = (0.4, 3.0), (0.7, 4.5), (2.0, 20.0)
"""Ranges of the standard deviation, the radius and the path length of random kernels, in pixels."""

MAX_SIZE = {"gaussian": 50.0, "disc": 200.0, "line": 400.0}
"""Largest standard deviation, radius and length of parsed kernels, in pixels."""

NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)")
FORMATS = "gaussian:STD, disc:RADIUS or line:LENGTH:DEGREES, in pixels"


def random_kernel(seed: int) -> Tensor:
    """Return a random Gaussian, disc or camera path.

    Args:
        seed: seed of kind and size.

    Returns:
        A kernel, (25, 25), float32, with sum 1.
    """
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
        kernel = _camera_path(uniform(*PATH), generator)
    return kernel / kernel.sum()


def parse_kernel(text: str) -> Tensor:
    """Parse a kernel.

    Args:
        text: "gaussian:STD", "disc:RADIUS" or "line:LENGTH:DEGREES", with lengths in pixels. Angles are
            counter-clockwise from the horizontal.

    Returns:
        The kernel, (h, w) with odd sides, float32, with sum 1.

    Raises:
        ValueError: if the text has another format, or a length is out of range.
    """
    kind, *numbers = text.split(":")
    if kind not in MAX_SIZE or len(numbers) != 1 + (kind == "line") or not all(map(NUMBER.fullmatch, numbers)):
        raise ValueError(f"kernel={text}: must be {FORMATS}, or an existing file or folder.")
    size, *angle = map(float, numbers)
    if not 0 < size <= MAX_SIZE[kind]:
        raise ValueError(f"kernel={text}: must be above 0 and at most {MAX_SIZE[kind]:g} pixels.")
    if kind == "gaussian":
        kernel = _gaussian(_odd(4.0 * size), size, size, 0.0)
    elif kind == "disc":
        kernel = _disc(_odd(size + 0.5), size)
    else:
        radians = math.radians(angle[0])
        position = torch.linspace(-size / 2, size / 2, 2 * math.ceil(4 * size) + 1).unsqueeze(1)
        kernel = _splat(position * torch.tensor([-math.sin(radians), math.cos(radians)]), _odd(size / 2))
    return kernel / kernel.sum()


def _odd(reach: float) -> int:
    """Return the odd side of a kernel with half-width `reach` and a margin of one pixel."""
    return 2 * math.ceil(reach) + 3


def _grid(side: int) -> tuple[Tensor, Tensor]:
    """Return the row offsets, (side, 1), and column offsets, (side,), from the centre."""
    position = torch.arange(side, dtype=torch.float32) - side // 2
    return position.unsqueeze(1), position


def _gaussian(side: int, first: float, second: float, angle: float) -> Tensor:
    rows, columns = _grid(side)
    along = rows * math.cos(angle) + columns * math.sin(angle)
    across = columns * math.cos(angle) - rows * math.sin(angle)
    return (-(along**2) / (2 * first**2) - across**2 / (2 * second**2)).exp()


def _disc(side: int, radius: float) -> Tensor:
    rows, columns = _grid(side)
    return (radius + 0.5 - (rows**2 + columns**2).sqrt()).clamp(0, 1)


def _camera_path(length: float, generator: torch.Generator) -> Tensor:
    """Return the path of a shaking camera. The weight of a pixel is proportional to the time spent in it."""
    steps = max(2, 4 * math.ceil(length))
    angle = 0.25 * torch.randn(steps, generator=generator).cumsum(0) + 2 * math.pi * torch.rand((), generator=generator)
    points = torch.stack([angle.sin(), angle.cos()], 1).cumsum(0) * (length / steps)
    return _splat((points - points.mean(0)).clamp(-(SIDE // 2) + 1, SIDE // 2 - 1), SIDE)


def _splat(points: Tensor, side: int) -> Tensor:
    """Distribute points, (n, 2), given as offsets from the centre, bilinearly over the neighbouring pixels."""
    axes = zip(_grid(side), points.unbind(1), strict=True)
    rows, columns = ((1 - (axis - point[:, None, None]).abs()).clamp(min=0) for axis, point in axes)
    return (rows * columns).sum(0)
