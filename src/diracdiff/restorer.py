"""A restorer: a degradation process, the denoiser, the sampler of the reverse process, and its stopping times."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from diracdiff.checkpoints import Checkpoint, to_recipe
from diracdiff.checkpoints.recipe import construct
from diracdiff.checkpoints.registry import CLASSES, from_recipe
from diracdiff.checkpoints.weights import load_weights
from diracdiff.evaluation.measurement import ROUNDING, Measured, check_measurement, measure
from diracdiff.evaluation.results import image_at
from diracdiff.evaluation.stopping import TARGETS, StoppingPoint, StoppingPoints, stopping_point_for
from diracdiff.evaluation.uncertainty import Interval
from diracdiff.metrics.metric import Reference, Row
from diracdiff.models import Denoiser, OperatorPreconditioning
from diracdiff.models.tiled import Tiles
from diracdiff.process import StochasticDegradation
from diracdiff.samplers import OUTPUTS, ImageNoise, NetworkIncrement, ReverseSampler
from diracdiff.utils.seeds import image_seed
from diracdiff.utils.validate import check_count, check_images, check_names, check_option, check_range

MIN_SIGMA_TO_GENERATE = 2.5
"""Ten standard deviations of a pixel: a measurement with more noise contains almost nothing of its image."""


class Samples(NamedTuple):
    """Sampled restorations.

    Attributes:
        images: (count, B, C, H, W) in [0, 1].
        nfe: number of function evaluations (network calls) of one sample of an image.
    """

    images: Tensor
    nfe: int


class Restorer:
    """Restores images with x_hat(y_t, t).

    Args:
        process: the stochastic degradation process.
        denoiser: predicts x_hat.
        sampler: the sampler of validation and restoration.
        seed: seed of the noise of evaluation and sampling.
        name: of the task, for tables and folders.
        output_type: output of targets that do not specify one, "x_hat" or "iterate".

    Attributes:
        stopping_points: the stopping time of each target, found by the last validation.
        curve: the last validation's trade-off curve, see `Records.curve`.
        dataset: recipe of the data set that it was trained on, or None where unknown.
        training: recipes of loss and optimiser, and other settings of the training run.
        calibrations: calibrated intervals, see `diracdiff calibrate`.
        tiles: tiling of large images.

    Raises:
        ValueError: if `output_type` is neither output, or the preconditioning does not suit the process.
    """

    def __init__(
        self,
        process: StochasticDegradation,
        denoiser: Denoiser,
        sampler: ReverseSampler | None = None,
        seed: int = 0,
        name: str = "restoration",
        output_type: str = "x_hat",
    ):
        check_option(OUTPUTS, output_type=output_type)
        if isinstance(denoiser.preconditioning, OperatorPreconditioning):
            denoiser.preconditioning.check(process)
        self.process, self.denoiser = process, denoiser
        self.sampler = sampler if sampler is not None else ReverseSampler()
        self.seed, self.name, self.output_type = seed, name, output_type
        self.stopping_points: StoppingPoints = dict.fromkeys(TARGETS)
        self.curve: list[Row] = []
        self.dataset: dict[str, Any] | None = None
        self.training: dict[str, Any] = {}
        self.calibrations: list[Interval] = []
        self.tiles = Tiles()

    @property
    def device(self) -> torch.device:
        """Device of the denoiser."""
        return next(self.denoiser.parameters()).device

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that it was made for; it restores any size."""
        return self.process.degradation.image_size

    def to(self, device: torch.device | str) -> Self:
        """Move the denoiser to a device."""
        self.denoiser.to(device)
        return self

    def replace(self, **changes: Any) -> Self:
        """Return a restorer with other attributes, such as `sampler=`, that shares the rest, weights included.

        Raises:
            TypeError: if it has no such attribute.
        """
        if unknown := changes.keys() - vars(self):
            raise TypeError(f"a restorer has no attribute {min(unknown)!r}")
        changed = copy.copy(self)
        vars(changed).update(changes)
        return changed

    def bind(self, params: Tensor | None) -> Self:
        """Return this restorer with the parameters of per-image operators, see `StochasticDegradation.bind`."""
        return self.replace(process=self.process.bind(params))

    def bind_images(self, names: Sequence[str], like: Tensor) -> Self:
        """Return this restorer with operators that follow from the names of images like `like`, (B, C, H, W)."""
        seeds = [image_seed(self.seed, name) for name in names]
        return self.replace(process=self.process.bind_images(seeds, like))

    def stopping_point_for(self, target: str) -> StoppingPoint:
        """Return the stopping time of a target, by the last validation.

        Args:
            target: "psnr" (distortion-optimised), "lpips" (perception-optimised) or another, see
                `evaluation.stopping_point_for`.

        Raises:
            ValueError: if the target is unknown or has no stopping time.
        """
        return stopping_point_for(target, self.stopping_points, self.curve, self.output_type)

    def measure(self, x: Tensor, names: Sequence[str] | None = None) -> Measured:
        """Degrade clean images in [0, 1], (B, C, H, W), to measurements as the sampler expects them.

        Args:
            x: clean images.
            names: one per image, from which its noise and operator follow; by default its number in the batch.

        Raises:
            ValueError: if the images are no batch in [0, 1] with the network's channels, or names do not fit.
        """
        x = self._checked(x, "x")
        check_range(x, "x", ROUNDING)
        return measure(self.process, x, check_names(names, len(x)), self.seed, self.sampler.t_start)

    def reference(self, clean: Tensor, measurement: Tensor) -> Reference:
        """Return the reference of metrics for measurements of clean images, (B, C, H, W) each."""
        return Reference(clean, measurement, self.process, self.sampler.t_start, self.sampler.sigma)

    def restore(self, measurement: Tensor, target: str = "psnr", *, names: Sequence[str] | None = None) -> Tensor:
        """Restore degraded images of any size: (B, C, H, W) in [0, 1], float32 and without a gradient.

        Args:
            measurement: y_1, or y at the sampler's start, in [0, 1] up to its noise, of any floating-point precision.
            target: determines the stopping time and the output, see `stopping_point_for`.
            names: a name per image, each once, from which its noise follows; by default its number in the batch.
        """
        return self.sample(measurement, 1, target, names=names).images[0]

    def sample(
        self, measurement: Tensor, count: int, target: str = "psnr", *, names: Sequence[str] | None = None
    ) -> Samples:
        """Restore the same measurements several times; the first samples are those of `restore`.

        The standard deviation of samples is the uncertainty of a pixel.

        Args:
            measurement: see `restore`.
            count: number of samples of each image.
            target: see `stopping_point_for`.
            names: see `restore`.

        Raises:
            ValueError: if an argument breaks its rule, or the samples would be the same.
        """
        check_count(count, "samples")
        measurement = self._checked(measurement, "measurement", self.device)
        check_measurement(measurement, self.process, self.sampler.t_start)
        names, stop = check_names(names, len(measurement)), self.stopping_point_for(target)
        if count > 1 and not self.sampler.is_stochastic(self.process):
            raise ValueError(f"samples={count}: would all be the same without noise. Use sampler.eta=1.")
        named = [names, *([f"{name}/sample{k}" for name in names] for k in range(1, count))]
        noises = (self._noise(each, measurement.device) for each in named)
        images, nfe = zip(*(self._reverse(measurement, noise, stop) for noise in noises), strict=True)
        return Samples(torch.stack(images), nfe[0])

    def generate(self, names: Sequence[str]) -> Tensor:
        """Draw images from the prior, with noise that follows from their names: (B, C, H, W) in [0, 1].

        Sampling starts from y_1 = 1/2 + sigma_1 z, which suits the identity under noise that hides the image.

        Raises:
            ValueError: if the noise at t = 1 does not hide the image, or there are no names or equal ones.
        """
        names = check_names(names, len(names))
        noise, size, channels = self._noise(names, self.device), self.image_size, self.denoiser.network.image_channels
        y = torch.full((len(names), channels, size, size), 0.5, device=self.device)
        sigma = self.process.sigma(1.0, y)
        if sigma < MIN_SIGMA_TO_GENERATE:
            raise ValueError(
                f"images can be generated where noise hides them, sigma_1 of at least {MIN_SIGMA_TO_GENERATE} in "
                f"units of the [0, 1] range, got {sigma.item():.3g}: train with task=denoise"
            )
        return self._reverse(y + sigma * noise.normal(y.shape[1:]), noise, StoppingPoint(0.0, self.output_type))[0]

    def _reverse(self, measurement: Tensor, noise: ImageNoise, stop: StoppingPoint) -> tuple[Tensor, int]:
        training = self.denoiser.training
        denoiser, sampler = self.tiles.apply_to(self.denoiser.eval(), self.sampler, measurement)
        try:
            states = sampler.states(self.process, denoiser, measurement, noise, stop.t, stop.output)
            images, nfe = image_at(stop, states)
            return images.clamp(0, 1), nfe
        finally:
            self.denoiser.train(training)

    def _noise(self, names: Sequence[str], device: torch.device) -> ImageNoise:
        return ImageNoise([image_seed(self.seed, name) for name in names], device)

    def _checked(self, images: Tensor, name: str, device: torch.device | None = None) -> Tensor:
        """Return checked images in float32, without a gradient."""
        check_images(images, name, self.denoiser.network.image_channels, device, finite=True)
        return images.detach().float()

    # checkpoints

    def checkpoint(self) -> Checkpoint:
        """Return the content of its checkpoint."""
        network = getattr(self.sampler.increment, "denoiser", None)
        carried = network.state_dict() if isinstance(network, nn.Module) else None
        return Checkpoint(
            to_recipe(self),
            self.denoiser.state_dict(),
            {target: asdict(stop) if stop else None for target, stop in self.stopping_points.items()},
            self.curve,
            self.dataset,
            self.training,
            carried,
            [asdict(interval) for interval in self.calibrations],
        )

    @classmethod
    def from_recipe(cls, recipe: Any, trusted_modules: Iterable[str] = ()) -> Restorer:
        """Build the restorer of a recipe without its weights, see `diracdiff.checkpoints.registry.from_recipe`.

        Raises:
            ValueError: if it describes another object, or a part is refused.
        """
        restorer = from_recipe(recipe, trusted_modules, {**CLASSES, "restorer": (cls,)})
        if not isinstance(restorer, cls):
            raise ValueError("it does not describe a restorer, give one that diracdiff train wrote")
        return restorer

    def load_metadata(self, checkpoint: Checkpoint) -> None:
        """Take over the entries of a checkpoint other than its recipe and weights.

        Raises:
            ValueError: if a stopping time or a calibration is malformed.
        """
        known = {
            target: None if plain is None else construct(StoppingPoint, plain)
            for target, plain in checkpoint.stopping_points.items()
        }
        self.stopping_points, self.curve = dict.fromkeys(TARGETS) | known, checkpoint.curve
        self.dataset, self.training = checkpoint.dataset, checkpoint.training
        self.calibrations = [construct(Interval, plain) for plain in checkpoint.calibrations]

    def save(self, path: str | Path) -> None:
        """Write a checkpoint that `load` reads."""
        self.checkpoint().write(path)


