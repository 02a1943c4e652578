"""From a node of the configuration to an object, and from what an object refuses to the key that is wrong."""

import inspect
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from diracdiff.arguments import as_typed
from diracdiff.report import Origin
from diracdiff.utils.console import python
from diracdiff.utils.errors import UserError
from diracdiff.utils.files import write_atomically


def build(node: DictConfig | None, **arguments: Any) -> Any:
    """Build the object that a node with `_target_` describes; None stays None.

    Raises:
        UserError: if the object refuses its arguments; the message begins with the node's key.
    """
    if node is None:
        return None
    if not isinstance(node, DictConfig):
        raise UserError(
            f"{node} stands in place of keys that describe an object: set one of these keys, or leave it out"
        )
    key = node._get_full_key(None) or "config"
    if isinstance(target := node.get("_target_"), str) and target.startswith("diracdiff."):
        given = {str(name): value for name, value in node.items() if not str(name).startswith("_")}
        check_arguments(key, get_object(target), given | arguments)
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        if isinstance(cause, ValueError | TypeError):
            raise UserError(refused(key, cause)) from error
        raise UserError(f"{key}: {' '.join(str(cause or error).split())}") from error


def made(key: str, make: Any, *arguments: Any, **named: Any) -> Any:
    """Make an object; what it refuses is the user's mistake under a key of the configuration.

    Raises:
        UserError: if the object refuses its arguments.
    """
    check_arguments(key, make, named)
    try:
        return make(*arguments, **named)
    except (ValueError, TypeError) as error:
        if isinstance(error, UserError) and re.match(r"[\w.]+[:=]", str(error)):  # it names a key of its own
            raise
        raise UserError(refused(key, error)) from error


def refused(key: str, error: Exception) -> str:
    """The message of an object that refuses an argument, "sigma=0: …", with the argument's full key."""
    named = re.match(r"\w+(?==)", str(error))
    if named is None:
        return f"{key}: {error}"
    above = key.rpartition(".")[0] if key.rpartition(".")[2] == named[0] else key
    return f"{above}.{error}".lstrip(".")


def check_arguments(key: str, make: Any, named: Mapping[str, Any]) -> None:
    """Refuse arguments that a callable does not have, and text where it takes numbers.

    Args:
        key: of the configuration.
        make: a class or a function with annotations.
        named: its arguments by name.

    Raises:
        UserError: naming key, rule and value.
    """
    parameters = inspect.signature(make).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name, value in named.items():
        if name not in parameters:
            raise UserError(f"{key} has no key {name}: leave it out, or give one of {', '.join(parameters)}")
        kinds = {part.strip() for part in str(_annotation(parameters[name])).split("|")}
        numeric = kinds & {"int", "float"} and kinds <= {"int", "float", "None"}
        if numeric and (
            isinstance(value, str | bool) or OmegaConf.is_config(value) or (value is None and "None" not in kinds)
        ):
            noun = "a number" if "float" in kinds else "an integer"
            shown = "null" if value is None else value
            raise UserError(f"{key}.{name} must be {noun}{' or null' if 'None' in kinds else ''}, got {shown}")


def _annotation(parameter: inspect.Parameter) -> str:
    """The type of a parameter as it is written."""
    kind = parameter.annotation
    return kind if isinstance(kind, str) else kind.__name__ if isinstance(kind, type) else str(kind)


def plain(node: DictConfig) -> dict[str, Any]:
    """A node in plain containers, every reference resolved."""
    container = OmegaConf.to_container(node, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def pick_device(name: str) -> str:
    """A device by name; "auto" is a GPU where there is one.

    Raises:
        UserError: if it is not available.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name} is not available: use device=auto or device=cpu") from error
    return name


def write_composed(cfg: DictConfig, path: str | Path) -> None:
    """Write the composed configuration with every reference resolved."""
    write_atomically(path, OmegaConf.to_yaml(cfg, resolve=True).encode("utf-8", "surrogateescape"))


def origin(cfg: DictConfig) -> Origin:
    """Where the results of the command that is running come from, for its report."""
    words = shlex.join(as_typed(word) for word in HydraConfig.get().overrides.task)
    command = f"{python()} -m diracdiff {HydraConfig.get().job.config_name} {words}".strip()
    return Origin(command, OmegaConf.to_yaml(cfg, resolve=True), cfg.seed)
