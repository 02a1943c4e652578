"""Construction of objects from the configuration. Errors of constructors name the configuration key."""

import re
import shlex
from collections.abc import Callable
from inspect import signature
from typing import Any, TypeVar, cast

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from diracdiff.checkpoints import to_recipe
from diracdiff.models import Denoiser, OperatorPreconditioning
from diracdiff.models.tiled import Tiles
from diracdiff.process import StochasticDegradation
from diracdiff.report import Origin
from diracdiff.restorer import Restorer, load
from diracdiff.samplers import OUTPUTS, BridgeSampler, ReverseSampler
from diracdiff.utils.validate import check_count, check_option

T = TypeVar("T")
PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16}


def build(node: DictConfig | None, **arguments: Any) -> Any:
    """Build the object of a node with `_target_`.

    Args:
        node: node of the configuration; None returns None.
        arguments: additional arguments of the constructor.

    Raises:
        ValueError: if the constructor fails; the message begins with the key of the node.
    """
    try:
        return None if node is None else instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        text = str(error)
        match = re.search(r"full_key: (\S+)", text)
        key = match[1] if match else "config"
        if missing := re.search(r"Are you sure that module '(\w+)' is installed", text):
            raise ValueError(f"{key}: needs a package. Install it with pip install {missing[1]}.") from error
        raise ValueError(prefix_key(key, error.__cause__ or error)) from error


