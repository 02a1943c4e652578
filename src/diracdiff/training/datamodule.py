"""Lightning data module: batches of clean images in an order given by (seed, step, rank)."""

import warnings
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Subset

from diracdiff.data.datasets import ImageDataset, Item, SplitDataset, collate_unique, worker_options
from diracdiff.data.sampler import ShardSampler
from diracdiff.utils.validate import check_count

Images = ImageDataset | Subset[Item]
"""Images of a split, or a subset of them."""


class ImageDataModule(pl.LightningDataModule):
    """Data module that loads batches of clean images.

    A batch is {"x": (B, 3, S, S) in [0, 1], "name": list of str, "index": (B,)}. The module divides the data among the
    devices: use `Trainer(use_distributed_sampler=False)`. A resumed run continues at the batch given by its number of
    steps. `max_steps` is therefore not supported.

    Args:
        dataset: data set with the method `split(name)`, such as `Photos`.
        batch_size: number of training images per batch and device, at least 1.
        eval_batch_size: number of validation and test images per batch and device; None: `batch_size`.
        num_workers: number of loader processes per device, at least 0.
        val_images: maximum number of validation images, spaced evenly in the split; None: all.
        test_images: maximum number of test images, spaced evenly in the split; None: all.
        seed: seed of the order of the training images, at least 0.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(
        self,
        dataset: SplitDataset,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        val_images: int | None = None,
        test_images: int | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.dataset, self.batch_size, self.num_workers, self.seed = dataset, batch_size, num_workers, seed
        self.eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        self.limits = {split: n for split, n in (("val", val_images), ("test", test_images)) if n is not None}
        counts = {"batch_size": batch_size, "eval_batch_size": self.eval_batch_size}
        for name, count in (counts | {f"{split}_images": n for split, n in self.limits.items()}).items():
            check_count(count, name)
        for name, count in (("num_workers", num_workers), ("seed", seed)):
            check_count(count, name, 0)
        self._splits: dict[str, Images] = {}

    def setup(self, stage: str | None = None) -> None:
        """List the images of the splits of a stage, which reports a wrong folder early.

        Args:
            stage: "fit", "validate" or "test".
        """
        for name in {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage or "", ()):
            self.split(name)

    def split(self, name: str) -> Images:
        """Return the images of the split train, val or test, limited to `val_images` or `test_images`."""
        if name not in self._splits:
            images: Images = self.dataset.split(name)
            if (limit := self.limits.get(name, len(images))) < len(images):
                images = Subset(images, [i * len(images) // limit for i in range(limit)])
            self._splits[name] = images
        return self._splits[name]

    @cached_property
    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """Fingerprints of the files of the training and validation splits, {split: fingerprint}."""
        fingerprints = {}
        for name in ("train", "val"):
            images = self.split(name)
            full = images.dataset if isinstance(images, Subset) else images
            if isinstance(full, ImageDataset) and (fingerprint := full.fingerprint()) is not None:
                fingerprints[name] = fingerprint
        return fingerprints

    def train_dataloader(self) -> DataLoader[Item]:
        """Return the loader of shuffled training batches, starting at the batch of the current step.

        An incomplete last batch is dropped.

        Raises:
            ValueError: if there are fewer images than one batch per device.
        """
        images, (rank, world_size) = self.split("train"), self._rank()
        if len(images) < self.batch_size * world_size:
            raise ValueError(
                f"data.batch_size={self.batch_size}: {len(images)} training images are fewer than one batch for each "
                f"of {world_size} device(s). Lower the batch size or add images."
            )
        order = images.order if isinstance(images, ImageDataset) else None
        sampler = ShardSampler(len(images), seed=self.seed, shuffle=True, rank=rank, world_size=world_size, order=order)
        loader = self._loader(images, self.batch_size, sampler, drop_last=True)
        if self.trainer is not None:
            limit, accumulated = self.trainer.limit_train_batches, self.trainer.accumulate_grad_batches
            batches = min(limit, len(loader)) if isinstance(limit, int) else int(limit * len(loader))
            epoch, step = divmod(self.trainer.global_step, max(1, -(-batches // accumulated)))
            sampler.epoch, sampler.skip = epoch, step * accumulated * self.batch_size
            warnings.filterwarnings("ignore", message=".*your dataloader is not resumable")  # `skip` resumes it
        return loader

    def val_dataloader(self) -> DataLoader[Item]:
        """Return the loader of validation batches: each image once over all devices, in order."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Item]:
        """Return the loader of test batches: each image once over all devices, in order."""
        return self._eval_loader("test")

    def _eval_loader(self, name: str) -> DataLoader[Item]:
        images, (rank, world_size) = self.split(name), self._rank()
        sampler = ShardSampler(len(images), rank=rank, world_size=world_size)
        return self._loader(images, self.eval_batch_size, sampler, collate_fn=collate_unique)

    def _loader(self, images: Images, batch_size: int, sampler: ShardSampler, **options: Any) -> DataLoader[Item]:
        options |= worker_options(self.num_workers)
        options |= {"persistent_workers": self.num_workers > 0, "pin_memory": torch.cuda.is_available()}
        return DataLoader(images, batch_size, sampler=sampler, **options)

    def _rank(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
