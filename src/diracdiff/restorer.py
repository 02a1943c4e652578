"""Restorer: degradation process, denoiser, sampler of the reverse process, and stopping times."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from diracdiff.checkpoints import Checkpoint, to_recipe
from diracdiff.checkpoints.hub import upload_folder
from diracdiff.checkpoints.locations import BUILTIN, CARD, HUB, resolve_path
from diracdiff.checkpoints.recipe import construct
from diracdiff.checkpoints.registry import CLASSES, from_recipe
from diracdiff.checkpoints.weights import load_weights
from diracdiff.evaluation.measurement import ROUNDING, MeasuredBatch, check_measurement, measure
from diracdiff.evaluation.results import images_at
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
"""Smallest sigma_1 for samples of the prior, ten standard deviations of a pixel. It hides the image almost entirely."""


class Samples(NamedTuple):
    """Samples of restored images.

    Attributes:
        images: restored images in [0, 1], (count, B, C, H, W).
        nfe: number of function evaluations (network calls) for one sample of an image.
    """

    images: Tensor
    nfe: int


class Restorer:
    """Restoration of degraded images by the reverse process.

    Args:
        process: stochastic degradation process.
        denoiser: denoiser x_hat(y_t, t).
        sampler: sampler of the reverse process. None: `ReverseSampler` with its defaults.
        seed: seed of the noise of evaluation and sampling.
        name: name of the task in tables and folders.
        output_type: output of targets that do not specify one, "x_hat" or "iterate".

    Attributes:
        stopping_points: stopping point of each target, found by the last validation.
        curve: trade-off curve of the last validation, see `Records.curve`.
        dataset: recipe of the training data set, or None.
        training: recipes of loss and optimiser, and other settings of the training run.
        calibrations: calibrated intervals, see `diracdiff calibrate`.
        tiles: tiling of large images.

    Raises:
        ValueError: if `output_type` is unknown, or the preconditioning does not suit the process.
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
        """Side of the training images in pixels. Images of any size can be restored."""
        return self.process.degradation.image_size

    def to(self, device: torch.device | str) -> Self:
        """Move the denoiser to a device."""
        self.denoiser.to(device)
        return self

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some attributes changed, such as `sampler`. The copy shares all other attributes.

        Raises:
            TypeError: if an attribute is unknown.
        """
        if unknown := changes.keys() - vars(self):
            raise TypeError(f"a restorer has no attribute {min(unknown)!r}")
        restorer = copy.copy(self)
        vars(restorer).update(changes)
        return restorer

    def bind(self, params: Tensor | None) -> Self:
        """Return a copy with per-image parameters of the operators, see `StochasticDegradation.bind`."""
        return self.replace(process=self.process.bind(params))

    def bind_images(self, names: Sequence[str], like: Tensor) -> Self:
        """Return a copy with random operators that are determined by the names of the images.

        Args:
            names: one name per image.
            like: images, (B, C, H, W), that define size, precision and device.
        """
        seeds = [image_seed(self.seed, name) for name in names]
        return self.replace(process=self.process.bind_images(seeds, like))

    def stopping_point_for(self, target: str) -> StoppingPoint:
        """Return the stopping point of a target, found by the last validation.

        Args:
            target: "psnr" (distortion-optimised), "lpips" (perception-optimised) or another target of
                `evaluation.stopping.stopping_point_for`.

        Raises:
            ValueError: if the target is unknown or has no stopping point.
        """
        return stopping_point_for(target, self.stopping_points, self.curve, self.output_type)

    def measure(self, x: Tensor, names: Sequence[str] | None = None) -> MeasuredBatch:
        """Simulate measurements of clean images at the start time of the sampler, with its noise level.

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            names: one name per image, which determines its noise and operator. None: its index in the batch.

        Raises:
            ValueError: if the images are outside [0, 1] or have other channels than the network, or if the names are
                not unique.
        """
        x = self._validated(x, "x")
        check_range(x, "x", ROUNDING)
        names = check_names(names, len(x))
        return measure(self.process, x, names, self.seed, self.sampler.t_start, self.sampler.sigma)

    def reference(self, clean: Tensor, measurement: Tensor) -> Reference:
        """Return the reference of metrics.

        Args:
            clean: clean images in [0, 1], (B, C, H, W).
            measurement: measurements of the clean images, like `clean`.
        """
        return Reference(clean, measurement, self.process, self.sampler.t_start, self.sampler.sigma)

    def restore(self, measurement: Tensor, target: str = "psnr", *, names: Sequence[str] | None = None) -> Tensor:
        """Restore degraded images of any size.

        Args:
            measurement: measurements at the start time of the sampler, (B, C, H, W), in [0, 1] up to noise. Any
                floating-point precision.
            target: target that determines stopping time and output, see `stopping_point_for`.
            names: one unique name per image, which determines its noise. None: its index in the batch.

        Returns:
            Restored images in [0, 1], (B, C, H, W), float32, without gradient.

        Raises:
            ValueError: if an argument breaks its rule.
        """
        return self.sample(measurement, 1, target, names=names).images[0]

    def sample(
        self, measurement: Tensor, count: int, target: str = "psnr", *, names: Sequence[str] | None = None
    ) -> Samples:
        """Restore each measurement several times. The first sample is the result of `restore`.

        The standard deviation of the samples is the uncertainty of a pixel. The noise of the sampler is independent of
        that of `measure` for equal names.

        Args:
            measurement: measurements, see `restore`.
            count: number of samples of each image, at least 1.
            target: target, see `stopping_point_for`.
            names: names, see `restore`.

        Raises:
            ValueError: if an argument breaks its rule, or the samples would be equal.
        """
        check_count(count, "samples")
        measurement = self._validated(measurement, "measurement", self.device)
        check_measurement(measurement, self.process, self.sampler.t_start)
        names, stopping_point = check_names(names, len(measurement)), self.stopping_point_for(target)
        if count > 1 and not self.sampler.is_stochastic(self.process, stopping_point.t):
            remedy = "Use sampler.eta=1" if self.sampler.eta == 0 else "Use a later stopping time, such as target=t:0"
            raise ValueError(f"samples={count}: would all be the same without noise up to the stopping time. {remedy}.")
        sample_names = [names, *([f"{name}/sample{k}" for name in names] for k in range(1, count))]
        noises = (self.sampling_noise(each, measurement) for each in sample_names)
        images, nfe = zip(*(self._run(measurement, noise, stopping_point) for noise in noises), strict=True)
        return Samples(torch.stack(images), nfe[0])

    def generate(self, names: Sequence[str]) -> Tensor:
        """Sample images from the prior, starting from y_1 = 1/2 + sigma_1 z.

        Args:
            names: one unique name per image, which determines its noise.

        Returns:
            Images in [0, 1], (B, C, H, W).

        Raises:
            ValueError: if sigma_1 is too small to hide the image, or the names are not unique.
        """
        names = check_names(names, len(names))
        noise, size, channels = self._noise(names, self.device), self.image_size, self.denoiser.network.image_channels
        y = torch.full((len(names), channels, size, size), 0.5, device=self.device)
        sigma = self.process.sigma(1.0, y)
        if sigma < MIN_SIGMA_TO_GENERATE:
            rule = f"must be at least {MIN_SIGMA_TO_GENERATE} at t = 1 to sample images, got {sigma.item():.3g}"
            raise ValueError(f"sigma: {rule}. Use a model of task=denoise.")
        return self._run(y + sigma * noise.normal(y.shape[1:]), noise, StoppingPoint(0.0, self.output_type))[0]

    def _run(self, measurement: Tensor, noise: ImageNoise, stopping_point: StoppingPoint) -> tuple[Tensor, int]:
        """Return restored images, clipped to [0, 1], and the NFE."""
        training = self.denoiser.training
        denoiser, sampler = self.tiles.apply_to(self.denoiser.eval(), self.sampler, measurement)
        try:
            states = sampler.states(self.process, denoiser, measurement, noise, stopping_point.t, stopping_point.output)
            images, nfe = images_at(stopping_point, states)
            return images.clamp(0, 1), nfe
        finally:
            self.denoiser.train(training)

    def sampling_noise(self, names: Sequence[str], measurement: Tensor) -> ImageNoise:
        """Return the noise of the sampler. It continues the noise that `measure` draws for equal names.

        Args:
            names: one name per image.
            measurement: measurements, (B, C, H, W).
        """
        noise = self._noise(names, measurement.device)
        noise.normal(measurement.shape[1:])
        return noise

    def _noise(self, names: Sequence[str], device: torch.device) -> ImageNoise:
        return ImageNoise([image_seed(self.seed, name) for name in names], device)

    def _validated(self, images: Tensor, name: str, device: torch.device | None = None) -> Tensor:
        """Check images, and return them in float32 without gradient."""
        check_images(images, name, self.denoiser.network.image_channels, device, finite=True)
        return images.detach().float()

    def checkpoint(self) -> Checkpoint:
        """Return a checkpoint with recipe, weights, stopping points and the other attributes of this restorer."""
        network = getattr(self.sampler.increment, "denoiser", None)
        increment_weights = network.state_dict() if isinstance(network, nn.Module) else None
        return Checkpoint(
            to_recipe(self),
            self.denoiser.state_dict(),
            {target: asdict(point) if point else None for target, point in self.stopping_points.items()},
            self.curve,
            self.dataset,
            self.training,
            increment_weights,
            [asdict(interval) for interval in self.calibrations],
        )

    @classmethod
    def from_recipe(cls, recipe: Any, trusted_modules: Iterable[str] = ()) -> Restorer:
        """Build a restorer without weights from a recipe, see `diracdiff.checkpoints.registry.from_recipe`.

        Args:
            recipe: recipe of a checkpoint.
            trusted_modules: modules outside this package from which classes are allowed.

        Raises:
            ValueError: if the recipe does not describe a restorer, or a class or an argument is not allowed.
        """
        restorer = from_recipe(recipe, trusted_modules, {**CLASSES, "restorer": (cls,)})
        if not isinstance(restorer, cls):
            raise ValueError("recipe: must describe a restorer. Use a checkpoint of diracdiff train.")
        return restorer

    def load_metadata(self, checkpoint: Checkpoint) -> None:
        """Set all attributes of a checkpoint except recipe and weights.

        Args:
            checkpoint: checkpoint.

        Raises:
            ValueError: if a stopping point or a calibration is malformed.
        """
        stopping_points = {
            target: None if entry is None else construct(StoppingPoint, entry)
            for target, entry in checkpoint.stopping_points.items()
        }
        self.stopping_points, self.curve = dict.fromkeys(TARGETS) | stopping_points, checkpoint.curve
        self.dataset, self.training = checkpoint.dataset, checkpoint.training
        self.calibrations = [construct(Interval, entry) for entry in checkpoint.calibrations]

    def save(self, path: str | Path) -> None:
        """Write a checkpoint for `load`.

        Args:
            path: file of the checkpoint.
        """
        self.checkpoint().write(path)

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        repo_id: str = "OWNER/NAME",
        half: bool = False,
        license: str | None = None,
        about: str = "",
    ) -> None:
        """Write an exported model: model.safetensors, config.json and the model card README.md.

        As with `huggingface_hub.PyTorchModelHubMixin`, existing weights and configurations are replaced, and an
        existing model card is kept. The files contain the recipe of the training data set with its path.

        Args:
            save_directory: output folder.
            repo_id: name of the repository in the model card.
            half: store weights in float16; they are read as float32.
            license: identifier of a license on the Hub. None: unknown.
            about: Markdown to append to the model card.

        Raises:
            ValueError: if a file cannot be written, or a weight exceeds the range of float16.
        """
        from diracdiff.checkpoints.exported import model_card, write_exported

        folder, checkpoint = Path(save_directory).expanduser(), self.checkpoint()
        card = model_card(checkpoint, HUB + repo_id, license, about)
        if (existing := folder / CARD).is_file():
            card = existing.read_text(errors="replace")
        write_exported(checkpoint, folder, card, half, if_exists="overwrite")

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload model",
        private: bool | None = None,
        token: str | bool | None = None,
        half: bool = False,
        license: str | None = None,
        about: str = "",
    ) -> str:
        """Upload the exported model to the Hugging Face Hub, see `save_pretrained`. Needs `huggingface_hub`.

        Args:
            repo_id: name of the repository, `owner/name`, which is created if it is missing.
            commit_message: title of the commit.
            private: visibility of a new repository. None: the default of the owner.
            token: access token. None: that of `hf auth login`.
            half: see `save_pretrained`.
            license: see `save_pretrained`.
            about: see `save_pretrained`.

        Returns:
            URL of the commit.

        Raises:
            ValueError: if `huggingface_hub` is not installed, or the upload fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, repo_id=repo_id, half=half, license=license, about=about)
            return upload_folder(Path(folder), repo_id, commit_message, private, token)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        device: str | torch.device = "cpu",
        trusted_modules: Iterable[str] = (),
    ) -> Restorer:
        """Load a restorer from an exported model. A model on the Hugging Face Hub needs `huggingface_hub`.

        Args:
            pretrained_model_name_or_path: folder of `save_pretrained`, file of a checkpoint, `builtin:deblur`, or name
                of a repository on the Hub, `owner/name`. Existing paths precede repositories.
            revision: branch, tag or commit of the repository. None: "main".
            cache_dir: folder of downloads. None: that of `huggingface_hub`.
            token: access token. None: that of `hf auth login`.
            force_download: download again what is in `cache_dir`.
            local_files_only: use only what is in `cache_dir`.
            device: see `load`.
            trusted_modules: see `load`.

        Raises:
            ValueError: if the model is invalid, the download fails, or `huggingface_hub` is not installed.
        """
        name = str(pretrained_model_name_or_path)
        if not name.startswith((BUILTIN, HUB)) and not Path(name).expanduser().exists():
            name = HUB + name
        path = resolve_path(
            name,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        return load(path, device, trusted_modules)


def load(path: str | Path, device: str | torch.device = "cpu", trusted_modules: Iterable[str] = ()) -> Restorer:
    """Load a restorer from a checkpoint, without executing code of the file or reading other files.

    Args:
        path: file of the checkpoint, see `Checkpoint.read`.
        device: device of the restorer.
        trusted_modules: modules outside this package from which classes are allowed, see
            `diracdiff.checkpoints.registry`.

    Raises:
        ValueError: if the file is not a valid checkpoint.
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
    """Load an incremental reconstruction network, trained with `task.predict=increment`, as an increment.

    Args:
        checkpoint: file of the checkpoint.

    Raises:
        ValueError: if the file is not a valid checkpoint, or the network predicts clean images only.
    """
    denoiser = load(checkpoint).denoiser
    if not denoiser.incremental:
        raise ValueError(f"checkpoint={checkpoint}: predicts clean images. Give one of task.predict=increment.")
    return NetworkIncrement(denoiser)
