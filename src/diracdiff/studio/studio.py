"""What a page's buttons do, without the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from diracdiff.degradations import FreeformInpainting, KernelBlur
from diracdiff.errors import UserError
from diracdiff.evaluation.pictures import heat_map
from diracdiff.evaluation.plausibility import estimate_sigma, is_hidden
from diracdiff.evaluation.psnr import PSNR
from diracdiff.evaluation.uncertainty import Spread
from diracdiff.pixels import from_pixels, to_pixels
from diracdiff.restoration.own import Told, inner
from diracdiff.restoration.testing import FAR
from diracdiff.restorer import Restorer
from diracdiff.seeds import image_seed
from diracdiff.studio.own import hole_of, kernel_of
from diracdiff.studio.photograph import Photograph, read
from diracdiff.studio.walked import Walked, ends, walk

Noise = float | Literal["model", "auto"]
"""Of a file: a standard deviation in the [0, 1] range, the model's, or estimated."""


def silent(share: float) -> None:
    """Tell nobody of progress."""


@dataclass(frozen=True)
class Restored:
    """A photograph that was walked from.

    Attributes:
        model: name of the model.
        photograph: as it was read.
        walked: its walk.
        notes: what the user should know of it.
        own: what its operator has of its own.
        hole: bool (H, W), where one was painted: all else then stays as it is.
    """

    model: str
    photograph: Photograph
    walked: Walked
    notes: list[str]
    own: Tensor | None = None
    hole: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        kept = [self.photograph.image, self.walked.measurement, *(frame.pixels for frame in self.walked.frames)]
        return sum(each.nbytes for each in [*kept, self.walked.clean, self.own, self.hole] if each is not None)


