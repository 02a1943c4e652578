"""The LightningModule: a denoiser, the process it undoes, how it is trained and where to stop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from diracdiff import __version__
from diracdiff.checkpoint import KIND, read_checkpoint
from diracdiff.errors import UserError
from diracdiff.losses import IncrementalReconstructionLoss
from diracdiff.metrics import ImageMetrics
from diracdiff.models.denoiser import Denoiser, Padded
from diracdiff.optimization import Optimization
from diracdiff.process import StochasticDegradation
from diracdiff.recipe import from_recipe, to_recipe
from diracdiff.samplers import ImageNoise, ReverseSampler
from diracdiff.seeds import DROPOUT, image_seed, step_seed
from diracdiff.tradeoff import ImageRows, Stop, scored, stopping_points

TARGETS = {"psnr": "t_DO", "lpips": "t_PO"}
GALLERY_SIZE = 6
MAX_SKIPPED_STEPS = 10


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
        lpips: backbone of LPIPS, or None.
        seed: of training's randomness and of evaluation's noise.
        name: of the task, for tables and folders.

    Attributes:
        stopping: {"psnr": DO, "lpips": PO} of the last validation, see `stopping_points`; None where unknown.
        curve: the last validation's trade-off curve, see `ImageRows.curve`.
        rows: the per-image rows of the last validation or test.
        gallery: a few images of the last validation or test on the CPU: "clean", and "mean"/"iterate" by time.
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
        lpips: str | None = "squeeze",
        seed: int = 0,
        name: str = "restoration",
    ):
        super().__init__()
        self.process = process
        self.denoiser = Denoiser(network, process.noise, conditioning, residual)
        self.denoiser.to(memory_format=torch.channels_last)
        self.loss = loss if loss is not None else IncrementalReconstructionLoss()
        self.sampler = sampler if sampler is not None else ReverseSampler()
        self.optimization = optimization if optimization is not None else Optimization()
        self.lpips, self.seed, self.name = lpips, seed, name
        self.stopping: dict[str, Stop | None] = dict.fromkeys(TARGETS)
        self.curve: list[dict[str, Any]] = []
        self.rows = ImageRows()
        self.gallery: dict[str, Any] = {}
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
    def metrics(self) -> ImageMetrics:
        """The metrics of validation, made when first needed."""
        if self._metrics is None:
            self._metrics = ImageMetrics(self.lpips)
        return self._metrics

    # training

    def configure_optimizers(self) -> dict:
        return self.optimization.build(self.denoiser.parameters(), lambda: self.trainer.estimated_stepping_batches)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Let dropout follow from (seed, step, rank)."""
        torch.manual_seed(step_seed(self.seed, DROPOUT, self.trainer.global_step, batch_idx, self.global_rank))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        x_hat = self.denoiser(batch["y"], batch["t"])
        loss = self.loss(self.process, x_hat, batch["x"], batch["t"])
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
        self.rows = self.rows.gathered()
        if not self.rows.rows:
            return
        self.curve = self.rows.curve()
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
        self.rows = self.rows.gathered()

    def _start_walks(self) -> None:
        self.rows, self.gallery = ImageRows(), {}

    def _walk(self, batch: dict[str, Any]) -> None:
        names = [str(name) for name in batch["name"]]
        collect = not self.gallery
        if collect:
            self.gallery = {"clean": _keep(batch["x"]), "mean": {}, "iterate": {}}
        states = self.sampler.states(self.process, self.denoiser, batch["y"], batch["noise"])
        for state, output, values in scored(states, batch["x"], self.metrics):
            self.rows.add(names, batch["seed"], state, output, values)
            if collect:
                self.gallery[output][round(state.t, 9)] = _keep(state.image(output))

    # use

    def stop_for(self, target: str) -> Stop:
        """Where to stop for a target, by the last validation: {"t": …, "output": …}.

        Args:
            target: "psnr" (t_DO, faithful) or "lpips" (t_PO, good-looking).

        Raises:
            UserError: if the target is unknown or has no stop.
        """
        if target not in TARGETS:
            raise UserError(f"target must be one of {list(TARGETS)}, got {target!r}")
        stop = self.stopping.get(target)
        if not any(self.stopping.values()):
            raise UserError(
                f"target={target} needs {TARGETS[target]}, but this checkpoint was never validated: give stop=…, a "
                "time in [0, 1], such as the one that diracdiff.evaluate split=val finds"
            )
        if stop is None:
            raise UserError(
                f"target={target} needs {TARGETS[target]}, which this checkpoint lacks: its training could not measure "
                f"{target.upper()}; use target=psnr, or train again with the LPIPS weights at hand"
            )
        return stop

    def restore(
        self,
        measurement: Tensor,
        target: str = "psnr",
        *,
        names: Sequence[str] | None = None,
        steps: int | None = None,
        stop: float | None = None,
    ) -> Tensor:
        """Restore degraded images of any size.

        Args:
            measurement: y_1, (B, C, H, W), in [0, 1] up to its noise.
            target: "psnr" or "lpips"; picks the stopping time and the output unless `stop` is given.
            names: a name per image, which its noise follows from; by default its number in the batch.
            steps: the sampler's steps, by default those of training.
            stop: stopping time in [0, 1]; the output is the sampler's then.

        Returns:
            Restored images in [0, 1], (B, C, H, W).
        """
        chosen = self.stop_for(target) if stop is None else {"t": stop, "output": self.sampler.output}
        sampler = self.sampler.replace(steps=steps or self.sampler.steps, stop=chosen["t"], output=chosen["output"])
        names = [str(i) for i in range(len(measurement))] if names is None else names
        noise = ImageNoise([image_seed(self.seed, name) for name in names], measurement.device)
        denoiser = Padded(self.denoiser.eval(), getattr(self.network, "multiple", 1))
        return sampler.run(self.process, denoiser, measurement, noise).clamp(0, 1)

    # checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[KIND] = {
            "version": __version__,
            "recipe": to_recipe(self),
            "stopping": self.stopping,
            "curve": self.curve,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.stopping, self.curve = checkpoint[KIND]["stopping"], checkpoint[KIND]["curve"]


def _keep(images: Tensor) -> Tensor:
    return images[:GALLERY_SIZE].detach().float().clamp(0, 1).mul(255).round().byte().cpu()


def load(path: str | Path, device: str | torch.device = "cpu") -> Restorer:
    """Load a restorer from a checkpoint alone: its recipe, its averaged weights and its stopping times.

    Raises:
        UserError: if the file cannot be used, see `read_checkpoint`, or its parts do not fit together.
    """
    checkpoint = read_checkpoint(path)
    restorer = from_recipe(checkpoint[KIND]["recipe"])
    if not isinstance(restorer, Restorer):
        raise UserError(f"checkpoint={path} does not describe a restorer: give one that diracdiff.train wrote")
    try:
        restorer.load_state_dict(checkpoint["state_dict"])
    except (RuntimeError, KeyError) as error:
        raise UserError(f"checkpoint={path}: its weights do not fit its recipe") from error
    restorer.on_load_checkpoint(checkpoint)
    return restorer.eval().requires_grad_(False).to(device)
