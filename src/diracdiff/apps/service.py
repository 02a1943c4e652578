"""Restoration of decoded images, the service of the command `restore` and of the demo.

    source = SourceImage.from_decoded(read_image(path), "x.png")
    batch = prepare(restorer, [source], RestoreOptions(target="lpips", samples=4))
    restored = batch.restore()
    restored.samples[0, 0], batch.test_consistency(0, restored.x_hat[0])["consistent"]

All images of a batch have the same size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from diracdiff.data.image_io import DecodedImage
from diracdiff.degradations import FreeformInpainting, Identity, KernelBlur, MultiScaleSuperResolution
from diracdiff.degradations.kernel_blur import make_periodic
from diracdiff.degradations.kernels import FORMATS
from diracdiff.degradations.super_resolution import downscale, upscale
from diracdiff.evaluation.data_consistency import estimate_sigma, evaluate_residuals, standardise
from diracdiff.evaluation.uncertainty import Interval
from diracdiff.noise import time_at_noise_level
from diracdiff.restorer import Restorer
from diracdiff.samplers import BridgeSampler, ImageNoise
from diracdiff.utils.errors import warn
from diracdiff.utils.seeds import image_seed

MIN_T_START = 1e-3
"""Minimum start time of sampling, for images with less noise than the process at t = 0."""

OperatorInput = Literal["mask", "kernel", "factor"]
OPERATOR_INPUTS: dict[OperatorInput, tuple[type, str]] = {
    "mask": (FreeformInpainting, "inpaint_freeform"),
    "kernel": (KernelBlur, "deblur_kernel"),
    "factor": (MultiScaleSuperResolution, "super_resolution_multiscale"),
}
"""{per-image input: (degradation with this input, task that trains for it)}."""


@dataclass(frozen=True)
class RestoreOptions:
    """Options of a restoration.

    Attributes:
        target: stopping time and output, see `Restorer.stopping_point_for`.
        samples: number of samples per image.
        interval: calibrated interval, for uncertainty in tables and maps; None: no uncertainty.
        degrade: degrade clean images first.
        sigma: noise level of the images in units of the [0, 1] range; "auto": estimated; None: that of the model, or
            estimated for a denoiser. Sampling of a denoiser starts at the time of this level.
        factor: enlargement of the images, for models of task=super_resolution_multiscale.
    """

    target: str = "psnr"
    samples: int = 1
    interval: Interval | None = None
    degrade: bool = False
    sigma: float | Literal["auto"] | None = None
    factor: int | None = None


@dataclass(frozen=True)
class SourceImage:
    """A decoded image to restore.

    Attributes:
        name: unique name of the image, which determines its noise.
        pixels: float32 (3, H, W) in [0, 1].
        grey: the three channels are equal.
        step: quantisation step of the file, 1 / 255 or 1 / 65535; 0: not quantised, or resized.
        mask: bool (H, W), True in the masked region; for models of task=inpaint_freeform.
        kernel: float32 (h, w) with sum 1; for models of task=deblur_kernel.
    """

    name: str
    pixels: Tensor
    grey: bool = False
    step: float = 0.0
    mask: Tensor | None = None
    kernel: Tensor | None = None

    @classmethod
    def from_decoded(cls, decoded: DecodedImage, name: str, **operator_input: Tensor) -> SourceImage:
        """Build a source image from the output of `read_image`.

        Args:
            decoded: the decoded image.
            name: unique name of the image.
            operator_input: `mask` or `kernel`.
        """
        top = 65535 if decoded.pixels.dtype == "uint16" else 255
        pixels = torch.from_numpy(decoded.pixels.astype("float32")).permute(2, 0, 1).contiguous() / top
        return cls(name, pixels, decoded.grey, 1 / top, **operator_input)


class RestorationResult(NamedTuple):
    """Restored images of a batch.

    Attributes:
        x_hat: first samples with the margin of the batch, (B, 3, H', W').
        samples: K samples, (K, B, 3, H, W) in [0, 1]. The first sample is the result. H and W are the size of the
            images times the factor.
        nfe: NFE per image for all samples.
        seconds: time per image.
    """

    x_hat: Tensor
    samples: Tensor
    nfe: int
    seconds: float


@dataclass(frozen=True)
class Batch:
    """Measurements of images with the same size.

    Attributes:
        restorer: restorer, bound to the operators of the images.
        options: options of the restoration.
        images: source images.
        y: measurements for the sampler, (B, 3, H', W').
        params: parameters of per-image operators, (B, …), or None.
        margin: width of the margin of `y` on each side, in pixels.
    """

    restorer: Restorer
    options: RestoreOptions
    images: Sequence[SourceImage]
    y: Tensor
    params: Tensor | None = None
    margin: int = 0

    def measurement(self, index: int) -> Tensor:
        """Return a measurement without its margin, (3, H, W)."""
        return crop_margin(self.y[index], self.margin)

    def finish(self, images: Tensor) -> Tensor:
        """Crop the margin of samples, (…, B, 3, H', W'), and copy the pixels of the file outside masks."""
        images = crop_margin(images, self.margin)
        if self.options.degrade or self.images[0].mask is None:
            return images
        masks = torch.stack([image.mask for image in self.images if image.mask is not None]).unsqueeze(1)
        return torch.where(masks.to(images.device), images, torch.stack([i.pixels for i in self.images]).to(images))

    @torch.no_grad()
    def test_consistency(self, index: int, x_hat: Tensor) -> dict[str, Any]:
        """Run the data-consistency test on a restored image.

        Args:
            index: index of the image in the batch.
            x_hat: restored image with margin, (3, H', W').

        Returns:
            Result of `evaluate_residuals`, and: `sigma`, the noise level of the test; `sigma_from`, "model", "given"
            or "estimated"; `sigma_estimated`, None for small images; `clipped`, the fraction of clipped values.
        """
        restorer, image, y = self.restorer, self.images[index], self.measurement(index)
        start, step = restorer.sampler.t_start, 0.0 if self.options.degrade else image.step
        if image.grey and not self.options.degrade:  # one channel; simulated noise has colours
            y, x_hat = y.mean(0, keepdim=True), x_hat.mean(0, keepdim=True).expand(3, -1, -1)
        process = restorer.process.bind(None if self.params is None else self.params[index : index + 1])
        scale = 1 if self.options.degrade else self.options.factor or 1
        estimated = estimate_sigma(downscale(y, scale) if scale > 1 else y, step)
        requested = self.options.sigma
        if requested == "auto" and estimated is not None:
            sigma, source = max(estimated, 1e-6), "estimated"
        elif level := restorer.sampler.sigma if requested in (None, "auto") else float(requested or 0):
            sigma, source = level, "given"
        else:
            sigma, source = process.sigma_of_measurement(y.unsqueeze(0), start).max().item() / scale, "model"
        mean = crop_margin(process.mean(x_hat.unsqueeze(0), start)[0, : len(y)], self.margin)
        if scale > 1:  # the test uses the grid of the file
            y, mean = downscale(y, scale), downscale(mean, scale)
        z = standardise(y, mean, sigma, step, image_seed(restorer.seed, f"certificate/{image.name}"))
        clipped = ((y <= 0) | (y >= 1)).float().mean().item() if step else 0.0
        noise = {"sigma": sigma, "sigma_from": source, "sigma_estimated": estimated, "clipped": clipped}
        return evaluate_residuals(z) | noise

    def restore(self) -> RestorationResult:
        """Restore all images of the batch."""
        began, names = time.perf_counter(), [image.name for image in self.images]
        samples, nfe = self.restorer.sample(self.y, self.options.samples, self.options.target, names=names)
        finished, count = self.finish(samples), self.options.samples
        return RestorationResult(samples[0], finished, nfe * count, (time.perf_counter() - began) / len(names))


def prepare(restorer: Restorer, images: Sequence[SourceImage], options: RestoreOptions) -> Batch:
    """Compute the measurements of a batch.

    Clean images are degraded if the options request it. Otherwise blurred photographs are extended to periodic images,
    masked regions are replaced with noise, and frequencies above those of the file are filled with noise.

    Args:
        restorer: the model. A denoiser starts at the noise level of the image.
        images: images of one size. Their kernels must also have one size. If the noise level is estimated, there must
            be exactly one image.
        options: options of the restoration.

    Raises:
        ValueError: if the noise level cannot be estimated, or exceeds the largest level of the model.
    """
    degradation, names = restorer.process.degradation, [image.name for image in images]
    pixels = torch.stack([image.pixels for image in images]).to(restorer.device)
    masks = [image.mask for image in images if image.mask is not None]
    kernels = [image.kernel for image in images if image.kernel is not None]
    if masks and isinstance(degradation, FreeformInpainting):
        params: Tensor | None = degradation.signed_distance(torch.stack(masks).to(restorer.device))
    elif kernels:
        params = torch.stack(kernels).unsqueeze(1).to(pixels)
    elif options.factor:
        params = pixels.new_full((len(pixels), 1), options.factor)
    else:
        params = degradation.sample_params([image_seed(restorer.seed, name) for name in names], pixels)
    y, margin, noises = pixels, 0, [f"measurement/{name}" for name in names]
    restorer, options = _start_at_level(restorer.bind(params), images, options)
    if options.degrade:
        y = restorer.measure(pixels, noises).y
    elif kernels and params is not None:
        y, margin = make_periodic(pixels, params)
    elif masks:
        noise = ImageNoise([image_seed(restorer.seed, name) for name in noises], pixels.device)
        sigma = restorer.process.sigma_of_measurement(pixels, restorer.sampler.t_start)
        hidden = torch.stack(masks).unsqueeze(1).to(pixels.device)
        y = torch.where(hidden, sigma * noise.normal(pixels.shape[1:], pixels.dtype), pixels)
    elif options.factor:
        y = upscale(pixels, options.factor)
        noise = ImageNoise([image_seed(restorer.seed, name) for name in noises], pixels.device)
        missing = restorer.process.sigma_of_measurement(y) * noise.normal(y.shape[1:], y.dtype)
        y = y + missing - upscale(downscale(missing, options.factor), options.factor)
    return Batch(restorer, options, images, y, params, margin)


def estimates_noise(restorer: Restorer, options: RestoreOptions) -> bool:
    """Return True if sampling starts at the estimated noise level of each image."""
    return _is_denoiser(restorer) and not options.degrade and options.sigma in (None, "auto")


def _is_denoiser(restorer: Restorer) -> bool:
    """Return True for a model without a degradation that can start at all of its noise levels."""
    low, high = restorer.process.noise(torch.tensor([0.0, 1.0])).tolist()
    sampler = restorer.sampler
    free = sampler.t_start == 1 and sampler.sigma is None and not restorer.denoiser.condition_on_measurement
    free &= not isinstance(sampler, BridgeSampler)
    return isinstance(restorer.process.degradation, Identity) and low < high and free


def _start_at_level(
    restorer: Restorer, images: Sequence[SourceImage], options: RestoreOptions
) -> tuple[Restorer, RestoreOptions]:
    """Set the start time of a denoiser to the noise level of the images. Other models stay unchanged.

    Raises:
        ValueError: if the level cannot be estimated, or the given level exceeds the largest level of the model.
    """
    noise, largest = restorer.process.noise, restorer.process.sigma_y
    if estimates_noise(restorer, options):
        (image,), options = images, replace(options, sigma="auto")
        level = estimate_sigma(image.pixels[:1] if image.grey else image.pixels, image.step)
        if level is None:
            raise ValueError(
                "sigma=auto: needs a larger image to estimate its noise. Give a level, such as sigma=0.05."
            )
        if level > 1.05 * largest:
            warn(
                f"{image.name}: the noise level {level:.3g} exceeds the largest level of this model, {largest:.3g}.",
                True,
            )
    elif _is_denoiser(restorer) and isinstance(options.sigma, float | int):
        level = float(options.sigma)
        if level > largest * (1 + 1e-6):
            raise ValueError(f"sigma={level:g}: must be at most {largest:g}, the largest noise level of this model.")
    else:
        return restorer, options
    start = max(time_at_noise_level(noise, level), MIN_T_START)
    return restorer.replace(sampler=restorer.sampler.replace(t_start=start)), options


def check_operator_input(restorer: Restorer, kind: OperatorInput | None, degrade: bool) -> None:
    """Check that a per-image input matches the degradation of a model.

    Args:
        restorer: the model.
        kind: kind of the input, or None.
        degrade: images are degraded first, so that the input may be missing.

    Raises:
        ValueError: if the model does not accept the input, or needs one that is missing.
    """
    degradation, task = restorer.process.degradation, restorer.name
    needed = next((key for key, (taken_by, _) in OPERATOR_INPUTS.items() if isinstance(degradation, taken_by)), None)
    if kind and kind != needed:
        raise ValueError(f"{kind}: a model of task={task} takes none. Use a model of task={OPERATOR_INPUTS[kind][1]}.")
    if needed and not kind and not degrade:
        text = f", or {FORMATS}" if needed == "kernel" else ""
        remedy = "factor=2, 3 or 4" if needed == "factor" else f"a file, or a folder of files{text}"
        raise ValueError(f"{needed}: a model of task={task} needs one. Give {remedy}.")


def crop_margin(images: Tensor, margin: int) -> Tensor:
    """Crop a margin from images, (…, H, W)."""
    height, width = images.shape[-2:]
    return images[..., margin : height - margin, margin : width - margin]
