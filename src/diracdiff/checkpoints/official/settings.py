"""Settings in released files: architecture, operator, noise, conditioning of the network, and loss.

Their Gaussian mask is centred on pixel 128 of 256, not between pixels 127 and 128, and so it is here.
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

_MASK = {"type": "inpainting", "mask_type": "gaussian", "scheduling": "linear", "mask_min_std": 0.1, "mask_pow": 4}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "gaussian_blur": {"type": "gaussian_blur", "scheduling": "from_file", "schedule_path": "blur_schedule.txt"},
    "inpainting_gaussian": _MASK | {"mask_max_std": 50},
    "inpainting_gaussian_imagenet": _MASK | {"mask_max_std": 30},
}
"""The operators of their published `experiment_config_file`s, whose name is all that a checkpoint keeps."""

EXPERIMENT_KEYS = ("experiment_config_file", "operator_config")
EXPERIMENT_NOISE = {"sigma_min": 0.01, "sigma_max": 0.05}
LEAST_BLUR = 0.3
"""Width at t = 0 of their linear blur, in px."""

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
    """Return the arguments of their constructor as a dictionary."""
    return _mapping(checkpoint.get("hyper_parameters"))


def _mapping(value: Any) -> dict[str, Any]:
    """Return a dictionary or namespace as a dictionary, and an empty one for anything else."""
    if isinstance(value, Namespace):
        return vars(value)
    return dict(value) if isinstance(value, Mapping) else {}


def find_architecture(hyper: Mapping[str, Any]) -> str:
    """Return the name of the architecture, "base" by default as in their code.

    Raises:
        ValueError: if it is not one of `ARCHITECTURES`.
    """
    return _one_of(ARCHITECTURES, "model_arch", hyper.get("model_arch", "base"))


def find_conditioning(hyper: Mapping[str, Any]) -> str:
    """Return the `conditioning` of the denoiser.

    Raises:
        ValueError: if it is unknown.
    """
    return CONDITIONING[_one_of(CONDITIONING, "model_conditioning", hyper.get("model_conditioning", "noise"))]


def _one_of(known: Mapping[str, Any], key: str, name: Any) -> str:
    if name not in list(known):
        raise ValueError(f"{key} is {name!r}, must be one of {list(known)}")
    return str(name)


def find_look_ahead(hyper: Mapping[str, Any]) -> float | None:
    """Return the look-ahead of the loss, None if unknown. Their `dt` belongs to the incremental loss alone."""
    kind, dt = hyper.get("loss_type"), hyper.get("dt")
    if kind == "weighted_inc_recon_loss":
        return dt if isinstance(dt, float | int) and 0 <= dt <= 1 else None
    return LOOK_AHEAD.get(str(kind))


def complete(hyper: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the operator, its severity and the noise: {"operator", "severity", "sigma_min", "sigma_max"}.

    Args:
        hyper: their arguments.
        given: the same four from the user, who completes what the file lacks; None where not given.

    Raises:
        ValueError: if the operator is unknown, a value is missing, or a given one contradicts the file.
    """
    operator, noise = _configs(hyper)
    found = dict(zip(("operator", "severity"), _operator(operator), strict=True))
    found |= {key: noise.get(key) for key in ("sigma_min", "sigma_max")}
    for key, value in found.items():
        if value is not None and given[key] is not None and value != given[key]:
            raise ValueError(f"{key}={given[key]} contradicts the file, where it is {value}: leave {key} out")
        if value is None and given[key] is None:
            names = [str(hyper[name]) for name in EXPERIMENT_KEYS if isinstance(hyper.get(name), str | PurePath)]
            unknown = f" (its configuration {names[0]} is not a published one)" if names else ""
            raise ValueError(f"the file lacks its {key}{unknown}: give {key}=…, {REMEDIES[key]}")
    return {key: given[key] if value is None else value for key, value in found.items()}


def _configs(hyper: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return operator and noise, from the name of a published experiment or in full; empty where missing."""
    for key in EXPERIMENT_KEYS:
        value = hyper.get(key)
        if isinstance(value, str | PurePath) and PurePath(value).stem in EXPERIMENTS:
            return EXPERIMENTS[PurePath(value).stem], EXPERIMENT_NOISE
    return _mapping(hyper.get("operator_config")), _mapping(hyper.get("noise_config"))


def _operator(config: Mapping[str, Any]) -> tuple[str | None, str | list[float] | None]:
    """Return operator and severity of a configuration, None where missing."""
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
    raise ValueError(
        f"the file's operator ({', '.join(f'{key}={value}' for key, value in config.items())[:200]}) is unknown: "
        "Gaussian blur, linear or from_file, and linear Gaussian inpainting with mask_pow=4 can be imported"
    )


def _range(start: Any, end: Any) -> list[float] | None:
    return None if start is None or end is None else [start, end]


def build_process(values: Mapping[str, Any], image_size: int) -> StochasticDegradation:
    """Return the stochastic degradation process of the values of `complete`, for images of a size.

    Raises:
        ValueError: if a value breaks its rule.
    """
    operator, severity = _one_of(OPERATORS, "operator", values["operator"]), values["severity"]
    if isinstance(severity, str):
        curve: Severity = TabulatedSeverity.from_csv(severity)
    elif isinstance(severity, list) and len(severity) == 2 and all(isinstance(v, int | float) for v in severity):
        curve = LinearSeverity(*severity)
    else:
        raise ValueError(f"severity must be {REMEDIES['severity']}, got {severity}")
    noise = GeometricNoise(values["sigma_min"], values["sigma_max"])
    return StochasticDegradation(OPERATORS[operator](curve, image_size), noise)
