"""Image restoration with stochastic degradation processes."""

import importlib
from typing import Any

__version__ = "0.3.0"

_EXPORTS = {
    "diracdiff.data": ["CelebAHQ", "FFHQ", "HuggingFace", "ImageFolder", "ImageNet", "Photos"],
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
        "MultiScaleSuperResolution",
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
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}
__all__ = sorted([*_MODULE_OF, "__version__"])


def __getattr__(name: str) -> Any:
    """Import a public name on first use, because the import of Lightning takes seconds."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'diracdiff' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