def load(path: str | Path, device: str | torch.device = "cpu", trusted_modules: Iterable[str] = ()) -> Restorer:
    """Load a restorer from a checkpoint alone: no code in it runs and no other file is opened.

    Args:
        path: of the checkpoint.
        device: of the restorer.
        trusted_modules: modules outside this package whose classes it may use, see `diracdiff.checkpoints.registry`.

    Raises:
        ValueError: if the file cannot be used, see `Checkpoint.read`, or its parts do not fit together.
    """
    checkpoint = Checkpoint.read(path)
    try:
        restorer = Restorer.from_recipe(checkpoint.recipe, trusted_modules)
        restorer.load_metadata(checkpoint)
    except ValueError as error:
        raise ValueError(f"checkpoint={path}: {' '.join(str(error).split())[:400]}") from error
    load_weights(restorer.denoiser, checkpoint.weights, str(path))
    if isinstance(network := getattr(restorer.sampler.increment, "denoiser", None), Denoiser):
        load_weights(network, checkpoint.increment or {}, str(path))
    return restorer.to(device)


def network_increment(checkpoint: str | Path) -> NetworkIncrement:
    """Return the increment that a checkpoint's network predicts; it was trained with `task.predict=increment`.

    Raises:
        ValueError: if it cannot be read or its network predicts clean images only.
    """
    denoiser = load(checkpoint).denoiser
    if not denoiser.incremental:
        raise ValueError(f"checkpoint={checkpoint}: predicts clean images. Give one of task.predict=increment.")
    return NetworkIncrement(denoiser)
