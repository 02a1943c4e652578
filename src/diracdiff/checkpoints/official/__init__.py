"""Import of the checkpoints that the authors of DiracDiffusion released."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PosixPath
from typing import Any

import torch

from diracdiff.checkpoints import read_weights, to_recipe
from diracdiff.checkpoints.official.network import ARCHITECTURES, network_weights, official_names, translate
from diracdiff.checkpoints.official.settings import (
    build_process,
    complete,
    find_architecture,
    find_conditioning,
    find_look_ahead,
    hyper_parameters,
)
from diracdiff.checkpoints.weights import load_weights
from diracdiff.losses import IncrementalReconstructionLoss
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.restorer import Restorer
from diracdiff.samplers import ReverseSampler

__all__ = ["ARCHITECTURES", "Imported", "network_weights", "official_names", "read", "translate"]

STEPS = {"deblur": 50, "inpaint": 100}
"""Number of steps of the reverse process in the paper, by task."""

WANTED = "one that the authors of DiracDiffusion released"

HARMLESS = (Namespace, (PosixPath, "pathlib.PosixPath"), (PosixPath, "pathlib._local.PosixPath"))
"""Classes that their files may hold next to weights and plain containers: they only store what they are given."""


@dataclass(frozen=True)
class Imported:
    """A restorer, and what the file reports of it.

    Attributes:
        restorer: of this package, with their weights.
        summary: lines of text: architecture, weights, severity, noise and loss.
    """

    restorer: Restorer
    summary: list[str]


def read(path: str | Path, given: Mapping[str, Any], ema: str | bool = "auto") -> Imported:
    """Read one of their files.

    Args:
        path: of the file.
        given: operator, severity, sigma_min and sigma_max, which the file may lack; None where not given.
        ema: see `network_weights`.

    Raises:
        ValueError: if it is of another kind, lacks a value, or does not fit together.
    """
    theirs = read_weights(path, WANTED, safe=HARMLESS, mmap=True)
    if not isinstance(theirs, dict):
        raise ValueError(f"checkpoint={path} is of another kind: give {WANTED}")
    hyper = hyper_parameters(theirs)
    name, values = find_architecture(hyper), complete(hyper, given)
    image_size, arguments = (ARCHITECTURES[name][key] for key in ("image_size", "network"))
    process = build_process(values, image_size)
    weights, which = network_weights(theirs, ema)
    with torch.device("meta"):
        network = NCSNpp(**arguments)
    residual = bool(hyper.get("residual_prediction", True))
    denoiser = Denoiser(network, find_conditioning(hyper), residual)
    translated = translate(weights, network, image_size)
    load_weights(denoiser, {f"network.{name}": weight for name, weight in translated.items()}, path)
    task, look_ahead = values["operator"], find_look_ahead(hyper)
    restorer = Restorer(process, denoiser, ReverseSampler(STEPS[task]), name=task)
    restorer.training = {"loss": to_recipe(IncrementalReconstructionLoss(look_ahead or 0.0))}
    count = sum(parameter.numel() for parameter in denoiser.parameters())
    severity = values["severity"]
    summary = [
        f"imported: {name}, {count:,} parameters, {which}",
        f"task: {task} at {image_size} px, severity "
        + (severity if isinstance(severity, str) else "{:g} to {:g}".format(*severity)),
        f"noise: sigma {values['sigma_min']:g} to {values['sigma_max']:g}",
        f"denoiser: conditioning={denoiser.conditioning}, residual={residual}; loss {hyper.get('loss_type')}: "
        + ("its look-ahead is unknown, taken as 0" if look_ahead is None else f"look-ahead {look_ahead:g}"),
    ]
    return Imported(restorer, summary)
