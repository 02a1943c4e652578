"""Where results come from: what stands at the foot of every page."""

import platform
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from diracdiff import __version__

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy")
"""Those whose versions results may depend on."""


def now() -> str:
    """Date and time with its zone, to the minute."""
    return datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")


@dataclass(frozen=True)
class Origin:
    """Where results come from.

    Attributes:
        command: that made them, as one types it.
        settings: all settings of the command, as YAML.
        seed: of the command.
        date: when they were made.
    """

    command: str
    settings: str
    seed: int
    date: str = field(default_factory=now)

    def plain(self) -> dict[str, Any]:
        """In plain containers, with the versions of this moment."""
        return {
            "command": self.command,
            "settings": self.settings,
            "seed": self.seed,
            "date": self.date,
            "versions": versions(),
        }


def versions() -> dict[str, str]:
    """{name: version} of what computes, and the kind of machine."""
    found = {"diracdiff": __version__, "Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"machine": f"{platform.system()} {platform.machine()}"}
