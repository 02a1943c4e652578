"""The only LightningDataModule: loads clean images and degrades each batch on the device."""

import warnings

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from diracdiff.data.datasets import check_integer
from diracdiff.data.sampler import ShardSampler
from diracdiff.errors import UserError
from diracdiff.process import StochasticDegradation
from diracdiff.samplers.noise import ImageNoise
from diracdiff.seeds import DEGRADATION, image_seed, step_seed


class ImageDataModule(pl.LightningDataModule):
    """Batches of clean and degraded images for every data set and every process.

    A training batch is {"x": (B, 3, S, S) in [0, 1], "t": (B,) in `times`, "s": (B,) in [0, t), "y": (B, 3, S, S)},
    where times and noise follow from (seed, step, rank). Any other batch is {"x", "y", "name": list of str,
    "index": (B,), "seed": list of int, "noise": ImageNoise}, where y measures x at `start` and the noise follows
    from (seed, name) of each image; "noise" has drawn the measurement and goes on from there.

    The module shards the data itself: use Trainer(use_distributed_sampler=False).

    Args:
        dataset: has `split(name)` for train, val and test, such as `Photos`; prediction uses test.
        process: degrades the images.
        batch_size: training images per device and batch.
        eval_batch_size: the same for all else; None: `batch_size`.
        num_workers: loader processes per device.
        val_images: validate on so many images at most, evenly spread over the split; None: on all.
        test_images: the same for testing.
        start: time of the measurements outside training, in (0, 1].
        times: range of the training times, in [0, 1]; (1, 1) for a network that restores measurements in one step.
        seed: of the order, the training times and all noise.
    """

    def __init__(
        self,
        dataset,
        process: StochasticDegradation,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        val_images: int | None = None,
        test_images: int | None = None,
        start: float = 1.0,
        times: tuple[float, float] = (0.0, 1.0),
        seed: int = 0,
    ):
        super().__init__()
        eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        check_integer("loader.batch_size", batch_size, 1, 32)
        check_integer("loader.eval_batch_size", eval_batch_size, 1, 32)
        check_integer("loader.num_workers", num_workers, 0, 4)
        check_integer("seed", seed, 0, 0)
        for name, limit in (("val_images", val_images), ("test_images", test_images)):
            if limit is not None:
                check_integer(f"loader.{name}", limit, 1, 64)
        self.dataset, self.process = dataset, process
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers = num_workers
        self.val_images, self.test_images = val_images, test_images
        low, high = times
        if not 0 <= low <= high <= 1:
            raise UserError(f"task.times must be two numbers, 0 <= first <= last <= 1, got {list(times)}: try [0, 1]")
        self.start, self.times, self.seed = start, (float(low), float(high)), seed
        # With fewer images than devices, some device has nothing to evaluate.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self._splits: dict[str, Dataset] = {}

    def setup(self, stage: str | None = None) -> None:
        """Find the images of the stage's splits, so that a wrong folder is reported before anything runs."""
        names = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
        for name in names.get(stage, ()):
            self.split(name)

    def split(self, name: str) -> Dataset:
        """The data set train, val or test, with `val_images` or `test_images` applied."""
        if name not in self._splits:
            images = self.dataset.split(name)
            limit = {"val": self.val_images, "test": self.test_images}.get(name)
            if limit is not None and limit < len(images):
                images = Subset(images, [i * len(images) // limit for i in range(limit)])
            self._splits[name] = images
        return self._splits[name]

    def train_dataloader(self) -> DataLoader:
        """Shuffled (epoch, index) batches, the last incomplete one dropped; goes on where a checkpoint stopped.

        Raises UserError when there are fewer images than one batch.
        """
        images = self.split("train")
        rank, world_size = self._rank()
        if len(images) < self.batch_size * world_size:
            raise UserError(
                f"{len(images)} training images are fewer than one batch of {self.batch_size} on each of"
                f" {world_size} device(s): lower loader.batch_size or add images"
            )
        sampler = ShardSampler(len(images), seed=self.seed, shuffle=True, rank=rank, world_size=world_size)
        loader = self._loader(images, sampler, self.batch_size, drop_last=True)
        if self.trainer is not None:
            limit = self.trainer.limit_train_batches
            batches_per_epoch = min(limit, len(loader)) if isinstance(limit, int) else int(limit * len(loader))
            sampler.epoch, done = _resume_point(self.trainer.fit_loop, batches_per_epoch)
            sampler.skip = done * self.batch_size
            warnings.filterwarnings("ignore", message=".*your dataloader is not resumable")
        return loader

    def val_dataloader(self) -> DataLoader:
        """Every validation image once over all devices, in order."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader:
        """Every test image once over all devices, in order."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader:
        """The same as `test_dataloader`."""
        return self._eval_loader("test")

    def on_after_batch_transfer(self, batch: dict, dataloader_idx: int) -> dict:
        """Degrade a batch of clean images on its device; the class says what comes out."""
        if self.trainer is not None and self.trainer.training:
            return self._training_batch(batch["x"])
        x = batch["x"]
        seeds = [image_seed(self.seed, name) for name in batch["name"]]
        noise = ImageNoise(seeds, x.device)
        y = self.process.measure(x, noise.normal(x.shape[1:], x.dtype), self.start)
        return {**batch, "y": y, "seed": seeds, "noise": noise}

    def _training_batch(self, x: torch.Tensor) -> dict:
        trainer = self.trainer
        batch_idx = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        part = batch_idx % trainer.accumulate_grad_batches
        seed = step_seed(self.seed, DEGRADATION, trainer.global_step, part, trainer.global_rank)
        generator = torch.Generator(x.device).manual_seed(seed)
        low, high = self.times
        t = low + (high - low) * torch.rand(len(x), generator=generator, device=x.device)
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        s = t * torch.rand(len(x), generator=generator, device=x.device)
        return {"x": x, "t": t, "s": s, "y": self.process.sample(x, t, noise)}

    def _eval_loader(self, name: str) -> DataLoader:
        images = self.split(name)
        rank, world_size = self._rank()
        sampler = ShardSampler(len(images), rank=rank, world_size=world_size)
        return self._loader(images, sampler, self.eval_batch_size)

    def _loader(self, images: Dataset, sampler: ShardSampler, batch_size: int, drop_last: bool = False) -> DataLoader:
        return DataLoader(
            images,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _rank(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


def _resume_point(loop, batches_per_epoch: int) -> tuple[int, int]:
    """The epoch to begin in and how many of its batches are done, from a fit loop that may come from a checkpoint.

    Lightning 2.6 asks for the loader after restoring its counters and before acting on them. It would lose batches
    or whole epochs in four cases, which are mended here: a checkpoint from amid a batch, from the end of an epoch's
    last batch, from the end of an epoch under max_steps, and from an epoch that max_steps or early stopping cut short.
    """
    epochs, batches = loop.epoch_progress, loop.epoch_loop.batch_progress
    done = batches.current.processed
    batches.is_last_batch = done >= batches_per_epoch
    for tracker in (batches.total, batches.current):  # a batch broken off is repeated
        tracker.ready = tracker.started = tracker.processed
        if batches.is_last_batch:
            tracker.completed = tracker.processed
    if epochs.current.ready == epochs.current.processed and 0 < done < batches_per_epoch:  # cut short: reopen
        for tracker in (epochs.total, epochs.current):
            tracker.processed = tracker.completed = tracker.ready - 1
        loop.restarting = True
    if epochs.current.ready > epochs.current.processed:
        return epochs.current.processed, done
    if loop.restarting:  # finished: the next epoch is an ordinary one
        for tracker in (epochs.total, epochs.current):
            tracker.completed = tracker.processed
        loop.epoch_loop.restarting = False
    return epochs.current.processed, 0
