"""A quicker start of commands: Lightning imports torchmetrics, and torchmetrics whatever it finds, for nothing."""

import importlib.abc
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from unittest import mock

UNUSED = ("matplotlib", "scienceplots", "scipy", "torch_fidelity", "torchvision", "transformers", "lpips")
"""Packages for metrics and plots of torchmetrics that no command uses."""


def import_less() -> None:
    """Let torchmetrics, when it is imported, not find what it needs for nothing but metrics that are not used.

    This is for a process that runs a command, not for a user's own.
    """
    if "torchmetrics" not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torchmetrics":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any):
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self.loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        from lightning_utilities.core import imports

        found, available = imports.package_available, imports.RequirementCache.__bool__

        def still_available(cache: Any) -> bool:
            name = re.split(r"[<>=! \[]", cache.requirement or cache.module or "")[0].replace("-", "_").lower()
            return name not in UNUSED and available(cache)

        with (
            mock.patch.object(imports, "package_available", lambda name: name not in UNUSED and found(name)),
            mock.patch.object(imports.RequirementCache, "__bool__", still_available),
        ):
            self.loader.exec_module(module)
