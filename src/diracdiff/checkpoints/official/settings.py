"""What else their file says: architecture, operator, noise, what the network is told, and the loss.

Their Gaussian hole is centred on pixel 128 of 256, not between pixels 127 and 128, and so it is here.
"""

import functools
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from diracdiff.checkpoints.official.network import ARCHITECTURES
from diracdiff.degradations import Degradation, GaussianBlur, GaussianInpainting, LinearSeverity, TabulatedSeverity
from diracdiff.degradations.base import Severity
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.utils.errors import UserError

_MASK = {"type": "inpainting", "mask_type": "gaussian", "scheduling": "linear", "mask_min_std": 0.1, "mask_pow": 4}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "gaussian_blur": {"type": "gaussian_blur", "scheduling": "from_file", "schedule_path": "blur_schedule.txt"},
    "inpainting_gaussian": _MASK | {"mask_max_std": 50},
    "inpainting_gaussian_imagenet": _MASK | {"mask_max_std": 30},
}
"""The operators of their published `experiment_config_file`s, whose name is all that a checkpoint keeps."""

EXPERIMENT_KEYS = ("experiment_config_file", "operator_config")
EXPERIMENT_NOISE = {"sigma_min": 0.01, "sigma_max": 0.05}
LEAST_BLUR = 0.3  # px; where their linear blur starts
OPERATORS: dict[str, Callable[[Severity, int], Degradation]] = {
    "deblur": GaussianBlur,
    "inpaint": functools.partial(GaussianInpainting, centre=0.0),
}
REMEDIES = {
    "operator": "deblur or inpaint",
    "severity": "published_blur, or [start,end] in px at 256 px",
    "sigma_min": "in units of the [0, 1] range (published: 0.01)",
    "sigma_max": "in units of the [0, 1] range (published: 0.05)",
}
CONDITIONING = {"noise": "sigma", "time": "time"}
LOOK_AHEAD = {"weighted_mse_loss": 0.0, "weighted_mse_x_loss": 1.0}


def hyper_parameters(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Their constructor's arguments, as a dictionary."""
    return _mapping(checkpoint.get("hyper_parameters"))


def _mapping(value: Any) -> dict[str, Any]:
    """A dictionary or namespace as a dictionary; anything else says nothing."""
    if isinstance(value, Namespace):
        return vars(value)
    return dict(value) if isinstance(value, Mapping) else {}


def architecture(hyper: Mapping[str, Any]) -> str:
    """The name of their architecture; theirs is "base" where nothing is said.

    Raises:
        UserError: if it is not one of `ARCHITECTURES`.
    """
    name: str = hyper.get("model_arch", "base")
    if name not in list(ARCHITECTURES):
        raise UserError(f"the file's model_arch is {name!r}, must be one of {list(ARCHITECTURES)}")
    return name


def conditioning(hyper: Mapping[str, Any]) -> str:
    """What the network is told, in our word.

    Raises:
        UserError: if it is something else.
    """
    told = hyper.get("model_conditioning", "noise")
    if told not in list(CONDITIONING):
        raise UserError(f"the file's model_conditioning is {told!r}, must be one of {list(CONDITIONING)}")
    return CONDITIONING[told]


def look_ahead(hyper: Mapping[str, Any]) -> float | None:
    """The look-ahead of the loss, or None where it cannot be read. Their `dt` is that of the incremental loss alone."""
    kind, dt = hyper.get("loss_type"), hyper.get("dt")
    if kind == "weighted_inc_recon_loss":
        return dt if isinstance(dt, float | int) and 0 <= dt <= 1 else None
    return LOOK_AHEAD.get(str(kind))


def settle(hyper: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The operator, its severity and the noise: {"operator", "severity", "sigma_min", "sigma_max"}.

    Args:
        hyper: their arguments.
        given: the same four from the user, who completes what the file does not say; None where not given.

    Raises:
        UserError: if the operator is not one of ours, a value is unknown, or a given one contradicts the file.
    """
    operator, noise = _configs(hyper)
    said = dict(zip(("operator", "severity"), _operator(operator), strict=True))
    said |= {key: noise.get(key) for key in ("sigma_min", "sigma_max")}
    for key, value in said.items():
        if value is not None and given[key] is not None and value != given[key]:
            raise UserError(f"{key}={given[key]} contradicts the file, which says {value}: leave {key} out")
        if value is None and given[key] is None:
            names = [str(hyper[name]) for name in EXPERIMENT_KEYS if isinstance(hyper.get(name), str | PurePath)]
            unknown = f" (its configuration {names[0]} is not a published one)" if names else ""
            raise UserError(f"the file does not say its {key}{unknown}: give {key}=…, {REMEDIES[key]}")
    return {key: given[key] if value is None else value for key, value in said.items()}


def _configs(hyper: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Operator and noise, from the name of a published experiment or in full; empty where unsaid."""
    for key in EXPERIMENT_KEYS:
        value = hyper.get(key)
        if isinstance(value, str | PurePath) and PurePath(value).stem in EXPERIMENTS:
            return EXPERIMENTS[PurePath(value).stem], EXPERIMENT_NOISE
    return _mapping(hyper.get("operator_config")), _mapping(hyper.get("noise_config"))


def _operator(config: Mapping[str, Any]) -> tuple[str | None, str | list[float] | None]:
    """Operator and severity of a configuration, None where unsaid."""
    kind, scheduling, mask = (config.get(key) for key in ("type", "scheduling", "mask_type"))
    if not config:
        return None, None
    if kind == "gaussian_blur" and scheduling == "linear":
        return "deblur", _range(LEAST_BLUR, config.get("max_std"))
    if kind == "gaussian_blur" and scheduling == "from_file":
        known = PurePath(str(config.get("schedule_path"))).stem == "blur_schedule"
        return "deblur", "published_blur" if known else None
    if kind == "inpainting" and mask == "gaussian" and scheduling == "linear" and config.get("mask_pow") == 4:
        return "inpaint", _range(config.get("mask_min_std"), config.get("mask_max_std"))
    described = ", ".join(
        f"{key}={config[key]}" for key in ("type", "mask_type", "mask_pow", "scheduling") if key in config
    )
    raise UserError(
        f"the file's operator ({described}) is not one of ours: Gaussian blur, linear or from_file, and linear "
        "Gaussian inpainting with mask_pow=4 can be imported"
    )


def _range(start: Any, end: Any) -> list[float] | None:
    return None if start is None or end is None else [start, end]


def build_process(settled: Mapping[str, Any], image_size: int) -> StochasticDegradation:
    """The stochastic degradation process of settled values, for images of a size.

    Raises:
        UserError: if a value breaks its rule.
    """
    operator, severity, low, high = (settled[key] for key in ("operator", "severity", "sigma_min", "sigma_max"))
    if operator not in list(OPERATORS):
        raise UserError(f"operator must be one of {list(OPERATORS)}, got {operator!r}")
    if isinstance(severity, str):
        curve = TabulatedSeverity.from_csv(severity)
    elif isinstance(severity, list) and len(severity) == 2 and all(isinstance(v, int | float) for v in severity):
        curve = _built("severity", LinearSeverity, *severity)
    else:
        raise UserError(f"severity must be {REMEDIES['severity']}, got {severity}")
    noise = _built("noise", GeometricNoise, low, high)
    return StochasticDegradation(OPERATORS[operator](curve, image_size), noise)


def _built(name: str, cls: type, *arguments: Any) -> Any:
    try:
        return cls(*arguments)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name}: {error}") from error
