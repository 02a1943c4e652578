"""What surrounds the network, each piece by itself: loading, degrading, the loss, and every metric."""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from diracdiff.benchmarks.timing import Case
from diracdiff.data.datasets import Splits
from diracdiff.evaluation.measurement import training_batch
from diracdiff.metrics import ImageMetric, Metric, SetMetric
from diracdiff.restorer import Restorer
from diracdiff.training import RestorerModule
from diracdiff.utils.pixels import to_pixels

JPEG_QUALITY = 90


def write_jpegs(data: Splits, folder: Path, number: int, side: int) -> None:
    """Write training images of a data set as JPEG files of some side in pixels, to be loaded again."""
    images = data.split("train")
    folder.mkdir(parents=True)
    for index in range(number):
        x = images[index % len(images)]["x"][None]
        enlarged = torch.nn.functional.interpolate(x, size=(side, side), mode="bicubic", antialias=True)
        pixels = to_pixels(enlarged.clamp(0, 1)[0].permute(1, 2, 0)).numpy()
        Image.fromarray(pixels).save(folder / f"{index:04d}.jpg", quality=JPEG_QUALITY)


def loading(sets: Mapping[str, Splits], batch_size: int) -> list[Case]:
    """Loading a training batch of every data set in this process, against the first one."""
    first = next(iter(sets))

    def case(name: str, data: Splits) -> Case:
        images, numbers = data.split("train"), count()

        def call() -> None:
            default_collate([images[(0, next(numbers) % len(images))] for _ in range(batch_size)])

        return Case("loading", name, call, batch_size, first)

    return [case(name, data) for name, data in sets.items()]


def degradation_and_loss(module: RestorerModule, x: Tensor, batches: Sequence[int]) -> list[Case]:
    """Making a training batch of clean images; the loss of a prediction, and its gradient.

    Args:
        module: with its process, its times and its loss.
        x: clean images in [0, 1], (B, C, H, W), B at least the largest batch.
        batches: numbers of images.
    """
    process, given = module.restorer.process, module.denoiser.given_measurement
    cases, last = [], f"batch {batches[-1]}"
    for size in batches:
        clean, seeds = x[:size], count()

        def degrade(clean: Tensor = clean, seeds: "count[int]" = seeds) -> None:
            training_batch(process, clean, next(seeds), module.times, given, module.share_at_end)

        cases.append(Case("degradation", f"batch {size}", degrade, size, last))
        if module.denoiser.incremental:
            continue
        t, x_hat = torch.linspace(0.05, 1, size, device=x.device), (clean + 0.01).requires_grad_()

        def loss(clean: Tensor = clean, t: Tensor = t, x_hat: Tensor = x_hat) -> None:
            x_hat.grad = None
            module.loss(process, x_hat, clean, t).backward()

        cases.append(Case("loss and its gradient", f"batch {size}", loss, size, last))
    return cases


def evaluation(metrics: Sequence[Metric], restorer: Restorer, x: Tensor) -> list[Case]:
    """Every metric of a batch at one time of a walk, against a network call on it; of sets the features."""
    measured = restorer.measure(x)
    reference = restorer.reference(x, measured.y)
    restored = (x + 0.02 * torch.randn_like(x)).clamp(0, 1)
    denoiser = restorer.denoiser
    predict = denoiser.given(measured.y) if denoiser.given_measurement else denoiser

    @torch.no_grad()
    def network() -> None:
        predict(measured.y, torch.tensor(1.0, device=x.device))

    cases, first = [], "network call, for comparison"
    for metric in metrics:
        if isinstance(metric, ImageMetric):
            cases.append(Case("evaluation", metric.name, lambda m=metric: m(restored, reference), len(x), first))  # type: ignore[misc]
        elif isinstance(metric, SetMetric):
            extract = metric.extractor.features
            name = f"{metric.name}, features"
            cases.append(Case("evaluation", name, lambda f=extract: f(restored), len(x), first))  # type: ignore[misc]
    return [Case("evaluation", first, network, len(x)), *cases]
