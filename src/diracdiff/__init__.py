"""Image restoration with stochastic degradation processes."""

import os
import signal
import sys


def _leave(signum: int, frame: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(128 + signum)


_run = [name for flag, name in zip(sys.orig_argv, sys.orig_argv[1:], strict=False) if flag == "-m"]
if any(name.split(".")[0] == "diracdiff" for name in _run):
    for _number in (signal.SIGINT, signal.SIGTERM):  # a command that is still importing ends in one line, too
        signal.signal(_number, _leave)

import importlib  # noqa: E402
from typing import Any  # noqa: E402

__version__ = "0.2.0"

_HOMES = {
    "diracdiff.data": ["CelebAHQ", "FFHQ", "ImageFolder", "ImageNet", "Packed", "Photos"],
    "diracdiff.degradations": [
        "BoxInpainting",
        "ColourQuantisation",
        "FourierUndersampling",
        "FreeformInpainting",
        "GaussianBlur",
        "GaussianInpainting",
        "Identity",
        "KernelBlur",
        "LinearSeverity",
        "MotionBlur",
        "SuperResolution",
        "TabulatedSeverity",
    ],
    "diracdiff.losses": ["IncrementalReconstructionLoss"],
    "diracdiff.models": ["Denoiser", "NCSNpp"],
    "diracdiff.noise": ["ConstantNoise", "GeometricNoise"],
    "diracdiff.process": ["StochasticDegradation"],
    "diracdiff.restorer": ["Restorer", "load"],
    "diracdiff.samplers": ["Guidance", "ImageNoise", "ReverseSampler"],
    "diracdiff.training": ["EMA", "ImageDataModule", "Optimization", "RestorerModule"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted([*_HOME_OF, "__version__"])


def __getattr__(name: str) -> Any:
    """Import public names when they are first used: Lightning alone takes seconds to import."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'diracdiff' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
