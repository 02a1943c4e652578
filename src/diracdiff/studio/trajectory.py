"""The images of one trajectory between its accurate and its sharp end: a slider over them calls no network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diracdiff.evaluation.results import results
from diracdiff.evaluation.stopping import StoppingPoint, on_grid
from diracdiff.restorer import Restorer
from diracdiff.samplers import ImageNoise
from diracdiff.samplers.increment import TOLERANCE
from diracdiff.utils.errors import UserError
from diracdiff.utils.pixels import to_pixels
from diracdiff.utils.seeds import image_seed

NAMES = {"mean": "Denoised image", "iterate": "Iterate"}


@dataclass(frozen=True)
class Frame:
    """The image at one stopping time.

    Attributes:
        t: the time.
        output: "mean" or "iterate".
        nfe: number of network calls up to it.
        pixels: uint8 (3, H, W), as sampled.
    """

    t: float
    output: str
    nfe: int
    pixels: Tensor

    def __str__(self) -> str:
        calls = f"{self.nfe} network call{'s' * (self.nfe != 1)}"
        return f"{NAMES[self.output]} at t = {self.t:.2f}, {calls}"


def ends(stops: Mapping[str, StoppingPoint | None]) -> tuple[StoppingPoint, StoppingPoint]:
    """Return the accurate and the sharp end.

    The accurate one is the distortion-optimised stopping time, or else t = 1. The sharp one is the next later
    perception-optimised stopping time, of LPIPS or else of SWD, or else t = 0.
    """
    begin = stops.get("psnr") or StoppingPoint(1.0)
    later = [stop for target in ("lpips", "swd") if (stop := stops.get(target)) and stop.t < begin.t - TOLERANCE]
    return begin, later[0] if later else StoppingPoint(0.0, "iterate")


@torch.no_grad()
def sample_frames(
    restorer: Restorer,
    y: Tensor,
    name: str,
    grey: bool = False,
    advance: Callable[[float], None] = lambda fraction: None,
) -> list[Frame]:
    """Sample from a measurement and keep the images between both ends, see `ends`: x_hat, and the ends' own outputs.

    Args:
        restorer: in evaluation mode.
        y: a measurement, (3, H, W).
        name: of the photograph, from which the noise follows.
        grey: average the channels.
        advance: called with the fraction of network calls that are done.

    Raises:
        UserError: if a result is not a number at every pixel.
    """
    y = y.unsqueeze(0).to(restorer.device)
    denoiser, sampler = restorer.tiles.applied(restorer.denoiser, restorer.sampler, y)
    begin, end = ends(restorer.stops)
    times = sampler.times(min(begin.t, end.t))
    noise = ImageNoise([image_seed(restorer.seed, name)], y.device)
    found: dict[StoppingPoint, Frame] = {}
    for result in results(sampler.states(restorer.process, denoiser, y, noise, times[-1]), y):
        if not result.images.isfinite().all():
            raise UserError("The result is not a number at every pixel: use another model.")
        stop = StoppingPoint(round(result.t, 9), result.output)
        image = result.images.mean(1, keepdim=True).expand_as(y) if grey else result.images
        found[stop] = Frame(result.t, result.output, result.nfe, to_pixels(image[0]).cpu())
        advance((1 + sum(t >= result.t for t in times)) / (1 + len(times)))
    first, last = on_grid([begin], times)[0], on_grid([end], times)[0]
    between = [s for s in found if s.output == "mean" and last.t + TOLERANCE < s.t < first.t - TOLERANCE]
    kept = [first, *sorted(between, key=lambda s: -s.t), last]
    return [found[stop] for stop in dict.fromkeys(kept) if stop in found]
