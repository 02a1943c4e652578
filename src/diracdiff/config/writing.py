"""What `restore` asks of images and their files."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from diracdiff.checks import check_boolean, check_number
from diracdiff.config.build import made
from diracdiff.data.inputs import Form
from diracdiff.data.masks import Masks
from diracdiff.errors import UserError
from diracdiff.evaluation.calibration import Interval, Walked
from diracdiff.restoration import Asked
from diracdiff.restoration.asked import AUTO
from diracdiff.restoration.holes import check_masks
from diracdiff.restorer import Restorer
from diracdiff.storage.pictures import SUFFIXES

DEPTHS = {"auto": None, 8: 8, 16: 16}


def build_form(cfg: DictConfig) -> Form:
    """In what form results are written: `format` and `depth`.

    Raises:
        UserError: if one is unknown, or they contradict one another.
    """
    if cfg.format not in ("auto", *SUFFIXES):
        raise UserError(f"format must be one of auto, {', '.join(SUFFIXES)}, got {cfg.format}")
    if isinstance(cfg.depth, bool) or cfg.depth not in DEPTHS:
        raise UserError(f"depth must be one of auto, 8, 16, in bits of a value, got {cfg.depth}")
    if cfg.format == "jpg" and cfg.depth == 16:
        raise UserError("depth=16 is more than a JPEG holds: give format=png or tiff")
    return Form(cfg.format, DEPTHS[cfg.depth])


def build_asked(cfg: DictConfig, restorer: Restorer) -> Asked:
    """How images are restored, and what is written of each.

    Raises:
        UserError: if a value breaks its rule.
    """
    check_boolean("residual_map", cfg.residual_map)
    sigma: Any = cfg.sigma
    if sigma is not None and sigma != AUTO:
        if isinstance(sigma, str | bool):
            raise UserError(f"sigma must be null (the model's), auto or a number in the [0, 1] range, got {sigma}")
        check_number("sigma", sigma, 0.0, 1.0, float)
    masks = build_masks(cfg)
    check_masks(restorer, masks is not None, cfg.degrade)
    interval = None
    if cfg.samples > 1:
        walked = Walked.of(restorer.sampler, cfg.samples, restorer.stop_for(cfg.target))
        interval = made("level", Interval.of, restorer.calibrations, walked, cfg.level)
    return Asked(cfg.target, cfg.samples, interval, cfg.degrade, sigma, cfg.residual_map, masks)


def build_masks(cfg: DictConfig) -> Masks | None:
    """The masks of `mask`, or None.

    Raises:
        UserError: if there is nothing of that name.
    """
    if cfg.mask is None:
        return None
    path = Path(str(cfg.mask)).expanduser()
    if not path.exists():
        raise UserError(f"mask={cfg.mask} does not exist: give an image, white where the hole is, or a folder of them")
    return Masks(path)
