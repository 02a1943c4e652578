"""What the command line may say: messages for Hydra's errors, and checks of values before a command begins."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"

IMAGES = ("dataset.root", "input", "kernel", "mask")
MODELS = ("checkpoint", "dncnn", "fid_weights", "flow", "guided_diffusion", "prior", "regression")
TABLES = ("about", "compare_with", "sampler.grid.path", "schedule.severity.path")
PATHS = (*IMAGES, *MODELS, *TABLES, "markdown", "output", "run_dir", "tuned")
"""Keys whose value is the path of a file or folder."""


def explained(error: Exception, name: str = "") -> str:
    """Return the message of an error in one line that begins with the key, where it is known.

    Args:
        error: error of the user's.
        name: command, in which the key most like an unknown one is looked for.
    """
    text = " ".join(str(error).split())
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}: must be given. Add {error.full_key}=…."
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return f"{error.override}: Hydra reads no such value. Quote it for Hydra and the shell: \"{key}='{value}'\"."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    if unknown := re.search(r"To append to your config use \+([\w./@]+)", text):
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return _unknown(unknown[1], name, hydra.compose(name))
    return re.sub(
        r" (full_key|object_type|reference_type|Config search path|Set the environment variable)[:= ].*",
        "",
        text,
    )


def _unknown(key: str, name: str, defaults: DictConfig) -> str:
    known = [full for full, _ in leaves(_plain(defaults))]
    similar = difflib.get_close_matches(key, [*known, *_plain(defaults)], 1, 0.4)
    return f"{key}: {name} has no such key. {f'Did you mean {similar[0]}?' if similar else 'Remove it.'}"


def check_values(cfg: DictConfig, name: str) -> None:
    """Refuse added keys that nothing reads, and values of another type than their default, such as overwrite=no.

    Raises:
        ValueError: naming the key and the rule.
    """
    config = HydraConfig.get()
    groups = [word for word in config.overrides.task if word.lstrip("+").partition("=")[0] in config.runtime.choices]
    defaults = hydra.compose(name, groups)
    for key in cfg.keys() - defaults.keys():
        raise ValueError(_unknown(str(key), name, defaults))
    known = dict(leaves(_plain(defaults)))
    for key, value in leaves(_plain(cfg)):
        default, shown, rule = known.get(key), "null" if value is None else value, ""
        if value == "???":
            raise ValueError(f"{key}: must be given. Add {key}=….")
        if isinstance(value, str) and "${" in value:
            continue
        if key not in known and any(full.startswith(f"{key}.") for full in known):
            rule = "" if value is None and "." in key else f"must hold keys. Set one of them, {key}.KEY=…"
        elif value is None:
            rule = "must be given" if default is not None and (key == "seed" or key in PATHS) else ""
        elif key in PATHS and not isinstance(value, str):
            rule = f"must be a path. Write {key}=./{value}"
        elif isinstance(default, bool):
            rule = "" if isinstance(value, bool) else "must be true or false"
        elif isinstance(default, int | float):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            rule = "" if number else "must be a number"
            if number and key == "seed" and not (isinstance(value, int) and 0 <= value < 2**32):
                rule = f"must be an integer from 0 to {2**32 - 1}"
        elif isinstance(default, list) and not isinstance(value, list):
            rule = f"must be a list. Write {key}=[{value}]"
        if rule:
            raise ValueError(f"{key}={shown}: {rule}.")


def leaves(config: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the full name and the value of every key of nested dictionaries, except for Hydra's `_target_` and such."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{above}{name}.")
        elif not str(name).startswith("_"):
            yield f"{above}{name}", value


def _plain(cfg: DictConfig) -> dict[Any, Any]:
    content = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(content, dict)
    return content
