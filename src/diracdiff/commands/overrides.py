"""Messages for errors of Hydra, and checks of the values on the command line."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"

PATH_KEYS = (
    *("checkpoint", "data.root", "input", "kernel", "mask", "output", "paths.output_dir", "ckpt_path", "save_tuned"),
    *("init_from", "about", "compare_with", "markdown", "dncnn", "flow", "guided_diffusion", "prior", "regression"),
)
"""Keys whose values are paths, in addition to keys that end with .path or .checkpoint."""

PAIR_KEYS = ("task.prob_terminal",)
"""Keys whose values are numbers or pairs of numbers."""


def describe_error(error: Exception, name: str) -> str:
    """Format an error of a command as one line, which begins with the key if it is known.

    Args:
        error: the error.
        name: name of the command.
    """
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return f"{error.override}: Hydra reads no such value. Quote it for Hydra and the shell: \"{key}='{value}'\"."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    text = " ".join(str(error).split())
    if unknown := re.search(r"To append to your config use \+([\w./@]+)", text):
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return _unknown_key_message(unknown[1], name, hydra.compose(name))
    if option := re.search(r"Could not (?:find|load) '([\w/]+)/([^'/]+)'", text):
        options = sorted(path.stem for path in (CONF / option[1]).glob("*.yaml"))
        return f"{option[1]}={option[2]}: is not an option. {_similar(option[2], options)}"
    if "Config group override must be a string" in text:
        return "null: is not an option of a group. Choose an option, or remove a group with ~GROUP, such as ~logger."
    hydras = r" (full_key|object_type|reference_type|Config search path|Set the environment variable)[:= ].*"
    return re.sub(hydras, "", text)


def _unknown_key_message(key: str, name: str, defaults: DictConfig) -> str:
    return f"{key}: {name} has no such key. {_similar(key, [*dict(leaves(defaults)), *map(str, defaults)])}"


def _similar(word: str, names: Sequence[str]) -> str:
    """Return the remedy for an unknown key or option: the most similar name, if there is one."""
    similar = difflib.get_close_matches(word, names, 1, 0.4)
    return f"Did you mean {similar[0]}?" if similar else "List all with --help."


def check_values(cfg: DictConfig, name: str) -> None:
    """Check keys and types of a configuration.

    Args:
        cfg: composed configuration.
        name: name of the command.

    Raises:
        ValueError: if a key is unknown or missing, or the type of a value differs from that of its default.
    """
    config = HydraConfig.get()
    groups = [word for word in config.overrides.task if word.lstrip("+").partition("=")[0] in config.runtime.choices]
    defaults = hydra.compose(name, groups)
    for key in cfg.keys() - defaults.keys():
        raise ValueError(_unknown_key_message(str(key), name, defaults))
    known = dict(leaves(defaults))
    for key, value in leaves(cfg):
        if value == "???":
            raise ValueError(f"{key}: must be given. Add {key}=….")
        if not (isinstance(value, str) and "${" in value) and (rule := _broken_rule(key, value, known)):
            raise ValueError(f"{key}={'null' if value is None else value}: {rule}.")


def expand_home(cfg: DictConfig) -> None:
    """Replace ~ at the beginning of paths by the home folder. Not all shells expand it after `key=`."""
    for key, value in leaves(cfg):
        if is_path(key) and str(value).startswith("~"):
            OmegaConf.update(cfg, key, os.path.expanduser(value))


def is_path(key: str) -> bool:
    """Return True if the value of a key is a path."""
    return key in PATH_KEYS or key.endswith((".path", ".checkpoint"))


def _broken_rule(key: str, value: Any, known: Mapping[str, Any]) -> str:
    """Return the rule that a value breaks, or an empty string."""
    default = known.get(key)
    if key not in known and any(full.startswith(f"{key}.") for full in known):
        return "" if value is None and "." in key else f"must hold keys. Set one of them, {key}.KEY=…"
    if value is None:
        return "must be given" if default is not None and (key == "seed" or is_path(key)) else ""
    if is_path(key):
        return "" if isinstance(value, str) else f"must be a path. Write {key}=./{value}"
    if key in PAIR_KEYS and isinstance(value, list):
        return ""
    if key == "seed" and isinstance(value, int) and not 0 <= value < 2**32:
        return f"must be an integer from 0 to {2**32 - 1}"
    for kind, rule in (
        (bool, "must be true or false"),
        (int | float, "must be a number"),
        (list, f"must be a list. Write {key}=[{value}]"),
    ):
        if isinstance(default, kind):
            return "" if isinstance(value, kind) and isinstance(value, bool) == isinstance(default, bool) else rule
    return ""


def leaves(config: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield full name and value of each leaf of nested dictionaries, except names that begin with an underscore."""
    config = OmegaConf.to_container(config, resolve=False) if isinstance(config, DictConfig) else config
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{above}{name}.")
        elif not str(name).startswith("_"):
            yield f"{above}{name}", value
