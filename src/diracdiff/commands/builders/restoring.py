"""The process, the restorer and its sampler."""

import math
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from diracdiff.commands.builders.build import build, made, plain
from diracdiff.data.datasets import check_integer
from diracdiff.data.inputs import EXISTING
from diracdiff.degradations import Degradation, LinearSeverity
from diracdiff.evaluation import Blend, StoppingPoint
from diracdiff.models import Denoiser, OperatorPreconditioning, execute
from diracdiff.models.tiled import Tiles
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import OUTPUTS, ReverseSampler
from diracdiff.utils.errors import UserError, warn
from diracdiff.utils.validate import check_count

PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16}


def build_process(cfg: DictConfig) -> StochasticDegradation:
    """The stochastic degradation process of the task, its schedule and the data set's image size.

    Raises:
        UserError: if the schedule's severity does not begin and end where the task's does, or the size is none.
    """
    check_integer("dataset.image_size", cfg.dataset.image_size, 1, 64)
    severity = build(cfg.schedule.severity)
    degradation = build(cfg.task.degradation, severity=severity, image_size=cfg.dataset.image_size)
    asked = cfg.task.get("severity")
    if asked is not None and not _are_two_numbers(asked):
        raise UserError(f"task.severity must be two numbers, at t = 0 and at t = 1, got {asked}")
    if severity is not None and asked is not None:
        ends = severity(torch.tensor([0.0, 1.0], dtype=torch.float64))
        if not torch.allclose(ends, torch.tensor(list(asked), dtype=torch.float64), rtol=1e-6):
            raise UserError(
                f"task.severity={list(asked)} has no effect, because the schedule's table runs from "
                f"{ends[0].item():g} to {ends[1].item():g}: add schedule=linear, or leave task.severity out"
            )
    sigma = cfg.walk.measurement_sigma if "walk" in cfg else None
    process: StochasticDegradation = made(
        "walk", StochasticDegradation, degradation, build(cfg.schedule.noise), measurement_sigma=sigma
    )
    return process


def _are_two_numbers(value: Any) -> bool:
    return (
        OmegaConf.is_list(value)
        and len(value) == 2
        and all(isinstance(number, int | float) and not isinstance(number, bool) for number in value)
    )


def build_straight(cfg: DictConfig) -> Degradation:
    """The task's degradation with the straight line between the ends of its severity.

    Raises:
        UserError: if the task has no such ends, or the size is none.
    """
    check_integer("dataset.image_size", cfg.dataset.image_size, 1, 64)
    ends: Any = plain(cfg.task).get("severity")
    numbers = isinstance(ends, list) and all(type(end) in (int, float) and math.isfinite(end) for end in ends)
    if not numbers or len(ends) != 2:
        raise UserError(
            f"task={cfg.task.name} has no one severity parameter to schedule: task.severity must be two numbers, "
            f"its values at t = 0 and t = 1, got {ends}"
        )
    severity = made("task.severity", LinearSeverity, *ends)
    degradation: Degradation = build(cfg.task.degradation, severity=severity, image_size=cfg.dataset.image_size)
    return degradation


def build_restorer(cfg: DictConfig) -> Restorer:
    """The restorer, untrained.

    Raises:
        UserError: if the network cannot take images of the data set's size.
    """
    if "_target_" not in cfg.sampler:
        raise ValueError("sampler=checkpoint: needs a checkpoint to read. Choose sampler=ode, euler or heun.")
    if cfg.task.predict not in ("clean", "increment"):
        raise UserError(f"task.predict must be clean or increment, got {cfg.task.predict!r}")
    if cfg.task.predict == "increment" and (cfg.walk.given_measurement or cfg.model.preconditioning == "operator"):
        raise UserError("task.predict=increment is for the paper's network, which is told y_t alone: add method=paper")
    process = build_process(cfg)
    takes = ({"conditions": 2} if cfg.task.predict == "increment" else {}) | (
        {"images": 2} if cfg.walk.given_measurement else {}
    )
    network = build(cfg.model.network, **takes)
    made("model", execute, network, cfg.model.compile, cfg.model.checkpoint_activations)
    told = {key: cfg.model[key] for key in ("conditioning", "residual", "preconditioning")}
    if told["preconditioning"] == "operator":
        told["preconditioning"] = made(
            "model", OperatorPreconditioning, process, cfg.model.spectrum, cfg.model.interpolate
        )
    denoiser = made("model", Denoiser, network, process.noise, **told)
    size, multiple = cfg.dataset.image_size, network.multiple
    if size % multiple:
        raise UserError(f"dataset.image_size must be a multiple of {multiple} for this model, got {size}")
    sampler = build(cfg.sampler)
    named = {"seed": cfg.seed, "name": cfg.task.name, "take": cfg.take}
    restorer: Restorer = made("config", Restorer, process, denoiser, sampler, **named)
    return restorer


