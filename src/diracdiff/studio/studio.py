"""Actions of the page's buttons, without the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from diracdiff.evaluation.plots import heat_map
from diracdiff.evaluation.uncertainty import Spread
from diracdiff.metrics import PSNR
from diracdiff.restoration import (
    Batch,
    ConsistencyTest,
    RestoreOptions,
    SourceImage,
    concern_of,
    guide_of,
    prepare,
)
from diracdiff.restorer import Restorer
from diracdiff.studio.photograph import Photograph, kernel_of, mask_of, read
from diracdiff.studio.trajectory import Frame, ends, sample_frames
from diracdiff.utils.errors import UserError
from diracdiff.utils.pixels import from_pixels, to_pixels


@dataclass(frozen=True)
class Restored:
    """A restored photograph.

    Attributes:
        photograph: as it was read.
        batch: its measurement.
        frames: images of the trajectory, from the accurate to the sharp end.
        notes: what the user should know of it, in sentences.
    """

    photograph: Photograph
    batch: Batch
    frames: list[Frame]
    notes: list[str]

    @property
    def measured(self) -> Tensor:
        """The degraded photograph, uint8 (3, H, W)."""
        return to_pixels(self.batch.measurement(0)).cpu()

    @property
    def grey(self) -> bool:
        """The three channels of all pictures are equal."""
        return self.photograph.grey and not self.batch.options.degrade

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        kept = [self.photograph.image, self.batch.y, *(frame.pixels for frame in self.frames)]
        return sum(each.nbytes for each in kept)

    def picture(self, place: int) -> Tensor:
        """Return a frame as it is shown, uint8 (3, H, W)."""
        return to_pixels(self.batch.finish(from_pixels(self.frames[place].pixels).unsqueeze(0))[0]).cpu()

    def test(self, place: int) -> ConsistencyTest:
        """Test whether a frame explains the measurement."""
        return self.batch.test(0, from_pixels(self.frames[place].pixels).to(self.batch.y.device))


class Studio:
    """Restores photographs with models that are loaded once each.

    Args:
        models: {name: function that loads it}.
    """

    def __init__(self, models: Mapping[str, Callable[[], Restorer]]):
        self.models = models
        self._loaded: dict[str, Restorer] = {}

    def restorer(self, model: str) -> Restorer:
        """Return a model, ready to restore."""
        if model not in self._loaded:
            self._loaded[model] = self.models[model]()
            self._loaded[model].denoiser.eval()
        return self._loaded[model]

    def takes_masks(self, model: str) -> bool:
        """Return True for a model that fills painted regions."""
        return guide_of(self.restorer(model)) == "mask"

    def takes_kernels(self, model: str) -> bool:
        """Return True for a model that removes the blur of any kernel."""
        return guide_of(self.restorer(model)) == "kernel"

    @torch.no_grad()
    def restore(
        self,
        model: str,
        path: Path,
        degrade: bool,
        longest: int,
        sigma: float | Literal["auto"] | None = None,
        painted: Tensor | None = None,
        kernel: str | None = None,
        advance: Callable[[float], None] = lambda fraction: None,
    ) -> Restored:
        """Restore a photograph.

        Args:
            model: name of the model.
            path: of the photograph.
            degrade: the photograph is clean and is degraded first.
            longest: side in pixels, to which larger photographs are shrunk.
            sigma: noise level of a degraded photograph, see `RestoreOptions`.
            painted: region to fill, bool (H, W) of any size; for models that take masks.
            kernel: text that describes the blur; for models that take kernels.
            advance: called with the fraction of network calls that are done.

        Raises:
            UserError: if the photograph cannot be used.
        """
        restorer, photograph = self.restorer(model), read(path, longest)
        mask = mask_of(painted, photograph.image) if painted is not None and self.takes_masks(model) else None
        if self.takes_masks(model) and mask is None and not degrade:
            raise UserError("Paint the region to fill first.")
        degrade = degrade and mask is None
        blur = kernel_of(kernel, photograph.image) if self.takes_kernels(model) and not degrade else None
        source = SourceImage(photograph.name, photograph.image, photograph.grey, photograph.step, mask, blur)
        batch = prepare(restorer, [source], RestoreOptions(degrade=degrade, sigma=None if degrade else sigma))
        frames = sample_frames(batch.restorer, batch.y[0], photograph.name, source.grey and not degrade, advance)
        restored = Restored(photograph, batch, frames, [])
        restored.notes.extend(_notes(restored))
        return restored

    def describe(self, restored: Restored, place: int) -> str:
        """Describe a frame, in sentences."""
        batch, text = restored.batch, f"{restored.frames[place]}."
        if batch.images[0].mask is not None:
            return f"{text} The painted region is filled; all other pixels are unchanged."
        if batch.options.degrade:
            reference = batch.restorer.reference(restored.photograph.image.unsqueeze(0), batch.y.cpu())
            images = batch.y.cpu(), from_pixels(restored.frames[place].pixels).unsqueeze(0)
            before, after = (PSNR()(image, reference).item() for image in images)
            text += f" PSNR {after:.2f} dB; of the degraded photograph {before:.2f} dB."
        test = restored.test(place)
        return (
            f"{text} {'Consistent' if test.certificate.consistent else 'Not consistent'} with the degraded photograph: "
            f"the residual is {test.certificate.ratio:.3g} of its noise (standard deviation {test.noise.sigma:.3g})."
        )

    @torch.no_grad()
    def samples(self, restored: Restored, count: int) -> tuple[Tensor, list[Tensor]]:
        """Draw several samples with noise.

        Returns:
            A map of their standard deviation, uint8 (3, H, W), and the samples, uint8 (3, H, W) each.

        Raises:
            UserError: if the model's sampler cannot add noise.
        """
        batch, restorer = restored.batch, restored.batch.restorer
        try:
            noisy = restorer.replace(sampler=restorer.sampler.replace(stochasticity=1.0))
        except ValueError as error:
            raise UserError(f"This model's sampler draws no samples ({error}).") from None
        samples = noisy.sample(batch.y, count, "t=0", names=[restored.photograph.name]).images
        if restored.grey:
            samples = samples.mean(2, keepdim=True).expand_as(samples)
        samples = batch.finish(samples)
        heat = torch.from_numpy(heat_map(Spread(samples).std[0].mean(0).cpu())).permute(2, 0, 1)
        return heat, [to_pixels(sample[0]).cpu() for sample in samples]


def _notes(restored: Restored) -> list[str]:
    """Tell the user what limits the results."""
    batch, photograph = restored.batch, restored.photograph
    restorer, notes = batch.restorer, []
    if ends(restorer.stops)[1] not in restorer.stops.values():
        notes.append("The slider ends at t = 0: this model has no perception-optimised stopping time.")
    if photograph.shrunk:
        (height, width), (rows, columns) = photograph.size, photograph.image.shape[-2:]
        notes.append(f"Shrunk from {width} x {height} to {columns} x {rows} pixels, and its degradation with it.")
    if batch.options.degrade or batch.images[0].mask is not None:
        return notes
    test = restored.test(0)
    concern = concern_of(restorer, test.noise, test.hidden)
    if concern == "hidden":
        notes.append("Its centre is not masked, as this model expects. If the photograph is clean, let it be degraded.")
    elif concern is not None:
        more = "more" if concern == "noisier" else "less"
        notes.append(
            f"Its noise is about {test.noise.estimated:.2g}, {more} than the {test.noise.model:.2g} that this model "
            "was trained for."
        )
    if photograph.lossy:
        notes.append("Its format is lossy, which changes its noise: the consistency test is a hint only.")
    return notes
