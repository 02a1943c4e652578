"""Where results come from: the foot of every report."""

import platform
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version

from diracdiff import __version__


def versions() -> dict[str, str]:
    """Return the versions of the packages that results may depend on, and the kind of machine."""
    packages = {name: version(name) for name in ("torch", "torchvision", "pytorch-lightning", "numpy")}
    machine = f"{platform.system()} {platform.machine()}"
    return {"diracdiff": __version__, "Python": platform.python_version(), **packages, "machine": machine}


@dataclass(frozen=True)
class Origin:
    """Command as typed, all its settings as YAML, and when and with what it ran."""

    command: str
    settings: str
    seed: int
    date: str = field(default_factory=lambda: datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"))
    versions: dict[str, str] = field(default_factory=versions)
