"""A restorer: a process, the denoiser that undoes it, the sampler that walks back, and where to stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from diracdiff.checkpoints import Checkpoint, to_recipe
from diracdiff.checkpoints.recipe import construct
from diracdiff.evaluation.calibration import Calibration
from diracdiff.evaluation.measurement import ROUNDING, Measured, check_hides, check_measurement, measure
from diracdiff.evaluation.results import image_at
from diracdiff.evaluation.stopping import Blend, StoppingPoint, StoppingPoints, no_stopping_points, stopping_point_for
from diracdiff.metrics.metric import Reference, Row
from diracdiff.models import Denoiser
from diracdiff.models.tiled import Tiles
from diracdiff.process import StochasticDegradation
from diracdiff.samplers import OUTPUTS, ImageNoise, NetworkIncrement, ReverseSampler
from diracdiff.utils.errors import UserError
from diracdiff.utils.seeds import image_seed
from diracdiff.utils.validate import check_count, check_images, check_names, check_range


class Restorer:
    """Restores with x_hat(y_t, t).

    Args:
        process: the stochastic degradation process.
        denoiser: predicts x_hat.
        sampler: the walk that validates, and restores unless told otherwise.
        seed: that the noise of evaluation and of walks follows from.
        name: of the task, for tables and folders.
        take: what to take where a target does not say, "mean" (x_hat) or "iterate".

    Attributes:
        stops: where to stop for each target, found by the last validation.
        curve: the last validation's trade-off curve, see `Records.curve`.
        dataset: recipe of the data set that it was trained on, or None where that is not known.
        training: recipes of what it was trained with.
        calibrations: of intervals, see `diracdiff calibrate`.
        tiles: how the network sees large images.
        nfe: network calls per image of the last walk.

    Raises:
        ValueError: if `take` is neither.
    """

    def __init__(
        self,
        process: StochasticDegradation,
        denoiser: Denoiser,
        sampler: ReverseSampler | None = None,
        seed: int = 0,
        name: str = "restoration",
        take: str = "mean",
    ):
        if take not in OUTPUTS:
            raise ValueError(f"take must be one of {OUTPUTS}, got {take!r}")
        self.process, self.denoiser = process, denoiser
        self.sampler = sampler if sampler is not None else ReverseSampler()
        self.seed, self.name, self.take = seed, name, take
        self.stops: StoppingPoints = no_stopping_points()
        self.curve: list[Row] = []
        self.dataset: dict[str, Any] | None = None
        self.training: dict[str, Any] = {}
        self.calibrations: list[Calibration] = []
        self.tiles = Tiles()
        self.nfe = 0

    @property
    def device(self) -> torch.device:
        """Where the denoiser is."""
        return next(self.denoiser.parameters()).device

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that it was made for; it restores any size."""
        return self.process.degradation.image_size

    def to(self, device: torch.device | str) -> Self:
        """Put the denoiser on a device."""
        self.denoiser.to(device)
        return self

    def stop_for(self, target: str) -> StoppingPoint | Blend:
        """Where to stop for a target, by the last validation.

        Args:
            target: "psnr" (t_DO, faithful), "lpips" (t_PO, good-looking) or another, see `evaluation.stop_for`.

        Raises:
            UserError: if the target is unknown or has no stop.
        """
        return stopping_point_for(target, self.stops, self.curve, self.take)

    def measure(self, x: Tensor, names: Sequence[str] | None = None) -> Measured:
        """Degrade clean images in [0, 1], (B, C, H, W), to measurements as the sampler expects them.

        Args:
            x: clean images.
            names: one per image, which its noise follows from; by default its number in the batch.

        Raises:
            UserError: if the images are no batch in [0, 1] with the network's channels, or names do not fit.
        """
        x = self._checked(x, "x")
        check_range(x, "x", ROUNDING)
        return measure(self.process, x, check_names(names, len(x)), self.seed, self.sampler.start)

    def reference(self, clean: Tensor, measurement: Tensor) -> Reference:
        """What restored images are compared with, for measurements of clean images, (B, C, H, W) each."""
        return Reference(clean, measurement, self.process, self.sampler.start, self.sampler.sigma)

    def restore(self, measurement: Tensor, target: str = "psnr", *, names: Sequence[str] | None = None) -> Tensor:
        """Restore degraded images of any size: (B, C, H, W) in [0, 1], float32 and without a gradient.

        Args:
            measurement: y_1, or y at the sampler's start, in [0, 1] up to its noise, of any floating-point precision.
            target: picks the stopping time and the output, see `stop_for`.
            names: a name per image, each once, which its noise follows from; by default its number in the batch.
        """
        return self.samples(measurement, 1, target, names=names)[0]

    def samples(
        self, measurement: Tensor, count: int, target: str = "psnr", *, names: Sequence[str] | None = None
    ) -> Tensor:
        """Restore the same measurements several times: (count, B, C, H, W). The first ones are those of `restore`.

        Their standard deviation is the uncertainty of a pixel.

        Args:
            measurement: see `restore`.
            count: number of samples of each.
            target: see `stop_for`.
            names: see `restore`.

        Raises:
            UserError: if an argument breaks its rule, or the samples would be the same.
        """
        check_count(count, "samples")
        measurement = self._checked(measurement, "measurement", self.device)
        check_measurement(measurement, self.process, self.sampler.start)
        names, stop = check_names(names, len(measurement)), self.stop_for(target)
        if count > 1 and not self.sampler.adds_noise(self.process):
            raise UserError(f"samples={count}: would all be the same without noise. Use sampler.stochasticity=1.")
        named = [names, *([f"{name}/sample{k}" for name in names] for k in range(1, count))]
        return torch.stack([self._walk(measurement, self._noise(each, measurement.device), stop) for each in named])

    def generate(self, names: Sequence[str]) -> Tensor:
        """Draw images from the prior, with noise that follows from their names: (B, C, H, W) in [0, 1].

        The walk starts from y_1 = 1/2 + sigma_1 z, which suits the identity under noise that hides the image.

        Raises:
            UserError: if the noise at t = 1 does not hide the image, or there are no names or equal ones.
        """
        names = check_names(names, len(names))
        noise, size, channels = self._noise(names, self.device), self.image_size, self.denoiser.network.image_channels
        y = torch.full((len(names), channels, size, size), 0.5, device=self.device)
        sigma = self.process.sigma(1.0, y)
        check_hides(sigma.item())
        return self._walk(y + sigma * noise.normal(y.shape[1:]), noise, StoppingPoint(0.0, self.take))

    def _walk(self, measurement: Tensor, noise: ImageNoise, stop: StoppingPoint | Blend) -> Tensor:
        training = self.denoiser.training
        denoiser, sampler = self.tiles.applied(self.denoiser, self.sampler, measurement)
        self.denoiser.eval()
        try:
            states = sampler.states(self.process, denoiser, measurement, noise, stop.t, stop.last_output)
            images, self.nfe = image_at(stop, states)
            return images.clamp(0, 1)
        finally:
            self.denoiser.train(training)

    def _noise(self, names: Sequence[str], device: torch.device) -> ImageNoise:
        return ImageNoise([image_seed(self.seed, name) for name in names], device)

    def _checked(self, images: Tensor, name: str, device: torch.device | None = None) -> Tensor:
        """Images as they are computed with: float32, without a gradient."""
        check_images(images, name, self.denoiser.network.image_channels, device, finite=True)
        return images.detach().float()

    # checkpoints

    def checkpoint(self) -> Checkpoint:
        """All that it is made from again."""
        network = getattr(self.sampler.increment, "denoiser", None)
        carried = network.state_dict() if isinstance(network, nn.Module) else None
        return Checkpoint(
            to_recipe(self),
            self.denoiser.state_dict(),
            {target: stop.plain() if stop is not None else None for target, stop in self.stops.items()},
            self.curve,
            self.dataset,
            self.training,
            carried,
            [calibration.plain() for calibration in self.calibrations],
        )

    def remember(self, checkpoint: Checkpoint) -> None:
        """Take over the entries of a checkpoint other than its recipe and weights.

        Raises:
            UserError: if a stopping time or a calibration is malformed.
        """
        stops = checkpoint.stops.items()
        known = {target: None if plain is None else construct(StoppingPoint, plain) for target, plain in stops}
        self.stops, self.curve = no_stopping_points() | known, checkpoint.curve
        self.dataset, self.training = checkpoint.dataset, checkpoint.training
        self.calibrations = [Calibration.from_plain(plain) for plain in checkpoint.calibrations]

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
        UserError: if the file cannot be used, see `Checkpoint.read`, or its parts do not fit together.
    """
    from diracdiff.checkpoints.registry import build_restorer

    return build_restorer(Checkpoint.read(path), str(path), trusted_modules).to(device)


def network_increment(checkpoint: str | Path) -> NetworkIncrement:
    """The increment that the network of a checkpoint predicts, one that was trained with `task.predict=increment`.

    Raises:
        UserError: if it cannot be read or its network predicts clean images only.
    """
    denoiser = load(checkpoint).denoiser
    if not denoiser.incremental:
        raise UserError(
            f"checkpoint={checkpoint} predicts clean images only: give one that was trained with task.predict=increment"
        )
    return NetworkIncrement(denoiser)
