"""Names that older checkpoints have for classes, and those of today.

A recipe names a class by its room, the part of the package that a user sees: `diracdiff.degradations.GaussianBlur`.
Files inside a room may move; a class that changes its room gets a line here, for ever.
"""

_MOVED = {
    "diracdiff.degradations": {
        "blur": ["GaussianBlur"],
        "fourier": ["FourierUndersampling"],
        "identity": ["Identity"],
        "inpainting": ["BoxInpainting", "GaussianInpainting"],
        "motion_blur": ["MotionBlur"],
        "quantisation": ["ColourQuantisation"],
        "severity": ["LinearSeverity", "TabulatedSeverity"],
        "super_resolution": ["SuperResolution"],
    },
    "diracdiff.models": {"dncnn": ["DnCNN"], "ncsnpp": ["NCSNpp"]},
    "diracdiff.samplers": {
        "grid": ["AdaptiveGrid", "PowerGrid", "UniformGrid"],
        "guidance": ["Guidance"],
        "increment": ["ExactLookBack", "LookAhead", "LookBack", "SmallLookAhead", "SmallLookBack"],
        "reverse": ["ReverseSampler"],
    },
    "diracdiff.data": {"folders": ["CelebAHQ", "FFHQ", "ImageFolder", "ImageNet"], "photos": ["Photos"]},
}
"""Version 0.1 named the file: {room: {file: classes}}."""

OLD_NAMES = {
    f"{room}.{file}.{name}": f"{room}.{name}"
    for room, files in _MOVED.items()
    for file, names in files.items()
    for name in names
} | {"diracdiff.optimization.Optimization": "diracdiff.training.Optimization"}
