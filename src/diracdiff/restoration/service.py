"""Restore decoded images: the service that the command and the demo share.

    image = SourceImage.of(read_image(path), "a/x.png", mask=mask)   # or SourceImage(name, pixels, …)
    batch = prepare(restorer, [image], RestoreOptions(target="lpips", samples=4))
    result = batch.restore()[0]
    result.samples[0], result.measurement, result.test().certificate.consistent

`prepare` makes measurements of images of one size. A caller with another sampling loop samples from `batch.y` with
`batch.restorer`, passes its images through `batch.finish`, and tests one with `batch.test`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diracdiff.data.image_io import DecodedImage
from diracdiff.degradations import FreeformInpainting, KernelBlur
from diracdiff.degradations.kernel_blur import extended
from diracdiff.degradations.kernels import WORDS
from diracdiff.evaluation.data_consistency import evaluate_residuals, is_hidden, standardise
from diracdiff.evaluation.uncertainty import Interval
from diracdiff.restoration.consistency import ConsistencyTest, noise_level
from diracdiff.restorer import Restorer
from diracdiff.samplers import ImageNoise
from diracdiff.utils.errors import UserError
from diracdiff.utils.seeds import image_seed

Guide = Literal["mask", "kernel"]
"""A per-image input of a model."""

GUIDES: dict[Guide, tuple[type, str]] = {
    "mask": (FreeformInpainting, "inpaint_freeform"),
    "kernel": (KernelBlur, "deblur_kernel"),
}
"""{per-image input: (degradation that takes it, task that trains for it)}."""


@dataclass(frozen=True)
class RestoreOptions:
    """Options of a restoration.

    Attributes:
        target: stopping time and output, see `Restorer.stop_for`.
        samples: number of samples of each image.
        interval: of every pixel, for tables and maps of uncertainty; None: neither is made.
        degrade: images are clean and are degraded first.
        sigma: noise level of the images in units of the [0, 1] range; "auto": estimated; None: the model's.
        residual_map: a picture of the residual is made.
    """

    target: str = "psnr"
    samples: int = 1
    interval: Interval | None = None
    degrade: bool = False
    sigma: float | Literal["auto"] | None = None
    residual_map: bool = False


@dataclass(frozen=True)
class SourceImage:
    """A decoded image to restore.

    Attributes:
        name: its noise follows from it, so no two images of one restoration have the same.
        pixels: float32 (3, H, W) in [0, 1].
        grey: its three channels are equal.
        step: between two values of its file, 1 / 255 or 1 / 65535; 0: it was not rounded, or was resized.
        mask: bool (H, W), True in the region to fill; for models of task=inpaint_freeform.
        kernel: float32 (h, w), sums to 1; for models of task=deblur_kernel.
    """

    name: str
    pixels: Tensor
    grey: bool = False
    step: float = 0.0
    mask: Tensor | None = None
    kernel: Tensor | None = None

    @classmethod
    def of(
        cls, decoded: DecodedImage, name: str, mask: Tensor | None = None, kernel: Tensor | None = None
    ) -> SourceImage:
        """Wrap an image as `read_image` returns it."""
        top = 65535 if decoded.pixels.dtype == "uint16" else 255
        pixels = torch.from_numpy(decoded.pixels.astype("float32")).permute(2, 0, 1).contiguous() / top
        return cls(name, pixels, decoded.grey, 1 / top, mask, kernel)


@dataclass(frozen=True)
class RestoredImage:
    """A restored image: `batch.images[index]`.

    Attributes:
        x_hat: the first sample as it was sampled, with the batch's margin, (3, H', W').
        samples: (K, 3, H, W) in [0, 1], K the number of samples; the first is the result.
        measurement: that it was restored from, (3, H, W).
        seconds: that its restoration took.
        nfe: network calls, of all samples together.
    """

    batch: Batch
    index: int
    x_hat: Tensor
    samples: Tensor
    measurement: Tensor
    seconds: float
    nfe: int

    def test(self) -> ConsistencyTest:
        """Test whether the result explains its measurement."""
        return self.batch.test(self.index, self.x_hat)


@dataclass(frozen=True)
class Batch:
    """Measurements of images of one size, ready to be sampled from.

    Attributes:
        restorer: with the operators of the images.
        options: of the restoration.
        images: as they were given.
        y: measurements as the sampler takes them, (B, 3, H', W'), with a margin of `margin` pixels on each side.
        params: parameters of per-image operators, (B, …), or None.
    """

    restorer: Restorer
    options: RestoreOptions
    images: Sequence[SourceImage]
    y: Tensor
    params: Tensor | None = None
    margin: int = 0

    def measurement(self, index: int) -> Tensor:
        """Return a measurement without its margin, (3, H, W)."""
        return cropped(self.y[index], self.margin)

    def finish(self, images: Tensor) -> Tensor:
        """Crop sampled images, (…, B, 3, H', W'), and keep the file's pixels outside of masks."""
        images = cropped(images, self.margin)
        if self.options.degrade or self.images[0].mask is None:
            return images
        masks = torch.stack([image.mask for image in self.images if image.mask is not None]).unsqueeze(1)
        pixels = torch.stack([image.pixels for image in self.images])
        return torch.where(masks.to(images.device), images, pixels.to(images))

    @torch.no_grad()
    def test(self, index: int, x_hat: Tensor) -> ConsistencyTest:
        """Test whether x_hat, (3, H', W') as sampled, explains a measurement."""
        restorer, image, y = self.restorer, self.images[index], self.measurement(index)
        start, step = restorer.sampler.start, 0.0 if self.options.degrade else image.step
        if image.grey and not self.options.degrade:  # one channel; simulated noise has colours
            y, x_hat = y.mean(0, keepdim=True), x_hat.mean(0, keepdim=True).expand(3, -1, -1)
        noise = noise_level(restorer, y, self.options.sigma, step)
        process = restorer.process.bind(None if self.params is None else self.params[index : index + 1])
        mean = cropped(process.mean(x_hat.unsqueeze(0), start)[0, : len(y)], self.margin)
        hidden = None if self.options.degrade else is_hidden(y, process, start)
        z = standardise(y, mean, noise.sigma, step, image_seed(restorer.seed, f"certificate/{image.name}"))
        clipped = ((y <= 0) | (y >= 1)).float().mean().item() if step else 0.0
        return ConsistencyTest(evaluate_residuals(z, clipped), z, noise, hidden)

    def restore(self) -> list[RestoredImage]:
        """Sample restorations of all images."""
        began, options = time.perf_counter(), self.options
        names = [image.name for image in self.images]
        samples, nfe = self.restorer.sample(self.y, options.samples, options.target, names=names)
        finished = self.finish(samples)
        seconds = (time.perf_counter() - began) / len(self.images)
        return [
            RestoredImage(self, i, samples[0, i], finished[:, i], self.measurement(i), seconds, nfe * options.samples)
            for i in range(len(self.images))
        ]


