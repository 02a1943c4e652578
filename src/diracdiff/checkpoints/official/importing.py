"""One of their checkpoints as a restorer of ours."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PosixPath
from typing import Any

import torch

from diracdiff.checkpoints import read_weights, to_recipe
from diracdiff.checkpoints.official.network import ARCHITECTURES, translate
from diracdiff.checkpoints.official.settings import (
    architecture,
    build_process,
    conditioning,
    hyper_parameters,
    look_ahead,
    settle,
)
from diracdiff.checkpoints.official.weights import network_weights
from diracdiff.checkpoints.weights import load_weights
from diracdiff.losses import IncrementalReconstructionLoss
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.noise import GeometricNoise
from diracdiff.restorer import Restorer
from diracdiff.samplers import ReverseSampler
from diracdiff.utils.errors import UserError

STEPS = {"deblur": 50, "inpaint": 100}  # of the paper's walks
WANTED = "one that the authors of DiracDiffusion released"

# What their files may hold besides weights and plain containers: these classes only store what they are given.
HARMLESS = (Namespace, (PosixPath, "pathlib.PosixPath"), (PosixPath, "pathlib._local.PosixPath"))


@dataclass(frozen=True)
class Imported:
    """A restorer, and what the file said of it.

    Attributes:
        restorer: of ours, with their weights.
        architecture: its name.
        weights: which of the file's weights they are, in words.
        severity: its curve, a name or two ends in px at 256 px.
        loss: the name of their loss, or None.
        look_ahead: of their loss, or None where it cannot be read.
    """

    restorer: Restorer
    architecture: str
    weights: str
    severity: str | list[float]
    loss: str | None
    look_ahead: float | None


def read(path: str | Path, given: Mapping[str, Any], ema: str | bool = "auto") -> Imported:
    """Read one of their files.

    Args:
        path: of the file.
        given: operator, severity, sigma_min and sigma_max, where the file does not say; None where not given.
        ema: see `network_weights`.

    Raises:
        UserError: if it is of another kind, says too little, or does not fit together.
    """
    theirs = read_weights(path, WANTED, safe=HARMLESS, mmap=True)
    if not isinstance(theirs, dict):
        raise UserError(f"checkpoint={path} is of another kind: give {WANTED}")
    hyper = hyper_parameters(theirs)
    name, settled = architecture(hyper), settle(hyper, given)
    image_size, arguments = (ARCHITECTURES[name][key] for key in ("image_size", "network"))
    process = build_process(settled, image_size)
    weights, which = network_weights(theirs, ema)
    with torch.device("meta"):
        network = NCSNpp(**arguments)
    residual = bool(hyper.get("residual_prediction", True))
    denoiser = Denoiser(network, process.noise, conditioning(hyper), residual)
    translated = translate(weights, network, image_size)
    load_weights(denoiser, {f"network.{name}": weight for name, weight in translated.items()}, path)
    restorer = Restorer(process, denoiser, ReverseSampler(STEPS[settled["operator"]]), name=settled["operator"])
    ahead = look_ahead(hyper)
    restorer.training = {"loss": to_recipe(IncrementalReconstructionLoss(ahead or 0.0))}
    return Imported(restorer, name, which, settled["severity"], hyper.get("loss_type"), ahead)


def describe(imported: Imported) -> list[str]:
    """What was imported, in lines."""
    restorer, denoiser = imported.restorer, imported.restorer.denoiser
    parameters = sum(p.numel() for p in denoiser.parameters())
    ahead = imported.look_ahead
    loss = "its look-ahead is unknown, taken as 0" if ahead is None else f"look-ahead {ahead:g}"
    noise = restorer.process.noise
    assert isinstance(noise, GeometricNoise)
    return [
        f"imported: {imported.architecture}, {parameters:,} parameters, {imported.weights}",
        f"task: {restorer.name} at {restorer.image_size} px, severity {_words(imported.severity)}",
        f"noise: sigma {_words([noise.sigma_min, noise.sigma_max])}",
        f"denoiser: told {denoiser.conditioning}, residual={denoiser.residual}; loss {imported.loss}: {loss}",
    ]


def _words(values: str | list[float]) -> str:
    return values if isinstance(values, str) else "{:g} to {:g}".format(*values)
