"""The only LightningDataModule: batches of clean images, in an order that follows from the seed."""

import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Subset

from diracdiff.data.datasets import ImageDataset, Item, Splits, batch_of, check_integer, worker_options
from diracdiff.data.sampler import ShardSampler
from diracdiff.utils.errors import UserError

Images = ImageDataset | Subset[Item]
"""A split, or a part of it."""


class ImageDataModule(pl.LightningDataModule):
    """Batches of clean images, {"x": (B, 3, S, S) in [0, 1], "name": list of str, "index": (B,)}, for every data set.

    The module shards the data itself: use Trainer(use_distributed_sampler=False).

    Args:
        dataset: has `split(name)` for train, val and test, such as `Photos`; prediction uses test.
        batch_size: training images per device and batch.
        eval_batch_size: the same for all else; None: `batch_size`.
        num_workers: loader processes per device.
        val_images: validate on so many images at most, evenly spread over the split; None: on all.
        test_images: the same for testing.
        seed: of the order of the training images.

    Raises:
        ValueError: if a number breaks its rule.
    """

    def __init__(
        self,
        dataset: Splits,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        val_images: int | None = None,
        test_images: int | None = None,
        seed: int = 0,
    ):
        super().__init__()
        eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        check_integer("batch_size", batch_size, 1, 32)
        check_integer("eval_batch_size", eval_batch_size, 1, 32)
        check_integer("num_workers", num_workers, 0, 4)
        check_integer("seed", seed, 0, 0)
        for name, limit in (("val_images", val_images), ("test_images", test_images)):
            if limit is not None:
                check_integer(name, limit, 1, 64)
        self.dataset = dataset
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers = num_workers
        self.val_images, self.test_images = val_images, test_images
        self.seed = seed
        self._splits: dict[str, Images] = {}
        self._fingerprints: dict[str, dict[str, Any]] | None = None

    def setup(self, stage: str | None = None) -> None:
        """Find the images of the stage's splits, so that a wrong folder is reported before anything runs."""
        names = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
        for name in names.get(stage or "", ()):
            self.split(name)

    def split(self, name: str) -> Images:
        """The data set train, val or test, with `val_images` or `test_images` applied."""
        if name not in self._splits:
            images: Images = self.dataset.split(name)
            limit = {"val": self.val_images, "test": self.test_images}.get(name)
            if limit is not None and limit < len(images):
                images = Subset(images, [i * len(images) // limit for i in range(limit)])
            self._splits[name] = images
        return self._splits[name]

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """Return the fingerprint of the files of the training and the validation split, where they have one."""
        if self._fingerprints is None:
            self._fingerprints = {}
            for name in ("train", "val"):
                images = self.split(name)
                whole = images.dataset if isinstance(images, Subset) else images
                if isinstance(whole, ImageDataset) and (found := whole.fingerprint()) is not None:
                    self._fingerprints[name] = found
        return self._fingerprints

    def train_dataloader(self) -> DataLoader[Item]:
        """Return shuffled batches, without an incomplete last one, from the position that follows from the step.

        Raises UserError when there are fewer images than one batch.
        """
        images = self.split("train")
        rank, world_size = self._rank()
        if len(images) < self.batch_size * world_size:
            raise UserError(
                f"{len(images)} training images are fewer than one batch of {self.batch_size} on each of"
                f" {world_size} device(s): lower loader.batch_size or add images"
            )
        order = images.order if isinstance(images, ImageDataset) else None
        sampler = ShardSampler(len(images), seed=self.seed, shuffle=True, rank=rank, world_size=world_size, order=order)
        options = self._options() | {"collate_fn": batch_of, "drop_last": True}
        loader = DataLoader(images, self.batch_size, sampler=sampler, **options)
        if self.trainer is not None:
            limit, accumulated = self.trainer.limit_train_batches, self.trainer.accumulate_grad_batches
            batches = min(limit, len(loader)) if isinstance(limit, int) else int(limit * len(loader))
            epoch, step = divmod(self.trainer.global_step, max(1, -(-batches // accumulated)))
            sampler.epoch, sampler.skip = epoch, step * accumulated * self.batch_size
            warnings.filterwarnings("ignore", message=".*your dataloader is not resumable")  # it is: see above
        return loader

    def val_dataloader(self) -> DataLoader[Item]:
        """Every validation image once over all devices, in order."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Item]:
        """Every test image once over all devices, in order."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[Item]:
        """The same as `test_dataloader`."""
        return self._eval_loader("test")

    def _eval_loader(self, name: str) -> DataLoader[Item]:
        images = self.split(name)
        rank, world_size = self._rank()
        sampler = ShardSampler(len(images), rank=rank, world_size=world_size)
        options = self._options() | {"collate_fn": batch_of}
        return DataLoader(images, self.eval_batch_size, sampler=sampler, **options)

    def _options(self) -> dict[str, Any]:
        return {
            **worker_options(self.num_workers),
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
        }

    def _rank(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