def prepare(restorer: Restorer, images: Sequence[SourceImage], options: RestoreOptions) -> Batch:
    """Make measurements of images of one size, whose kernels, if any, have one size as well.

    Clean images are degraded. Photographs that a kernel blurred are extended to periodic ones. Masked regions get
    noise alone, whatever they held.
    """
    degradation, names = restorer.process.degradation, [image.name for image in images]
    pixels = torch.stack([image.pixels for image in images]).to(restorer.device)
    masks = [image.mask for image in images if image.mask is not None]
    kernels = [image.kernel for image in images if image.kernel is not None]
    if masks and isinstance(degradation, FreeformInpainting):
        params: Tensor | None = degradation.holes(torch.stack(masks).to(restorer.device))
    elif kernels:
        params = torch.stack(kernels).unsqueeze(1).to(pixels)
    else:
        params = degradation.sample_params([image_seed(restorer.seed, name) for name in names], pixels)
    y, margin, noises = pixels, 0, [f"measurement/{name}" for name in names]
    restorer = restorer.bind(params)
    if options.degrade:
        y = restorer.measure(pixels, noises).y
    elif kernels and params is not None:
        y, margin = extended(pixels, params)
    elif masks:
        noise = ImageNoise([image_seed(restorer.seed, name) for name in noises], pixels.device)
        sigma = restorer.process.sigma_of_measurement(pixels, restorer.sampler.start)
        hidden = torch.stack(masks).unsqueeze(1).to(pixels.device)
        y = torch.where(hidden, sigma * noise.normal(pixels.shape[1:], pixels.dtype), pixels)
    return Batch(restorer, options, images, y, params, margin)


def guide_of(restorer: Restorer) -> Guide | None:
    """Return the per-image input that a model takes, "mask" or "kernel", or None."""
    degradation = restorer.process.degradation
    return next((key for key, (taken_by, _) in GUIDES.items() if isinstance(degradation, taken_by)), None)


def check_guide(restorer: Restorer, given: Guide | None, degrade: bool) -> None:
    """Refuse a mask or kernel that a model does not take, and a model that needs one without.

    Raises:
        UserError: naming the remedy.
    """
    needed = guide_of(restorer)
    if given and given != needed:
        raise UserError(
            f"a model of task={restorer.name} takes no {given}: leave it out, or use a model of task={GUIDES[given][1]}"
        )
    if needed and not given and not degrade:
        words = f", or {WORDS}" if needed == "kernel" else ""
        raise UserError(
            f"a model of task={restorer.name} needs each image's {needed}: add {needed}=FILE, or a folder{words}"
        )


def cropped(images: Tensor, margin: int) -> Tensor:
    """Return images, (…, H, W), without a margin."""
    height, width = images.shape[-2:]
    return images[..., margin : height - margin, margin : width - margin]
