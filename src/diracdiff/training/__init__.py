"""The Lightning shell: module, data module, callbacks, average of the weights, loggers, optimisation.

Lightning takes seconds to import, so names are imported from their files when they are first used.
"""

import importlib
from typing import Any

_HOMES = {
    "EMA": "ema",
    "ImageDataModule": "datamodule",
    "LastCheckpoint": "saving",
    "MetricsFile": "loggers",
    "Optimization": "optimization",
    "Progress": "progress",
    "RestorerModule": "module",
    "TradeoffLog": "callbacks",
    "wandb_logger": "loggers",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