class Studio:
    """Restores photographs with models that are loaded once each.

    Args:
        models: {name: how it is loaded}.
    """

    def __init__(self, models: Mapping[str, Callable[[], Restorer]]):
        self.models = models
        self._loaded: dict[str, Restorer] = {}

    def restorer(self, model: str) -> Restorer:
        """A model, ready to restore."""
        if model not in self._loaded:
            self._loaded[model] = self.models[model]()
            self._loaded[model].denoiser.eval()
        return self._loaded[model]

    @torch.no_grad()
    def restore(
        self,
        model: str,
        path: Path,
        degrade: bool,
        longest: int,
        noise: Noise = "model",
        hole: Tensor | None = None,
        kernel: str | None = None,
        advance: Callable[[float], None] = silent,
    ) -> Restored:
        """Walk from a photograph, and keep all that the walk may stop at.

        Args:
            model: name of the model.
            path: of the photograph.
            degrade: measure it first: it is clean.
            longest: side in pixels that it is worked with.
            noise: of the file, that the results are tested with; a photograph that is measured has the model's.
            hole: bool, (H, W) of any size: what a model of holes of any shape is to fill; the rest stays as it is.
            kernel: in words, see `diracdiff.degradations.kernels.told`: what a model of any kernel is to undo.
            advance: is told the share of the walk that is done.

        Raises:
            UserError: if the photograph cannot be used.
        """
        restorer, photograph = self.restorer(model), read(path, longest)
        x = photograph.image.to(restorer.device)
        painted = hole_of(hole, x) if hole is not None and self.takes_holes(model) else None
        if self.takes_holes(model) and painted is None and not degrade:
            raise UserError("Paint the hole first.")
        degrade = degrade and painted is None
        files = [] if painted is None else [painted]
        if self.takes_kernels(model) and not degrade:
            files = [kernel_of(kernel, x)]
        own = Told.of(restorer, [photograph.name], x.unsqueeze(0), files)
        y, grey, step, margin = x.unsqueeze(0), photograph.grey and not degrade, photograph.step, 0
        with restorer.process.degradation.of(own.own):
            measured = [f"measurement/{photograph.name}"]
            if degrade:
                y, step = restorer.measure(y, measured).y, 0.0
            else:
                y, margin = own.prepared(restorer, y, measured)
            y = y[0]
            known = restorer.process.sigma_of_measurement(y.unsqueeze(0), restorer.sampler.start).max().item()
            estimated = estimate_sigma(inner(y[:1] if grey else y, margin), step)
            sigma = known if degrade or noise == "model" else estimated if noise == "auto" else noise
            if sigma is None:
                raise UserError(f"{photograph.name} is too small to tell its noise: give it as a number")
            frames = walk(restorer, y, photograph.name, grey, advance)
            if painted is not None:
                frames = [frame.only(painted.cpu(), to_pixels(x).cpu()) for frame in frames]
            seed = image_seed(restorer.seed, f"certificate/{photograph.name}")
            walked = Walked(y, x.cpu() if degrade else None, frames, grey, max(sigma, 1e-6), step, seed, margin)
            notes = _notes(restorer, photograph, walked, known, estimated, degrade, painted is not None)
        return Restored(model, photograph, walked, notes, own.own, painted)

    def takes_holes(self, model: str) -> bool:
        """Whether a model fills holes of any shape."""
        return isinstance(self.restorer(model).process.degradation, FreeformInpainting)

    def takes_kernels(self, model: str) -> bool:
        """Whether a model undoes any blur that it is told."""
        return isinstance(self.restorer(model).process.degradation, KernelBlur)

    def told(self, restored: Restored, place: int) -> str:
        """What is to be said of a frame, in sentences."""
        walked, restorer = restored.walked, self.restorer(restored.model)
        said = [f"{walked.frames[place]}."]
        if restored.hole is not None:
            return f"{said[0]} The hole is filled, and nothing else is changed."
        if walked.clean is not None:
            clean, y = walked.clean.unsqueeze(0), walked.measurement.unsqueeze(0).cpu()
            reference, images = restorer.reference(clean, y), (y, from_pixels(walked.frames[place].pixels).unsqueeze(0))
            before, after = (PSNR()(image, reference).item() for image in images)
            said.append(f"PSNR {after:.2f} dB; of the degraded photograph {before:.2f} dB.")
        with restorer.process.degradation.of(restored.own):
            found = walked.certificate(restorer, place)
        said.append(
            f"{'Consistent' if found.consistent else 'Not consistent'} with the degraded photograph: what is left of "
            f"it is {found.ratio:.3g} of its noise (standard deviation {walked.sigma:.3g})."
        )
        return " ".join(said)

    @torch.no_grad()
    def samples(self, restored: Restored, count: int) -> tuple[Tensor, list[Tensor]]:
        """How sure the restoration is: several samples of the whole walk with noise.

        Returns:
            A heat map of their standard deviation, uint8 (3, H, W), and the samples, uint8 (3, H, W) each.

        Raises:
            UserError: if the model's sampler cannot add noise.
        """
        restorer, walked = self.restorer(restored.model), restored.walked
        before = restorer.sampler
        try:
            restorer.sampler = before.replace(stochasticity=1.0)
        except ValueError as error:
            raise UserError(f"this model's sampler draws no samples ({error})") from None
        try:
            y = walked.measurement.unsqueeze(0)
            with restorer.process.degradation.of(restored.own):
                samples = restorer.samples(y, count, "t=0", names=[restored.photograph.name])
        finally:
            restorer.sampler = before
        if walked.grey:
            samples = samples.mean(2, keepdim=True).expand_as(samples)
        samples = inner(samples, walked.margin)
        if restored.hole is not None:
            samples = torch.where(restored.hole, samples, restored.photograph.image.to(samples.device))
        heat = torch.from_numpy(heat_map(Spread(samples).std[0].mean(0).cpu())).permute(2, 0, 1)
        return heat, [to_pixels(sample[0]).cpu() for sample in samples]


def _notes(
    restorer: Restorer,
    photograph: Photograph,
    walked: Walked,
    known: float,
    estimated: float | None,
    degrade: bool,
    filled: bool,
) -> list[str]:
    """What the user should know of a photograph before its results are believed."""
    notes = []
    if ends(restorer.stops)[1] not in restorer.stops.values():
        notes.append(
            "The slider goes to the end of the walk: this model knows no good-looking stop after the faithful one."
        )
    if photograph.shrunk:
        (height, width), (rows, columns) = photograph.size, photograph.image.shape[-2:]
        notes.append(f"Shrunk from {width} x {height} to {columns} x {rows} pixels, and so is what degraded it.")
    if degrade or filled:
        return notes
    if is_hidden(walked.measured, restorer.process, restorer.sampler.start) is False:
        notes.append("Its centre is not hidden, as this model expects: if the photograph is clean, let it be degraded.")
    elif estimated is not None and not known / FAR <= estimated <= FAR * known:
        more = "more" if estimated > known else "less"
        notes.append(
            f"Its noise is about {estimated:.2g}, {more} than the {known:.2g} that this model was trained for."
        )
    if photograph.lossy:
        notes.append("It was compressed with losses, which changes its noise: whether results agree is a hint only.")
    return notes
