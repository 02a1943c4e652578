"""A walk whose pictures are kept, so that another stop needs no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diracdiff.errors import UserError
from diracdiff.evaluation.certificate import Certificate, certify, standardised
from diracdiff.evaluation.results import results
from diracdiff.evaluation.stops import Stop, reached
from diracdiff.pixels import from_pixels, to_pixels
from diracdiff.restoration.own import inner
from diracdiff.restorer import Restorer
from diracdiff.samplers import ImageNoise
from diracdiff.samplers.sampler import TOLERANCE
from diracdiff.seeds import image_seed

MEANING = {"mean": "Denoised image", "iterate": "Iterate"}


@dataclass(frozen=True)
class Frame:
    """What stopping at one time gives.

    Attributes:
        t: the time.
        output: "mean" or "iterate".
        nfe: network calls that it takes.
        pixels: uint8 (3, H, W).
    """

    t: float
    output: str
    nfe: int
    pixels: Tensor

    def only(self, within: Tensor, pixels: Tensor) -> Frame:
        """The same within a hole, bool (H, W), and other pixels, uint8 (3, H, W), elsewhere."""
        return replace(self, pixels=torch.where(within, self.pixels, pixels))

    def __str__(self) -> str:
        calls = f"{self.nfe} network call{'s' * (self.nfe != 1)}"
        return f"{MEANING[self.output]} at t = {self.t:.2f}, {calls}"


@dataclass(frozen=True)
class Walked:
    """One photograph's walk, from its most faithful picture to its best-looking one.

    Attributes:
        measurement: y, float32 (3, H, W).
        clean: the photograph before it was measured, float32 (3, H, W), or None.
        frames: in the order of the walk.
        grey: whether the three channels of all pictures are one.
        sigma: noise level that residuals are measured in.
        step: between two values of the measurement's file; 0: it was not rounded.
        seed: of the residuals that are drawn for clipped values.
        margin: pixels at each border of measurement and frames that are not the photograph's.
    """

    measurement: Tensor
    clean: Tensor | None
    frames: list[Frame]
    grey: bool
    sigma: float
    step: float
    seed: int
    margin: int = 0

    @property
    def measured(self) -> Tensor:
        """The measurement without its margin, (3, H, W)."""
        return inner(self.measurement, self.margin)

    def picture(self, place: int) -> Tensor:
        """A frame without its margin, uint8 (3, H, W)."""
        return inner(self.frames[place].pixels, self.margin)

    def certificate(self, restorer: Restorer, place: int) -> Certificate:
        """Whether a frame explains the measurement, up to its rounding to 8 bits."""
        y = self.measured[:1] if self.grey else self.measured
        x_hat = from_pixels(self.frames[place].pixels).unsqueeze(0).to(y.device)
        mean = inner(restorer.process.mean(x_hat, restorer.sampler.start)[0, : len(y)], self.margin)
        clipped = ((y <= 0) | (y >= 1)).float().mean().item() if self.step else 0.0
        return certify(standardised(y, mean, self.sigma, self.step, self.seed), clipped)


def ends(stops: Mapping[str, Stop | None]) -> tuple[Stop, Stop]:
    """Where the slider begins and ends.

    It begins at the faithful stop, or at the start of the walk where that is not known, and ends at the good-looking
    one that lies behind it, LPIPS' or else SWD's, or at the end of the walk.
    """
    begin = stops.get("psnr") or Stop(1.0)
    later = [stop for target in ("lpips", "swd") if (stop := stops.get(target)) and stop.t < begin.t - TOLERANCE]
    return begin, later[0] if later else Stop(0.0, "iterate")


@torch.no_grad()
def walk(
    restorer: Restorer, y: Tensor, name: str, grey: bool = False, advance: Callable[[float], None] = lambda share: None
) -> list[Frame]:
    """Walk from a measurement and keep what a user may stop at.

    These are the images between the faithful and the good-looking stop of the restorer, see `ends`: x_hat on the way,
    and at both ends what the stop takes there.

    Args:
        restorer: in evaluation mode.
        y: a measurement, (3, H, W).
        name: of the photograph, which the noise follows from.
        grey: make its channels one.
        advance: is told the share of the walk that is done.

    Raises:
        UserError: if a result is not a number at every pixel.
    """
    y = y.unsqueeze(0).to(restorer.device)
    denoiser, sampler = restorer.tiles.applied(restorer.denoiser, restorer.sampler, y)
    begin, end = ends(restorer.stops)
    times = sampler.times(min(begin.t, end.t))
    noise = ImageNoise([image_seed(restorer.seed, name)], y.device)
    found: dict[Stop, Frame] = {}
    for result in results(sampler.states(restorer.process, denoiser, y, noise, times[-1]), y):
        if not result.images.isfinite().all():
            raise UserError("the result is not a number at every pixel: take another model")
        stop = Stop(round(result.t, 9), result.output)
        image = result.images.mean(1, keepdim=True).expand_as(y) if grey else result.images
        found[stop] = Frame(result.t, result.output, result.nfe, to_pixels(image[0]).cpu())
        advance((1 + sum(t >= result.t for t in times)) / (1 + len(times)))
    first, last = reached([begin], times)[0], reached([end], times)[0]
    between = [s for s in found if s.output == "mean" and last.t + TOLERANCE < s.t < first.t - TOLERANCE]
    kept = [first, *sorted(between, key=lambda s: -s.t), last]
    return [found[stop] for stop in dict.fromkeys(kept) if stop in found]
