"""How sure the walk is of the images of a page: the spread of several samples at every time."""

from contextlib import suppress

import torch
from torch import Tensor

from diracdiff.checkpoints import to_recipe
from diracdiff.evaluation import Evaluation
from diracdiff.evaluation.calibration import LEVELS, Interval
from diracdiff.evaluation.pictures import HEAT_MAP_TOP
from diracdiff.evaluation.uncertainty import Spread
from diracdiff.restorer import Restorer
from diracdiff.samplers import OUTPUTS, ImageNoise
from diracdiff.utils.errors import UserError
from diracdiff.utils.pixels import from_pixels, to_pixels
from diracdiff.utils.seeds import image_seed


def check_samples(restorer: Restorer, count: int) -> None:
    """Refuse several samples of a walk that adds no noise.

    Raises:
        UserError: naming the remedy.
    """
    if count > 1 and not restorer.sampler.adds_noise(restorer.process):
        raise UserError(
            f"samples={count} of one measurement would all be the same, because the sampler adds no noise: use "
            "sampler.stochasticity=1, or samples=1"
        )


@torch.no_grad()
def add_uncertainty(evaluation: Evaluation, restorer: Restorer, count: int, device: torch.device | str) -> None:
    """Walk several times from the measurements of the gallery's images, side by side, and keep the spread at each time.

    The first walk is that of the gallery. Nothing is done for a single one.

    Args:
        evaluation: that was finished; its `uncertainty` is set.
        restorer: that was evaluated.
        count: of samples.
        device: where to walk.
    """
    if count < 2 or not evaluation.shown:
        return
    restorer.to(device)
    restorer.denoiser.eval()
    clean, names = from_pixels(evaluation.gallery["clean"]).to(device), evaluation.shown
    seeds = [image_seed(restorer.seed, name) for name in names]
    with restorer.process.of_images(seeds, clean):
        measured = restorer.measure(clean, names)
        others = [
            ImageNoise([image_seed(restorer.seed, f"{name}/sample{k}") for name in names], clean.device)
            for k in range(1, count)
        ]
        walks = [
            restorer.sampler.states(restorer.process, restorer.denoiser, measured.y, noise)
            for noise in (measured.noise, *others)
        ]
        evaluation.samples = count
        for states in zip(*walks, strict=True):
            for output in OUTPUTS if states[0].fresh else OUTPUTS[1:]:
                spread = Spread(torch.stack([state.image(output) for state in states]))
                evaluation.uncertainty[round(states[0].t, 9), output] = grey_map(spread.std)


def grey_map(std: Tensor) -> Tensor:
    """A map of standard deviations, (B, C, H, W), as grey levels, uint8 (B, H, W): white is HEAT_MAP_TOP and above."""
    return to_pixels(std.mean(1) / HEAT_MAP_TOP).cpu()


def intervals(restorer: Restorer, count: int) -> list[dict[str, float | int | str]]:
    """What is calibrated of so many samples of this sampler: a row for each stop and level.

    Each has t, output, level, factor (half of an interval's length in standard deviations) and images, the number of
    images that it was calibrated on.
    """
    rows: list[dict[str, float | int | str]] = []
    for found in restorer.calibrations:
        stop, known = found.walked.stop, (found.walked.samples, found.walked.sampler)
        if known != (count, to_recipe(restorer.sampler)) or "t" not in stop:  # a blend has two
            continue
        for level in LEVELS:
            with suppress(ValueError):  # too few images for this level
                interval = Interval.of([found], found.walked, level)
                rows.append({**stop, "level": level, "factor": interval.factor, "images": interval.images})
    return rows
