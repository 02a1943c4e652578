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

NOISE = {"sigma_min": 0.01, "sigma_max": 0.05}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "gaussian_blur": {"operator": "deblur", "severity": "published_blur"} | NOISE,
    "inpainting_gaussian": {"operator": "inpaint", "severity": [0.1, 50]} | NOISE,
    "inpainting_gaussian_imagenet": {"operator": "inpaint", "severity": [0.1, 30]} | NOISE,
}
"""Settings by the name of their published `experiment_config_file`, which is all that a checkpoint keeps of them."""

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
    """Return the arguments of their constructor as a dictionary, empty where there are none."""
    value = checkpoint.get("hyper_parameters")
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
        given: the same four from the user, for files of no published experiment; None where not given.

    Raises:
        ValueError: if a value is missing, or a given one contradicts the file.
    """
    experiment = hyper.get("experiment_config_file") or hyper.get("operator_config")
    found = EXPERIMENTS.get(PurePath(str(experiment)).stem, {})
    for key, remedy in REMEDIES.items():
        if key in found and given[key] not in (None, found[key]):
            raise ValueError(f"{key}={given[key]} contradicts the file, where it is {found[key]}: leave {key} out")
        if key not in found and given[key] is None:
            raise ValueError(f"the file's experiment ({experiment}) is not a published one: give {key}=…, {remedy}")
    return {key: found.get(key, given[key]) for key in REMEDIES}


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
