"""From a node of the configuration to an object, and from what an object refuses to the key that is wrong."""

import re
import shlex
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from diracdiff.report import Origin
from diracdiff.utils.files import write_atomically


def build(node: DictConfig | None, **arguments: Any) -> Any:
    """Build the object that a node with `_target_` describes; None stays None.

    Raises:
        ValueError: if the object refuses its arguments; the message begins with the node's key.
    """
    try:
        return None if node is None else instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        found = re.search(r"full_key: (\S+)", str(error))
        raise ValueError(keyed(found[1] if found else "config", error.__cause__ or error)) from error


def made(key: str, make: Any, *arguments: Any, **named: Any) -> Any:
    """Make an object; what it refuses is the user's mistake under a key of the configuration.

    Raises:
        ValueError: if the object refuses its arguments.
    """
    try:
        return make(*arguments, **named)
    except (ValueError, TypeError) as error:
        raise ValueError(keyed(key, error)) from error


def keyed(key: str, error: BaseException) -> str:
    """Return the message of an object's error, "sigma=0: …" or free text, behind the object's key."""
    text = " ".join(str(error).split())
    if re.match(r"\w+(\.[\w.]+[:=]|:)", text):  # it names a key itself
        return text
    above = key.rpartition(".")[0] if text.startswith(f"{key.rpartition('.')[2]}=") else key
    return f"{above}.{text}".lstrip(".") if re.match(r"\w+=", text) else f"{key}: {text}"


def given(key: str) -> bool:
    """Return whether the command line sets a key."""
    return any(word.lstrip("+").startswith(f"{key}=") for word in HydraConfig.get().overrides.task)


def plain(node: DictConfig) -> dict[str, Any]:
    """A node in plain containers, every reference resolved."""
    container = OmegaConf.to_container(node, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def pick_device(name: str) -> str:
    """A device by name; "auto" is a GPU where there is one.

    Raises:
        ValueError: if it is not available.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={name} is not available: use device=auto or device=cpu") from error
    return name


def write_composed(cfg: DictConfig, path: str | Path) -> None:
    """Write the composed configuration with every reference resolved."""
    write_atomically(path, OmegaConf.to_yaml(cfg, resolve=True).encode("utf-8", "surrogateescape"))


def origin(cfg: DictConfig) -> Origin:
    """Where the results of the command that is running come from, for its report."""
    words = shlex.join(HydraConfig.get().overrides.task)
    command = f"python -m diracdiff {HydraConfig.get().job.config_name} {words}".strip()
    return Origin(command, OmegaConf.to_yaml(cfg, resolve=True), cfg.seed)
