"""The LightningModule: a denoiser, the process it undoes, how it is trained and where to stop."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from diracdiff import __version__
from diracdiff.checkpoint import KIND, read_checkpoint
from diracdiff.errors import UserError
from diracdiff.fidelity import Extractor
from diracdiff.losses import IncrementalReconstructionLoss
from diracdiff.metrics import ImageMetrics
from diracdiff.models.denoiser import Denoiser, Padded
from diracdiff.optimization import Optimization
from diracdiff.process import StochasticDegradation
from diracdiff.recipe import from_recipe, to_recipe
from diracdiff.samplers import ImageNoise, PredictedIncrement, ReverseSampler
from diracdiff.seeds import DROPOUT, image_seed, step_seed
from diracdiff.tradeoff import TARGETS, Stop, stop_for, stopping_points
from diracdiff.walks import ImageRows, Walks

PREDICTIONS = ("clean", "increment")
MAX_SKIPPED_STEPS = 10
LEAST_SIGMA_TO_GENERATE = 2.5
"""Ten standard deviations of a pixel: from there on a measurement says next to nothing of its image."""


class Restorer(pl.LightningModule):
    """Trains x_hat(y_t, t) and restores with it.

    Args:
        process: the stochastic degradation process.
        network: F of the denoiser; has `multiple` if it needs sizes that are multiples of a number.
        loss: training loss; look-ahead 0 by default.
        sampler: the walk that validates, and restores unless told otherwise.
        optimization: optimiser and learning rate.
        conditioning: what the network is told, "sigma" or "time".
        residual: predict x - y_t instead of x.
        preconditioning: "none" or "edm", see `Denoiser`.
        predict: "clean", the clean image x, or "increment", A_s(x) for any s < t: an incremental reconstruction
            network, which has two conditions.
        lpips: backbone of LPIPS, or None.
        fid: network of FID and KID, "inception" or "squeezenet", or None.
        fid_weights: its file of weights, see `Extractor`.
        seed: of training's randomness and of evaluation's noise.
        name: of the task, for tables and folders.

    Attributes:
        stopping: {"psnr": DO, "lpips": PO, "fid": …} of the last validation, see `stopping_points`.
        curve: the last validation's trade-off curve, see `ImageRows.curve`.
        measured: the curve of the last validation or test.
        dataset: recipe of the data set that it was trained on, or None where that is not known.
    """

    def __init__(
        self,
        process: StochasticDegradation,
        network: nn.Module,
        loss: IncrementalReconstructionLoss | None = None,
        sampler: ReverseSampler | None = None,
        optimization: Optimization | None = None,
        conditioning: str = "sigma",
        residual: bool = True,
        preconditioning: str = "none",
        predict: str = "clean",
        lpips: str | None = "squeeze",
        fid: str | None = None,
        fid_weights: str | None = None,
        seed: int = 0,
        name: str = "restoration",
    ):
        super().__init__()
        if predict not in PREDICTIONS:
            raise ValueError(f"predict must be one of {PREDICTIONS}, got {predict!r}")
        if getattr(network, "conditions", 1) != (2 if predict == "increment" else 1):
            raise ValueError(f"predict={predict} does not fit a network with {network.conditions} condition(s)")
        self.process, self.predict = process, predict
        self.denoiser = Denoiser(network, process.noise, conditioning, residual, preconditioning)
        self.denoiser.to(memory_format=torch.channels_last)
        self.loss = loss if loss is not None else IncrementalReconstructionLoss()
        self.sampler = sampler if sampler is not None else ReverseSampler()
        self.optimization = optimization if optimization is not None else Optimization()
        self.lpips, self.fid, self.fid_weights, self.seed, self.name = lpips, fid, fid_weights, seed, name
        self.stopping: dict[str, Stop | None] = dict.fromkeys(TARGETS)
        self.curve: list[dict[str, Any]] = []
        self.measured: list[dict[str, Any]] = []
        self.dataset: dict[str, Any] | None = None
        self._walks: Walks | None = None
        self._metrics: ImageMetrics | None = None
        self._skipped = 0

    @property
    def network(self) -> nn.Module:
        """F of the denoiser."""
        return self.denoiser.network

    @property
    def conditioning(self) -> str:
        """What the network is told."""
        return self.denoiser.conditioning

    @property
    def residual(self) -> bool:
        """Whether the network predicts x - y_t."""
        return self.denoiser.residual

    @property
    def preconditioning(self) -> str:
        """How the network's input and output are scaled."""
        return self.denoiser.preconditioning

    @property
    def rows(self) -> ImageRows:
        """The per-image rows of the last validation or test."""
        return self._walks.rows if self._walks else ImageRows()

    @property
    def gallery(self) -> dict[str, Any]:
        """A few pictures of the last validation or test, see `Walks`."""
        return self._walks.gallery if self._walks else {}

    @property
    def metrics(self) -> ImageMetrics:
        """The metrics of validation, made when first needed."""
        if self._metrics is None:
            self._metrics = ImageMetrics(self.lpips)
        return self._metrics

    # training

    def configure_optimizers(self) -> dict:
        return self.optimization.build(self.denoiser.parameters(), lambda: self.trainer.estimated_stepping_batches)

    def on_fit_start(self) -> None:
        """Note what the images are, for those who compare networks; refuse those too small for validation."""
        self.metrics.check_size(self.process.degradation.image_size)
        try:
            self.dataset = to_recipe(self.trainer.datamodule.dataset)
        except (AttributeError, TypeError):  # images of the user's own, which have no recipe
            self.dataset = None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Let dropout follow from (seed, step, rank)."""
        torch.manual_seed(step_seed(self.seed, DROPOUT, self.trainer.global_step, batch_idx, self.global_rank))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        x, y, t = batch["x"], batch["y"], batch["t"]
        if self.predict == "increment":
            loss = self.loss.of_increment(self.process, self.denoiser(y, t, batch["s"]), x, t, batch["s"])
        else:
            loss = self.loss(self.process, self.denoiser(y, t), x, t)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        limit = gradient_clip_val if gradient_clip_val else float("inf")
        norm = nn.utils.clip_grad_norm_(self.denoiser.parameters(), limit)
        self.log("train/grad_norm", norm)
        self.log("train/lr", optimizer.param_groups[0]["lr"])
        if torch.isfinite(norm):
            self._skipped = 0
            return
        optimizer.zero_grad(set_to_none=True)
        self._skipped += 1
        if self._skipped >= MAX_SKIPPED_STEPS:
            raise UserError(
                f"training diverged: the gradient's norm was {norm.item()} in {self._skipped} steps on end, up to step "
                f"{self.trainer.global_step}; go on from the last checkpoint with a smaller optimizer.lr "
                f"(now {self.optimization.lr:g})"
            )

    # validation and test

    def on_validation_epoch_start(self) -> None:
        self._start_walks()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._walk(batch)

    def on_validation_epoch_end(self) -> None:
        self.measured = self._walks.finish(self.seed)
        if not self.measured:
            return
        self.curve = self.measured
        self.stopping = stopping_points(self.curve)
        self.log("val/psnr", max(row["psnr"] for row in self.curve), prog_bar=True)
        self.log("val/ssim", max(row["ssim"] for row in self.curve))
        self.log("val/t_do", self.stopping["psnr"]["t"])
        if self.metrics.lpips_name:
            self.log(
                f"val/{self.metrics.lpips_name}",
                min(row[self.metrics.lpips_name] for row in self.curve),
                prog_bar=True,
            )
            self.log("val/t_po", self.stopping["lpips"]["t"])

    def on_test_epoch_start(self) -> None:
        self._start_walks()

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._walk(batch)

    def on_test_epoch_end(self) -> None:
        self.measured = self._walks.finish(self.seed)

    def _start_walks(self) -> None:
        extractor = Extractor(self.fid, self.fid_weights) if self.fid else None
        self._walks = Walks(self.metrics, extractor)

    def _walk(self, batch: dict[str, Any]) -> None:
        states = self.sampler.states(self.process, self.denoiser, batch["y"], batch["noise"])
        self._walks.add(batch, states, lambda images: self.consistency(batch["y"], images))

    @torch.no_grad()
    def consistency(self, measurement: Tensor, images: Tensor) -> Tensor:
        """Distance from the measurement in units of its noise, ||y - A(images)|| / (sqrt(n) sigma), (B,): 1 is perfect.

        Less than 1 means that the images explain the noise as well (paper, Theorem 3.6 and Fig. 4).
        """
        start = self.sampler.start
        sigma = self.sampler.sigma or self.process.sigma(start, measurement).item()
        return self.process.residual(measurement, images.to(measurement.dtype), start).sqrt() / sigma

    # use

    def stop_for(self, target: str) -> Stop:
        """Where to stop for a target, by the last validation: {"t": …, "output": …}.

        Args:
            target: "psnr" (t_DO, faithful), "lpips" (t_PO, good-looking), "fid", "nfe=N" or "t=T".

        Raises:
            UserError: if the target is unknown or has no stop.
        """
        return stop_for(target, self.stopping, self.curve, self.sampler.output)

    def restore(
        self,
        measurement: Tensor,
        target: str = "psnr",
        *,
        names: Sequence[str] | None = None,
    ) -> Tensor:
        """Restore degraded images of any size with `sampler`.

        Args:
            measurement: y_1, or y at the sampler's start, (B, C, H, W), in [0, 1] up to its noise.
            target: picks the stopping time and the output, see `stop_for`.
            names: a name per image, which its noise follows from; by default its number in the batch.

        Returns:
            Restored images in [0, 1], (B, C, H, W).
        """
        return self.samples(measurement, 1, target, names=names)[0]

    def samples(
        self, measurement: Tensor, count: int, target: str = "lpips", *, names: Sequence[str] | None = None
    ) -> Tensor:
        """Restore the same measurements several times: (count, B, C, H, W). The first ones are those of `restore`.

        Their standard deviation over the first axis is the uncertainty of a pixel.

        Raises:
            UserError: if count is not positive, or there is no randomness to tell the samples apart.
        """
        if count < 1:
            raise UserError(f"samples must be an integer of at least 1, got {count}")
        if count > 1 and self.sampler.stochasticity == 0:
            raise UserError(
                f"{count} samples of one measurement would all be the same, because the sampler adds no noise: "
                "use sampler.stochasticity=1, or samples=1"
            )
        stop = self.stop_for(target)
        sampler = self.sampler.replace(stop=stop["t"], output=stop["output"])
        names = [str(i) for i in range(len(measurement))] if names is None else names
        results = []
        for k in range(count):
            seeds = [image_seed(self.seed, name if k == 0 else f"{name}/sample{k}") for name in names]
            noise = ImageNoise(seeds, measurement.device)
            results.append(sampler.run(self.process, self._padded, measurement, noise).clamp(0, 1))
        return torch.stack(results)

    def generate(self, names: Sequence[str]) -> Tensor:
        """Draw images from the prior, with noise that follows from their names: (B, C, H, W) in [0, 1].

        The walk starts from y_1 = 1/2 + sigma_1 z, which suits the identity under noise that hides the image.

        Raises:
            UserError: if the noise at t = 1 does not hide the image.
        """
        size = self.process.degradation.image_size
        noise = ImageNoise([image_seed(self.seed, name) for name in names], self.device)
        y = torch.full((len(names), self.network.image_channels, size, size), 0.5, device=self.device)
        sigma = self.process.sigma(1.0, y)
        if sigma < LEAST_SIGMA_TO_GENERATE:
            raise UserError(
                f"images can be generated where noise hides them, sigma_1 of at least {LEAST_SIGMA_TO_GENERATE} in "
                f"units of the [0, 1] range, got {sigma.item():.3g}: train with task=denoise"
            )
        y = y + sigma * noise.normal(y.shape[1:])
        return self.sampler.run(self.process, self._padded, y, noise).clamp(0, 1)

    @property
    def _padded(self) -> Padded:
        return Padded(self.denoiser.eval(), getattr(self.network, "multiple", 1))

    # checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[KIND] = {
            "version": __version__,
            "recipe": to_recipe(self),
            "dataset": self.dataset,
            "stopping": self.stopping,
            "curve": self.curve,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.stopping, self.curve = checkpoint[KIND]["stopping"], checkpoint[KIND]["curve"]
        self.dataset = checkpoint[KIND].get("dataset")


def load(path: str | Path, device: str | torch.device = "cpu", trust: Iterable[str] = ()) -> Restorer:
    """Load a restorer from a checkpoint alone: its recipe, its averaged weights and its stopping times.

    Args:
        path: of the checkpoint.
        device: where to put it.
        trust: modules outside this package whose classes it may use, see `from_recipe`.

    Raises:
        UserError: if the file cannot be used, see `read_checkpoint`, or its parts do not fit together.
    """
    checkpoint = read_checkpoint(path)
    restorer = from_recipe(checkpoint[KIND]["recipe"], trust)
    if not isinstance(restorer, Restorer):
        raise UserError(f"checkpoint={path} does not describe a restorer: give one that diracdiff.train wrote")
    try:
        restorer.load_state_dict(checkpoint["state_dict"])
    except (RuntimeError, KeyError) as error:
        raise UserError(f"checkpoint={path}: its weights do not fit its recipe") from error
    restorer.on_load_checkpoint(checkpoint)
    return restorer.eval().requires_grad_(False).to(device)


class NetworkIncrement(PredictedIncrement):
    """The incremental reconstruction network of a checkpoint that was trained with `task.predict=increment`.

    Args:
        checkpoint: path of the checkpoint.

    Raises:
        UserError: if it cannot be read or its network predicts clean images only.
    """

    def __init__(self, checkpoint: str | Path):
        self.restorer = load(checkpoint)
        if self.restorer.predict != "increment":
            raise UserError(
                f"sampler.increment.checkpoint={checkpoint} predicts clean images only: give one that was trained "
                "with task.predict=increment"
            )
        self.checkpoint = str(checkpoint)
        super().__init__(self._predict)

    def _predict(self, y: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return self.restorer.to(y.device)._padded(y, t, s)