def build_sampler(cfg: DictConfig, current: ReverseSampler) -> ReverseSampler:
    """The sampler that `cfg` describes: a whole one, or the current one with the parts that are not null changed.

    Raises:
        UserError: if the parts do not fit.
    """
    if "_target_" in cfg:
        whole: ReverseSampler = build(cfg)
        return whole
    given = {str(key): node for key, node in cfg.items() if node is not None}
    parts = {key: build(node) if isinstance(node, DictConfig) else node for key, node in given.items()}
    changed: ReverseSampler = made("sampler", current.replace, **parts)
    return changed


def configure(cfg: DictConfig, restorer: Restorer) -> Restorer:
    """A checkpoint's restorer with the sampler, the output and the seed of a command.

    Raises:
        UserError: if they do not fit, or it is a flow, which begins where a regression network ends.
    """
    refuse_flow(restorer)
    restorer.sampler = build_sampler(cfg.sampler, restorer.sampler)
    restorer.seed = cfg.seed
    if cfg.take not in (None, *OUTPUTS):
        raise UserError(f"take must be one of {OUTPUTS} or null, got {cfg.take!r}")
    restorer.take = restorer.take if cfg.take is None else cfg.take
    if "compile" in cfg:
        made("network", execute, restorer.denoiser.network, cfg.compile)
    if "precision" in cfg:
        if cfg.precision not in PRECISIONS:
            raise UserError(f"precision must be one of {list(PRECISIONS)}, got {cfg.precision!r}")
        restorer.denoiser.autocast = PRECISIONS[cfg.precision]
    return restorer


def build_tiles(cfg: DictConfig) -> Tiles:
    """How the network sees large images: `tile` is auto, null or the side of tiles, `overlap` what they share.

    Raises:
        UserError: if a number breaks its rule.
    """
    check_count(cfg.overlap, "overlap", 0)
    if cfg.tile == "auto":
        return cast(Tiles, made("tile=auto", Tiles, overlap=cfg.overlap))
    if cfg.tile is None:
        return Tiles(side=None)
    if isinstance(cfg.tile, bool) or not isinstance(cfg.tile, int) or cfg.tile < 1:
        raise UserError(f"tile must be auto, null or an integer of at least 1, in pixels, got {cfg.tile}")
    return cast(Tiles, made(f"tile={cfg.tile}", Tiles, cfg.tile, cfg.overlap, cfg.tile**2))


def existing_results(cfg: DictConfig) -> str:
    """What to do with results that exist: `existing`, or "replace" for overwrite=true.

    Raises:
        UserError: if it is unknown, or the keys contradict one another.
    """
    if cfg.existing not in EXISTING:
        raise UserError(f"existing must be one of {', '.join(EXISTING)}, got {cfg.existing}")
    if cfg.overwrite and cfg.existing == "skip":
        raise UserError("existing=skip leaves results that exist, and overwrite=true replaces them: give one of both")
    return "replace" if cfg.overwrite else str(cfg.existing)


def reached(restorer: Restorer, stop: StoppingPoint | Blend) -> float:
    """The time at which a walk ends: that of the stop, but never before the walk begins, of which is warned."""
    start = restorer.sampler.start
    if stop.t > start:
        warn(
            f"the stop, t = {stop.t:.2f}, lies before sampler.start={start:g}: walks ended with their first call, at "
            f"t = {start:.2f}; find the stops of this sampler with diracdiff evaluate split=val tuned=…"
        )
    return min(stop.t, start)


def refuse_flow(restorer: Restorer) -> None:
    """Raise UserError for a flow, which begins where a regression network ends."""
    if restorer.denoiser.preconditioning == "flow":
        raise UserError(
            "a flow of task=pmrf restores nothing by itself: compare it, with diracdiff compare baseline=[pmrf] "
            "regression=… flow=…"
        )
