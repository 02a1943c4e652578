"""Locations of checkpoints: a file, an exported folder, a bundled model, or a model on the Hub."""

from pathlib import Path
from typing import Any

from diracdiff.checkpoints.hub import download_folder

BUILTIN, HUB = "builtin:", "hf:"
"""Prefixes of bundled models and of models on the Hub."""

BUNDLED = Path(__file__).parent.parent / "builtin"
"""Folder of the bundled models."""

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
"""Files of an exported model, with the names that the libraries of Hugging Face use."""


def resolve_path(name: str | Path, **options: Any) -> Path:
    """Return the file or folder of a checkpoint. A model on the Hub is downloaded.

    Args:
        name: a path, `builtin:deblur` or `hf:owner/name`.
        options: options of a download, see `diracdiff.checkpoints.hub.download_folder`.

    Raises:
        ValueError: if the bundled model does not exist, or the download fails.
    """
    text = str(name)
    if text.startswith(HUB):
        return download_folder(text.removeprefix(HUB), [WEIGHTS, CONFIG], **options)
    if not text.startswith(BUILTIN):
        return Path(text).expanduser()
    if text not in (models := bundled_models()):
        remedy = f"Use {', '.join(models)}." if models else "This installation has none."
        raise ValueError(f"checkpoint={name}: is not a bundled model. {remedy}")
    return BUNDLED / text.removeprefix(BUILTIN)


def weights_file(name: str | Path) -> Path:
    """Return the file with the weights of a checkpoint. Raises the errors of `resolve_path`."""
    place = resolve_path(name)
    return place / WEIGHTS if place.is_dir() else place


def bundled_models() -> list[str]:
    """Return the names of the bundled models."""
    return sorted(BUILTIN + path.parent.name for path in BUNDLED.glob(f"*/{WEIGHTS}"))