def call_with_key(key: str, make: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Call a function, and prefix its errors with a configuration key.

    Args:
        key: configuration key; "" for keys of the top level.
        make: function or class.
        arguments: positional arguments.
        named: keyword arguments.

    Raises:
        ValueError: if `make` raises ValueError or TypeError; the message begins with the key.
    """
    try:
        return make(*arguments, **named)
    except (ValueError, TypeError) as error:
        raise ValueError(prefix_key(key, error)) from error


def prefix_key(key: str, error: BaseException) -> str:
    """Prefix an error message with the key of its object. `sigma=0: …` becomes `above.sigma=0: …`."""
    text = " ".join(str(error).split())
    if re.match(r"\w+(\.[\w.]+[:=]|:)", text):  # the message already begins with a full key
        return text
    above = key.rpartition(".")[0] if text.startswith(f"{key.rpartition('.')[2]}=") else key
    return (f"{above}.{text}" if re.match(r"\w+=", text) else f"{key}: {text}").lstrip(".: ")


def is_overridden(key: str) -> bool:
    """Return True if the command line overrides a key."""
    return any(word.lstrip("+").startswith(f"{key}=") for word in HydraConfig.get().overrides.task)


def to_container(node: DictConfig) -> dict[str, Any]:
    """Convert a node to plain containers with resolved references."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


def build_origin(cfg: DictConfig) -> Origin:
    """Return the provenance of the running command, for its report."""
    words = shlex.join(HydraConfig.get().overrides.task)
    command = f"python -m diracdiff {HydraConfig.get().job.config_name} {words}".strip()
    return Origin(command, OmegaConf.to_yaml(cfg, resolve=True), cfg.seed)


def select_device(name: str) -> str:
    """Return the name of an available device.

    Args:
        name: name of a device; "auto" selects a GPU if available, else the CPU.

    Raises:
        ValueError: if the device is not available.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={name}: is not available. Use device=auto or device=cpu.") from error
    return name


def build_process(cfg: DictConfig) -> StochasticDegradation:
    """Build the degradation process from task, schedule and image size. Raises ValueError for invalid settings."""
    severity, noise = build(cfg.schedule.severity), build(cfg.schedule.noise)
    degradation = build(cfg.task.degradation, severity=severity, image_size=cfg.data.image_size)
    if severity is not None and (ends := cfg.task.get("severity")) is not None:
        table_ends = severity(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
        if not np.allclose(table_ends, list(ends), rtol=1e-6):
            rule = f"has no effect, since the schedule's table runs from {table_ends[0]:g} to {table_ends[1]:g}"
            raise ValueError(f"task.severity={list(ends)}: {rule}. Add schedule=linear, or remove it.")
    sigma = cfg.task.get("measurement_sigma")  # `schedule` has no such key
    return call_with_key("task", StochasticDegradation, degradation, noise, measurement_sigma=sigma)


def build_restorer(cfg: DictConfig) -> Restorer:
    """Build an untrained restorer. Raises ValueError for invalid settings."""
    if "_target_" not in cfg.sampler:
        raise ValueError("sampler=checkpoint: needs a checkpoint to read. Choose sampler=ode, euler or heun.")
    model, conditioned, increment = cfg.model, cfg.model.condition_on_measurement, cfg.task.predict == "increment"
    check_option(("clean", "increment"), **{"task.predict": cfg.task.predict})
    if increment and (conditioned or model.preconditioning == "operator"):
        raise ValueError("task.predict=increment: needs the paper's network, which sees y_t alone. Add method=paper.")
    process = build_process(cfg)
    preconditioning, images = model.preconditioning, 1 + conditioned
    if preconditioning == "operator":
        preconditioning = call_with_key("model", OperatorPreconditioning, model.spectrum, model.inputs)
        call_with_key("model", preconditioning.check, process)
        images = preconditioning.num_images(process, conditioned)
    inputs = ({"conditions": 2} if increment else {}) | ({"images": images} if images > 1 else {})
    network = build(model.network, **inputs)
    if model.compile:
        network.compile()
    if model.checkpoint_activations:
        if not hasattr(network, "checkpoint_activations"):
            raise ValueError(f"model.checkpoint_activations=true: {type(network).__name__} has no blocks. Use false.")
        network.checkpoint_activations = True
    denoiser = call_with_key(
        "model", Denoiser, network, model.conditioning, model.residual, preconditioning, conditioned
    )
    size, multiple = cfg.data.image_size, network.multiple
    if size % multiple:
        raise ValueError(f"data.image_size={size}: must be a multiple of {multiple} for this model.")
    named = {"seed": cfg.seed, "name": cfg.task.name, "output_type": cfg.output_type}
    return call_with_key("", Restorer, process, denoiser, build(cfg.sampler), **named)


def build_sampler(cfg: DictConfig, current: ReverseSampler) -> ReverseSampler:
    """Build a sampler.

    Args:
        cfg: configuration of a complete sampler, or parts that replace those of `current` if they are not null.
        current: sampler of the checkpoint.

    Raises:
        ValueError: if the sampler does not have a part, or a value is invalid.
    """
    if "_target_" in cfg:
        return cast(ReverseSampler, build(cfg))
    parts = {str(key): node for key, node in cfg.items() if node is not None}
    parts = {key: build(node) if isinstance(node, DictConfig) else node for key, node in parts.items()}
    if unknown := [key for key in parts if key not in signature(type(current)).parameters]:
        raise ValueError(f"sampler.{unknown[0]}: {type(current).__name__} has no such setting. Remove it.")
    return call_with_key("sampler", current.replace, **parts)


def check_no_bridge(restorer: Restorer, checkpoint: str) -> None:
    """Raise ValueError for a checkpoint of I2SB, InDI or Palette, whose sampler has no degradation process."""
    if isinstance(sampler := restorer.sampler, BridgeSampler):
        name = type(sampler.bridge).__name__
        raise ValueError(f"checkpoint={checkpoint}: must not be of {name}, a comparison method. Train one with task=….")


def load_restorer(cfg: DictConfig, checkpoint: str | None = None) -> Restorer:
    """Load a restorer with the device, sampler, output type, seed, precision and tiles of the configuration.

    Args:
        cfg: configuration of the command.
        checkpoint: checkpoint; None: `cfg.checkpoint`.

    Raises:
        ValueError: if the checkpoint is invalid or does not match the configuration.
    """
    device = select_device(cfg.device) if "device" in cfg else "cpu"
    restorer = load(checkpoint or cfg.checkpoint, device, cfg.trusted_modules)
    if restorer.denoiser.preconditioning == "flow":
        raise ValueError(
            f"checkpoint={checkpoint or cfg.checkpoint}: a flow of task=pmrf needs a regression network. "
            "Use diracdiff compare baseline=[pmrf] regression=… flow=…."
        )
    if "sampler" in cfg:
        sampler = build_sampler(cfg.sampler, restorer.sampler)
        if isinstance(sampler, BridgeSampler) != isinstance(restorer.sampler, BridgeSampler):
            raise ValueError("sampler: does not fit the network of this checkpoint. Remove sampler=….")
        if str(cfg.get("target")).startswith("nfe") and to_recipe(sampler) != to_recipe(restorer.sampler):
            rule = "counts the calls of the checkpoint's sampler, which differs"
            raise ValueError(f"target={cfg.target}: {rule}. Use target=t:T, or diracdiff evaluate save_tuned=….")
        output_type = cfg.output_type or restorer.output_type
        check_option(OUTPUTS, output_type=output_type)
        restorer = restorer.replace(sampler=sampler, seed=cfg.seed, output_type=output_type)
    if cfg.get("compile"):
        restorer.denoiser.get_submodule("network").compile()
    if "precision" in cfg:
        check_option(tuple(PRECISIONS), precision=cfg.precision)
        restorer.denoiser.autocast = PRECISIONS[cfg.precision]
    if "tile" in cfg:
        check_count(cfg.overlap, "overlap", 0)
        restorer.tiles = Tiles(overlap=cfg.overlap) if cfg.tile == "auto" else Tiles(side=None)
        if cfg.tile not in ("auto", None):
            check_count(cfg.tile, "tile")
            restorer.tiles = Tiles(cfg.tile, cfg.overlap, cfg.tile**2)
    return restorer
