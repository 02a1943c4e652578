"""Measurements, saved so that all methods restore exactly the same y."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diracdiff.checkpoints.weights import read_weights, write_weights
from diracdiff.comparison.checks import operator_recipe
from diracdiff.evaluation.measurement import measure
from diracdiff.process import StochasticDegradation
from diracdiff.utils.pixels import from_pixels, to_pixels
from diracdiff.utils.seeds import image_seed


class Batch(NamedTuple):
    """Batch of measurements on a device.

    Attributes:
        x: clean images, (B, C, H, W) in [0, 1].
        y: measurements, (B, C, H, W).
        names: names of the images.
        seeds: seeds of the noise.
        sample: index of the sample, if a method draws several samples per measurement.
    """

    x: Tensor
    y: Tensor
    names: list[str]
    seeds: list[int]
    sample: int = 0

    def sample_seeds(self, seeds: list[int]) -> list[int]:
        """Return the seeds of this sample. `seeds` are the seeds of the first sample."""
        return [image_seed(seed, f"sample{self.sample}") for seed in seeds] if self.sample else seeds


@dataclass(frozen=True)
class Measurements:
    """Clean images and their measurements.

    Attributes:
        clean: clean images, uint8 (N, C, H, W).
        y: measurements, float32 (N, C, H, W).
        names: unique names of the images.
        seeds: seeds of the noise.
        sigma: standard deviation of the noise, in units of the [0, 1] range.
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
        """First 16 hexadecimal digits of the SHA-256 of images, names, seeds, noise level and operator."""
        described = repr((self.names, self.seeds, self.sigma, self.operator)).encode()
        return hashlib.sha256(described + self.clean.contiguous().numpy().tobytes()).hexdigest()[:16]

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of `problem` and `y`."""
        return hashlib.sha256(self.problem.encode() + self.y.contiguous().numpy().tobytes()).hexdigest()[:16]

    def batches(self, size: int, device: str = "cpu") -> Iterator[Batch]:
        """Yield batches of `size` copied measurements in order."""
        for i in range(0, len(self), size):
            part = slice(i, i + size)
            x = from_pixels(self.clean[part].to(device))
            yield Batch(x, self.y[part].to(device, copy=True), self.names[part], self.seeds[part])


def load_or_measure(
    path: Path, batches: Iterable[dict[str, Any]], process: StochasticDegradation, seed: int
) -> Measurements:
    """Load measurements from a file. If the file does not exist, measure clean images and write the file.

    Args:
        path: the file.
        batches: batches of clean images, {"x", "name"}. They are measured at t = 1 as in `diracdiff evaluate`.
        process: degradation process.
        seed: seed of the run.

    Raises:
        ValueError: if the file is damaged, has other content, or belongs to another problem.
    """
    clean, y, names, seeds = [], [], [], []
    for batch in batches:
        batch_names = [str(name) for name in batch["name"]]
        new = [i for i, name in enumerate(batch_names) if name not in names]  # the others replace unreadable images
        if not new:
            continue
        x, batch_names = batch["x"][new], [batch_names[i] for i in new]
        measured = measure(process, x, batch_names, seed)
        clean.append(to_pixels(x))
        y.append(measured.y)
        names += batch_names
        seeds += measured.seeds
    recipe = operator_recipe(process.degradation)
    computed = Measurements(torch.cat(clean), torch.cat(y), names, seeds, process.sigma_y, recipe)
    if not path.exists():
        write_weights(path, vars(computed))
        return computed
    content = read_weights(path, "measurements that diracdiff compare wrote")
    if not isinstance(content, dict) or set(content) != set(vars(computed)):
        raise ValueError(f"{path}: must hold measurements that diracdiff compare wrote. Move it away.")
    if (saved := Measurements(**content)).problem != computed.problem:
        raise ValueError(
            f"{path}: holds measurements of other images, another seed, degradation or noise. Give another output."
        )
    return saved
