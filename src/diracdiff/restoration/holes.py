"""Holes that are told by masks, for models that are trained for holes of any shape."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from diracdiff.degradations import FreeformInpainting
from diracdiff.errors import UserError
from diracdiff.restorer import Restorer
from diracdiff.samplers import ImageNoise
from diracdiff.seeds import image_seed


def check_masks(restorer: Restorer, given: bool, degrade: bool) -> None:
    """Refuse masks for a model of one hole, and a model of all holes without masks.

    Raises:
        UserError: naming the remedy.
    """
    freeform = isinstance(restorer.process.degradation, FreeformInpainting)
    if given and not freeform:
        raise UserError(
            f"a model of task={restorer.name} knows no masks: leave mask out, or take one of task=inpaint_freeform"
        )
    if freeform and not given and not degrade:
        raise UserError(f"a model of task={restorer.name} needs each image's hole: add mask=FILE, white where it is")


def operators(
    restorer: Restorer, names: Sequence[str], like: Tensor, holes: Sequence[Tensor] | Tensor = ()
) -> AbstractContextManager[None]:
    """Let images, (B, C, H, W), have these holes, bool (H, W) each, or if there are none those of their names."""
    degradation = restorer.process.degradation
    if len(holes) and isinstance(degradation, FreeformInpainting):
        return degradation.of(degradation.holes(torch.stack(list(holes))))
    return degradation.of(degradation.draw([image_seed(restorer.seed, name) for name in names], like))


def emptied(restorer: Restorer, images: Tensor, holes: Tensor, names: Sequence[str]) -> Tensor:
    """Images, (B, C, H, W), as measurements whose holes, bool (B, H, W), have noise alone, whatever they had."""
    noise = ImageNoise([image_seed(restorer.seed, name) for name in names], images.device)
    sigma = restorer.process.sigma_of_measurement(images, restorer.sampler.start)
    return torch.where(holes.unsqueeze(1), sigma * noise.normal(images.shape[1:], images.dtype), images)
