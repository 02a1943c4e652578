"""Provenance of results, shown at the end of each report."""

import platform
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version

from diracdiff import __version__


def versions() -> dict[str, str]:
    """Return the versions of diracdiff, Python and important packages, and the platform."""
    packages = {name: version(name) for name in ("torch", "torchvision", "pytorch-lightning", "numpy")}
    machine = f"{platform.system()} {platform.machine()}"
    return {"diracdiff": __version__, "Python": platform.python_version(), **packages, "machine": machine}


@dataclass(frozen=True)
class Origin:
    """Provenance of results.

    Attributes:
        command: command line.
        settings: resolved configuration, YAML.
        seed: seed of the run.
        date: local time in ISO format.
        versions: {package: version}.
    """

    command: str
    settings: str
    seed: int
    date: str = field(default_factory=lambda: datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"))
    versions: dict[str, str] = field(default_factory=versions)
