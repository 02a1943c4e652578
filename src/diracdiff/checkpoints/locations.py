"""Names of checkpoints: a file, a folder that `diracdiff export` wrote, a bundled model, or a model on the Hub."""

from pathlib import Path

BUILTIN, HUB = "builtin:", "hf:"
"""Prefixes of the names of bundled models and of models on the Hub."""

BUNDLED = Path(__file__).parent.parent / "builtin"
"""The folder of the bundled models."""

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
"""The files of an exported model, named as Hugging Face's libraries do."""


def resolve_path(name: str | Path) -> Path:
    """Return the file or folder of a checkpoint: a path, `builtin:deblur`, or `hf:owner/name`, which is downloaded.

    Raises:
        ValueError: if there is no such bundled model, or it cannot be downloaded.
    """
    text = str(name)
    if text.startswith(HUB):
        return _download(text)
    if not text.startswith(BUILTIN):
        return Path(text).expanduser()
    if text not in (models := bundled_models()):
        remedy = f"Use {', '.join(models)}." if models else "This installation has none: in a clone, run `make models`."
        raise ValueError(f"checkpoint={name} is not a bundled model. {remedy}")
    return BUNDLED / text.removeprefix(BUILTIN)


def weights_file(name: str | Path) -> Path:
    """Return the file that holds the weights of a checkpoint; raises as `resolve_path` does."""
    place = resolve_path(name)
    return place / WEIGHTS if place.is_dir() else place


def bundled_models() -> list[str]:
    """Return the names of the bundled models."""
    return sorted(BUILTIN + path.parent.name for path in BUNDLED.glob(f"*/{WEIGHTS}"))


def _download(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name.removeprefix(HUB), allow_patterns=[WEIGHTS, CONFIG]))
    except ImportError as error:
        raise ValueError(f"checkpoint={name} needs huggingface_hub: pip install 'diracdiff[hub]'") from error
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"checkpoint={name} cannot be downloaded ({reason}): check the name and the network"
        ) from error
