"""Registry of the classes that a checkpoint may build, and limits of their arguments.

A recipe may only name classes of `CLASSES`. Their constructors take numbers, text and each other, and open no file.
Arguments are checked against annotations and `BOUNDS` before a constructor is called. Networks are built on the meta
device of PyTorch. They need no memory until `load_weights` has compared their shapes with the tensors of the file.

A custom class is built only if the user names its module in `trusted_modules`.
"""

import importlib
import inspect
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import torch

from diracdiff import degradations, losses, models, noise, samplers
from diracdiff.checkpoints.recipe import PACKAGE, TARGET, construct, public_name
from diracdiff.models import Denoiser
from diracdiff.process import StochasticDegradation


def _concrete_classes(package: ModuleType, base: type) -> tuple[type, ...]:
    """Return the concrete subclasses of `base` in `__all__` of a subpackage."""
    classes = filter(inspect.isclass, (getattr(package, name) for name in package.__all__))
    return tuple(cls for cls in classes if issubclass(cls, base) and not inspect.isabstract(cls))


CLASSES: Mapping[str, tuple[type, ...]] = {
    "process": (StochasticDegradation,),
    "degradation": _concrete_classes(degradations, degradations.Degradation),
    "severity": (degradations.LinearSeverity, degradations.TabulatedSeverity),
    "noise": (noise.GeometricNoise, noise.LogLogisticNoise, noise.ConstantNoise, noise.LinearNoise),
    "denoiser": (Denoiser,),
    "network": (models.NCSNpp, models.DnCNN),
    "preconditioning": (models.OperatorPreconditioning,),
    "sampler": (samplers.ReverseSampler, samplers.BridgeSampler),
    "bridge": _concrete_classes(samplers, samplers.Bridge),
    "solver": _concrete_classes(samplers, samplers.Solver),
    "increment": _concrete_classes(samplers, samplers.Increment),
    "guidance": (samplers.Guidance,),
    "grid": (samplers.UniformGrid, samplers.PowerGrid, samplers.AdaptiveGrid),
    "loss": (losses.IncrementalReconstructionLoss, losses.MatchedLoss, losses.MeanSquaredError),
}
"""{argument name: classes that the argument accepts}."""

UNTRUSTABLE_PACKAGES = {PACKAGE, *sys.stdlib_module_names}
"""Packages whose modules `trusted_modules` may not name."""

BOUNDS: Mapping[str, tuple[float, float]] = {
    "image_size": (1, 8192),
    "channels": (1, 4096),
    "multipliers": (1, 64),
    "blocks": (1, 64),
    "depth": (3, 256),
    "patch": (1, 16),
    "image_channels": (1, 16),
    "conditions": (1, 2),
    "images": (1, 4),
    "levels": (2, 65536),
    "start": (0, 1024),
    "end": (0, 1024),
    "values": (0, 1024),
}
"""Bounds, [minimum, maximum], of sizes and severities. Severities determine the sizes of kernels."""

MAX_LENGTHS: Mapping[str, int] = {"multipliers": 10, "attention_levels": 10}
"""Maximum lengths of lists with one value per resolution of a network."""

MAX_LENGTH = 10_000
"""Maximum length of other lists, such as tables."""


def class_registry(parts: Mapping[str, tuple[type, ...]] = CLASSES) -> dict[str, type]:
    """Return {name in recipes: class}."""
    return {public_name(cls): cls for classes in parts.values() for cls in classes}


def from_recipe(
    recipe: Any, trusted_modules: Iterable[str] = (), parts: Mapping[str, tuple[type, ...]] = CLASSES
) -> Any:
    """Build an object from its recipe. Networks are on the meta device until `load_weights`.

    Args:
        recipe: output of `to_recipe`.
        trusted_modules: modules outside this package whose classes may be built as well.
        parts: the registry, {argument name: classes that the argument accepts}.

    Raises:
        ValueError: if a class is not in the registry, or an argument is invalid.
    """
    if not isinstance(recipe, dict):
        raise ValueError(f"the recipe describes no object: {str(recipe)[:60]!r}")
    trusted, registry = list(trusted_modules), class_registry(parts)
    cls = _class(recipe.get(TARGET), trusted, registry)
    known = cls in registry.values()
    arguments = {name: value for name, value in recipe.items() if name != TARGET}
    for name, value in arguments.items():
        if isinstance(value, dict):
            part = arguments[name] = from_recipe(value, trusted, parts)
            if known and type(part) in registry.values() and type(part) not in parts.get(name, ()):
                raise ValueError(f"{cls.__name__}.{name} cannot be a {type(part).__name__}")
        else:
            _check_plain(f"{cls.__name__}.{name}", value, BOUNDS.get(name) if known else None, MAX_LENGTHS.get(name))
    with torch.device("meta") if cls in parts["network"] else nullcontext():
        return construct(cls, arguments)


def _class(target: Any, trusted_modules: Sequence[str], registry: Mapping[str, type]) -> type:
    if isinstance(target, str) and target in registry:
        return registry[target]
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    closed = module.split(".")[0] in UNTRUSTABLE_PACKAGES or not all(map(str.isidentifier, module.split(".")))
    if closed or module not in trusted_modules:
        remedy = "" if closed else f"; if you know that module, add trusted_modules=[{module}]"
        raise ValueError(f"the recipe names {str(target)[:100]!r}, which a checkpoint may not build: refused{remedy}")
    try:
        cls = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"the recipe needs the module {module}: put its folder on PYTHONPATH") from error
    if not inspect.isclass(cls) or cls.__module__ != module:
        raise ValueError(f"the recipe names {target!r}, which is not a class that {module} defines: refused")
    return cls


def _check_plain(name: str, value: Any, bounds: tuple[float, float] | None, longest: int | None) -> None:
    """Raise ValueError if an argument is not a plain value, too long, not finite, or out of bounds."""
    items = value if isinstance(value, list) else [value]
    if len(items) > (longest or MAX_LENGTH):
        raise ValueError(f"{name} has {len(items)} values: at most {longest or MAX_LENGTH} are allowed")
    for item in items:
        if not isinstance(item, bool | int | float | str | None):
            raise ValueError(f"{name} holds a {type(item).__name__}: only numbers and text are allowed")
        if isinstance(item, int | float) and not math.isfinite(item):
            raise ValueError(f"{name} must be finite, got {item}")
        if bounds and isinstance(item, int | float) and not bounds[0] <= item <= bounds[1]:
            raise ValueError(f"{name} must lie in [{bounds[0]}, {bounds[1]}], got {item}")
