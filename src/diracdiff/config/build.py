"""From a node of the configuration to an object, and from what an object refuses to the key that is wrong."""

from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from diracdiff.errors import UserError


def build(node: DictConfig | None, **arguments: Any) -> Any:
    """Build the object that a node with `_target_` describes; None stays None.

    Raises:
        UserError: if the object refuses its arguments; the message begins with the node's key.
    """
    if node is None:
        return None
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        key = node._get_full_key(None) or "config"
        if isinstance(cause, ValueError | TypeError):
            raise UserError(f"{key}: {cause}") from error
        raise UserError(f"{key}: {' '.join(str(error).split())}") from error


def made(key: str, make: Any, *arguments: Any, **named: Any) -> Any:
    """Make an object; what it refuses is the user's mistake under a key of the configuration.

    Raises:
        UserError: if the object refuses its arguments.
    """
    try:
        return make(*arguments, **named)
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}: {error}") from error


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
    Path(path).write_text(OmegaConf.to_yaml(cfg, resolve=True))
