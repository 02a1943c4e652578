"""Measurements that are made once and kept, so that every method restores the same y, bit for bit."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diracdiff.checkpoint import read_weights
from diracdiff.comparison.checks import operator_recipe
from diracdiff.data.datamodule import ImageDataModule
from diracdiff.files import replacing


class Batch(NamedTuple):
    """Some measurements, on a device.

    Attributes:
        x: clean images in [0, 1], (B, C, H, W).
        y: their measurements, (B, C, H, W).
        names: of the images.
        seeds: of the images' noise, which y has drawn the first part of.
    """

    x: Tensor
    y: Tensor
    names: list[str]
    seeds: list[int]


@dataclass(frozen=True)
class Measurements:
    """Clean images and what was measured of them.

    Attributes:
        clean: uint8, (N, C, H, W).
        y: measurements, float32, (N, C, H, W).
        names: of the images, each once.
        seeds: of their noise.
        sigma: standard deviation of the noise in units of the [0, 1] range.
        operator: recipe of the degradation at t = 1.
    """

    clean: Tensor
    y: Tensor
    names: list[str]
    seeds: list[int]
    sigma: float
    operator: dict[str, Any]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def problem(self) -> str:
        """SHA-256, in short, of all that the measurements are made of."""
        described = repr((self.names, self.seeds, self.sigma, self.operator)).encode()
        return hashlib.sha256(described + self.clean.contiguous().numpy().tobytes()).hexdigest()[:16]

    @property
    def digest(self) -> str:
        """SHA-256, in short, of the problem and of y, bit for bit."""
        return hashlib.sha256(self.problem.encode() + self.y.contiguous().numpy().tobytes()).hexdigest()[:16]

    def batches(self, size: int, device: str = "cpu") -> Iterator[Batch]:
        """The measurements in order, `size` at a time; each batch is a copy."""
        for i in range(0, len(self), size):
            part = slice(i, i + size)
            x = self.clean[part].to(device).float() / 255
            yield Batch(x, self.y[part].to(device, copy=True), self.names[part], self.seeds[part])

    def save(self, path: Path) -> None:
        """Write them to a file."""
        with replacing(path) as file:
            torch.save(vars(self), file)

    @classmethod
    def load(cls, path: Path) -> "Measurements":
        """Read what `save` wrote."""
        return cls(**read_weights(path, "measurements that diracdiff.compare wrote"))


def measure(data: ImageDataModule, split: str) -> Measurements:
    """Measure the images of a split, val or test, as validation and `diracdiff.evaluate` do."""
    loader = {"val": data.val_dataloader, "test": data.test_dataloader}[split]()
    batches = [data.on_after_batch_transfer(batch, 0) for batch in loader]
    return Measurements(
        torch.cat([batch["x"] for batch in batches]).mul(255).round().byte(),
        torch.cat([batch["y"] for batch in batches]),
        [str(name) for batch in batches for name in batch["name"]],
        [seed for batch in batches for seed in batch["seed"]],
        data.process.noise(torch.tensor(1.0, dtype=torch.float64)).item(),
        operator_recipe(data.process.degradation),
    )
