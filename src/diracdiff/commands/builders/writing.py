"""Options of `restore` from its configuration."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from diracdiff.apps import GUIDES, RestoreOptions
from diracdiff.commands.builders.build import made
from diracdiff.data.companions import Companions
from diracdiff.data.inputs import SUFFIXES, Form
from diracdiff.degradations.kernels import WORDS, in_words, told
from diracdiff.evaluation.uncertainty import Interval, Sampling
from diracdiff.restorer import Restorer

DEPTHS = {"auto": None, 8: 8, 16: 16}


def build_form(cfg: DictConfig) -> Form:
    """Build the format and depth of results from `format` and `depth`.

    Raises:
        ValueError: if one is unknown, or they contradict one another.
    """
    if cfg.format not in ("auto", *SUFFIXES):
        raise ValueError(f"format must be one of auto, {', '.join(SUFFIXES)}, got {cfg.format}")
    if isinstance(cfg.depth, bool) or cfg.depth not in DEPTHS:
        raise ValueError(f"depth must be one of auto, 8, 16, in bits of a value, got {cfg.depth}")
    if cfg.format == "jpg" and cfg.depth == 16:
        raise ValueError("depth=16 is more than a JPEG holds: give format=png or tiff")
    return Form(cfg.format, DEPTHS[cfg.depth])


def build_options(cfg: DictConfig, restorer: Restorer) -> RestoreOptions:
    """Build the options of a restoration.

    Raises:
        ValueError: if a value breaks its rule.
    """
    sigma: Any = cfg.sigma
    if sigma not in (None, "auto") and (type(sigma) not in (int, float) or not 0 < sigma <= 1):
        raise ValueError(f"sigma must be null (the model's), auto or a number above 0 and at most 1, got {sigma}")
    interval = None
    if cfg.samples > 1:
        sampling = Sampling.of(restorer.sampler, cfg.samples, restorer.stop_for(cfg.target))
        try:
            interval = Interval.of(restorer.calibrations, sampling, cfg.level)
        except ValueError as error:
            raise ValueError(str(error)) from error
    return RestoreOptions(cfg.target, cfg.samples, interval, cfg.degrade, sigma)


def build_companions(cfg: DictConfig) -> Companions | None:
    """Build masks from `mask`, or kernels from `kernel`, a file, a folder or text; None without either.

    Raises:
        ValueError: if there is nothing of that name, both are given, or a text does not describe a kernel.
    """
    given = {key: cfg[key] for key in GUIDES if cfg[key] is not None}
    if len(given) > 1:
        raise ValueError("mask and kernel belong to different models: give one of both")
    for key, value in given.items():
        path = Path(str(value)).expanduser()
        if path.exists():
            return Companions(key, path)
        if key == "kernel" and in_words(str(value)):
            return Companions(key, path, made("kernel", told, str(value)))
        words = f", or {WORDS}" if key == "kernel" else ""
        raise ValueError(f"{key}={value} does not exist: give an image, a folder with one for each input{words}")
    return None
