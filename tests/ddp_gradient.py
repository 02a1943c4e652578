"""Run by test_ddp: one optimisation step of a restorer on a fixed batch, over DEVICES processes; saves the gradient.

Arguments: number of processes, file for the gradient.
"""

import sys

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.utils.data import DataLoader

from diracdiff.degradations import GaussianBlur, LinearSeverity
from diracdiff.evaluation.measurement import TrainingBatch
from diracdiff.losses import IncrementalReconstructionLoss
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.training import RestorerModule


class Fixed(pl.LightningDataModule):
    """The joined batch, or this process's part of it."""

    def __init__(self, process):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        x, z = torch.rand(2, 8, 3, 16, 16, generator=generator)
        t = torch.rand(8, generator=generator)
        self.batch = {"x": x, "t": t, "y": process.sample(x, t, z)}

    def train_dataloader(self):
        rank, world = self.trainer.global_rank, self.trainer.world_size
        part = {key: value[rank::world] for key, value in self.batch.items()}
        rows = [{key: value[i] for key, value in part.items()} for i in range(8 // world)]
        return DataLoader(rows, batch_size=8 // world)


class Degraded(RestorerModule):
    """Trains on what is degraded already."""

    def training_step(self, batch, batch_idx):
        x, y, t = batch["x"], batch["y"], batch["t"]
        return self.loss_of(TrainingBatch(x, y, t, 0 * t, self.restorer.process))


class SaveGradient(Callback):
    def on_before_optimizer_step(self, trainer, module, optimizer):
        if trainer.is_global_zero:
            torch.save([p.grad for p in module.parameters()], sys.argv[2])


def main():
    torch.manual_seed(0)
    process = StochasticDegradation(GaussianBlur(LinearSeverity(0.3, 30), 16), GeometricNoise())
    network = NCSNpp(8, [1, 2], 1, [1], 0.0)
    restorer = Restorer(process, Denoiser(network))
    devices = int(sys.argv[1])
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        callbacks=[SaveGradient()],
    )
    trainer.fit(Degraded(restorer, IncrementalReconstructionLoss(0.3)), Fixed(process))


if __name__ == "__main__":
    main()
