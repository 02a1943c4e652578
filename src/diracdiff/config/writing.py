"""What `restore` asks of images and their files."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from diracdiff.checks import check_boolean, check_number
from diracdiff.config.build import made
from diracdiff.data.companions import Companions, OneKernel
from diracdiff.data.inputs import Form
from diracdiff.degradations.kernels import WORDS, in_words, told
from diracdiff.errors import UserError
from diracdiff.evaluation.calibration import Interval, Walked
from diracdiff.restoration import Asked
from diracdiff.restoration.asked import AUTO
from diracdiff.restoration.own import TOLD, check_told
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
    told = build_told(cfg)
    check_told(restorer, told, cfg.degrade)
    interval = None
    if cfg.samples > 1:
        walked = Walked.of(restorer.sampler, cfg.samples, restorer.stop_for(cfg.target))
        interval = made("level", Interval.of, restorer.calibrations, walked, cfg.level)
    return Asked(cfg.target, cfg.samples, interval, cfg.degrade, sigma, cfg.residual_map, told)


def build_told(cfg: DictConfig) -> Companions | None:
    """The files of `mask` or of `kernel`, a kernel in words, or None.

    Raises:
        UserError: if there is nothing of that name, or both are given, or words are not those of a kernel.
    """
    given = {key: cfg[key] for key in TOLD if cfg[key] is not None}
    if len(given) > 1:
        raise UserError("mask and kernel belong to different models: give one of both")
    for key, value in given.items():
        path = Path(str(value)).expanduser()
        if not path.exists() and key == "kernel" and in_words(str(value)):
            return OneKernel(path, made("kernel", told, str(value)))
        if not path.exists():
            words = f", or {WORDS}" if key == "kernel" else ""
            raise UserError(f"{key}={value} does not exist: give an image, a folder with one for each input{words}")
        return TOLD[key][0](path)
    return None
