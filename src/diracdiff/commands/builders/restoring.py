"""The process, the restorer and its sampler."""

from typing import cast

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig

from diracdiff.commands.builders.build import build, made
from diracdiff.degradations import Degradation, LinearSeverity
from diracdiff.evaluation import StoppingPoint
from diracdiff.models import Denoiser, OperatorPreconditioning, execute
from diracdiff.models.tiled import Tiles
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import OUTPUTS, ReverseSampler
from diracdiff.utils.errors import warn
from diracdiff.utils.validate import check_count

PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16}


def build_process(cfg: DictConfig) -> StochasticDegradation:
    """Build the stochastic degradation process of the task, its schedule and the data set's image size.

    Raises:
        ValueError: if the schedule's severity does not begin and end where the task's does, or the size is none.
    """
    check_count(cfg.dataset.image_size, "dataset.image_size")
    severity = build(cfg.schedule.severity)
    degradation = build(cfg.task.degradation, severity=severity, image_size=cfg.dataset.image_size)
    ends = cfg.task.get("severity")
    if severity is not None and ends is not None:
        found = severity(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
        if not np.allclose(found, list(ends), rtol=1e-6):
            raise ValueError(
                f"task.severity={list(ends)}: has no effect, since the schedule's table runs from {found[0]:g} to "
                f"{found[1]:g}. Add schedule=linear, or remove it."
            )
    sigma = cfg.walk.measurement_sigma if "walk" in cfg else None
    noise = build(cfg.schedule.noise)
    return cast(StochasticDegradation, made("walk", StochasticDegradation, degradation, noise, measurement_sigma=sigma))


def build_straight(cfg: DictConfig) -> Degradation:
    """Build the task's degradation with the straight line between the ends of its severity.

    Raises:
        ValueError: if the task has no such ends, or the size is none.
    """
    check_count(cfg.dataset.image_size, "dataset.image_size")
    ends = cfg.task.get("severity")
    if not isinstance(ends, ListConfig) or len(ends) != 2:
        raise ValueError(f"task={cfg.task.name}: has no one severity to schedule. Choose another task.")
    severity = made("task.severity", LinearSeverity, *ends)
    return cast(Degradation, build(cfg.task.degradation, severity=severity, image_size=cfg.dataset.image_size))


def build_restorer(cfg: DictConfig) -> Restorer:
    """Build the untrained restorer.

    Raises:
        ValueError: if the network cannot take images of the data set's size.
    """
    if "_target_" not in cfg.sampler:
        raise ValueError("sampler=checkpoint: needs a checkpoint to read. Choose sampler=ode, euler or heun.")
    if cfg.task.predict not in ("clean", "increment"):
        raise ValueError(f"task.predict={cfg.task.predict}: must be clean or increment.")
    if cfg.task.predict == "increment" and (cfg.walk.given_measurement or cfg.model.preconditioning == "operator"):
        raise ValueError("task.predict=increment: needs the paper's network, which sees y_t alone. Add method=paper.")
    process = build_process(cfg)
    takes = ({"conditions": 2} if cfg.task.predict == "increment" else {}) | (
        {"images": 2} if cfg.walk.given_measurement else {}
    )
    network = build(cfg.model.network, **takes)
    made("model", execute, network, cfg.model.compile, cfg.model.checkpoint_activations)
    options = {key: cfg.model[key] for key in ("conditioning", "residual", "preconditioning")}
    if options["preconditioning"] == "operator":
        options["preconditioning"] = made("model", OperatorPreconditioning, cfg.model.spectrum, cfg.model.interpolate)
        made("model", options["preconditioning"].check, process)
    denoiser = made("model", Denoiser, network, **options)
    size, multiple = cfg.dataset.image_size, network.multiple
    if size % multiple:
        raise ValueError(f"dataset.image_size={size}: must be a multiple of {multiple} for this model.")
    sampler = build(cfg.sampler)
    named = {"seed": cfg.seed, "name": cfg.task.name, "take": cfg.take}
    restorer: Restorer = made("config", Restorer, process, denoiser, sampler, **named)
    return restorer


def build_sampler(cfg: DictConfig, current: ReverseSampler) -> ReverseSampler:
    """Build the sampler that `cfg` describes: a whole one, or the current one with the parts that are not null.

    Raises:
        ValueError: if the parts do not fit.
    """
    if "_target_" in cfg:
        whole: ReverseSampler = build(cfg)
        return whole
    given = {str(key): node for key, node in cfg.items() if node is not None}
    parts = {key: build(node) if isinstance(node, DictConfig) else node for key, node in given.items()}
    changed: ReverseSampler = made("sampler", current.replace, **parts)
    return changed


def configure(cfg: DictConfig, restorer: Restorer) -> Restorer:
    """Return a checkpoint's restorer with the sampler, the output and the seed of a command.

    Raises:
        ValueError: if they do not fit, or it is a flow, which begins where a regression network ends.
    """
    refuse_flow(restorer)
    sampler = build_sampler(cfg.sampler, restorer.sampler)
    if cfg.take not in (None, *OUTPUTS):
        raise ValueError(f"take={cfg.take}: must be {' or '.join(OUTPUTS)}, or null.")
    restorer = restorer.replace(sampler=sampler, seed=cfg.seed, take=cfg.take or restorer.take)
    if "compile" in cfg:
        made("network", execute, restorer.denoiser.network, cfg.compile)
    if "precision" in cfg:
        if cfg.precision not in PRECISIONS:
            raise ValueError(f"precision={cfg.precision}: must be one of {', '.join(PRECISIONS)}.")
        restorer.denoiser.autocast = PRECISIONS[cfg.precision]
    return restorer


def build_tiles(cfg: DictConfig) -> Tiles:
    """Build the tiles of large images: `tile` is auto, null or the side of tiles, `overlap` what neighbours share.

    Raises:
        ValueError: if a number breaks its rule.
    """
    check_count(cfg.overlap, "overlap", 0)
    if cfg.tile == "auto":
        return cast(Tiles, made("tile", Tiles, overlap=cfg.overlap))
    if cfg.tile is None:
        return Tiles(side=None)
    check_count(cfg.tile, "tile")
    return cast(Tiles, made("tile", Tiles, cfg.tile, cfg.overlap, cfg.tile**2))


def reached(restorer: Restorer, stop: StoppingPoint) -> float:
    """Return the time at which sampling ends: that of the stopping point, at most sampler.start; warn of the latter."""
    start = restorer.sampler.start
    if stop.t > start:
        warn(
            f"the stopping time, t = {stop.t:.2f}, lies before sampler.start={start:g}: sampling ended at its first "
            "step; find stopping times of this sampler with diracdiff evaluate split=val tuned=…"
        )
    return min(stop.t, start)


def refuse_flow(restorer: Restorer) -> None:
    """Raise ValueError for a flow, which begins where a regression network ends."""
    if restorer.denoiser.preconditioning == "flow":
        raise ValueError(
            "a flow of task=pmrf restores nothing by itself: compare it, with diracdiff compare baseline=[pmrf] "
            "regression=… flow=…"
        )
