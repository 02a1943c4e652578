"""Places of checkpoints: a file, a folder that `diracdiff export` wrote, a bundled model, or the Hub."""

from pathlib import Path

from diracdiff.utils.errors import UserError

BUILTIN, HUB = "builtin:", "hf:"
"""Prefixes of the names of bundled models and of models on the Hub."""

BOX = Path(__file__).parent.parent / "builtin"
"""The folder of the bundled models."""

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
"""The files of an exported model, named as Hugging Face's libraries do."""


def exists(name: str) -> bool:
    """Return True if a checkpoint exists, or is on the Hub, where only a download can find out.

    Raises:
        UserError: if it is named as a bundled model, and there is none.
    """
    return name.startswith(HUB) or located(name).exists()


def located(name: str | Path) -> Path:
    """Return the file or folder of a checkpoint.

    Args:
        name: its path, `builtin:deblur` or `hf:owner/name`, whose weights and configuration are downloaded.

    Raises:
        UserError: if there is no such bundled model, or it cannot be downloaded.
    """
    text = str(name)
    if text.startswith(BUILTIN):
        return _in_the_box(text.removeprefix(BUILTIN))
    if text.startswith(HUB):
        return _downloaded(text.removeprefix(HUB))
    return Path(text).expanduser()


def weights_file(name: str | Path) -> Path:
    """Return the file that holds the weights of a checkpoint; raises as `located` does."""
    place = located(name)
    return place / WEIGHTS if place.is_dir() else place


def called(folder: Path) -> str:
    """Return the name of an exported model in commands: its folder, or its name as a bundled model."""
    return BUILTIN + folder.name if folder.resolve().parent == BOX else str(folder)


def in_the_box() -> list[str]:
    """Return the names of the bundled models."""
    return sorted(BUILTIN + path.parent.name for path in BOX.glob(f"*/{WEIGHTS}"))


def _in_the_box(model: str) -> Path:
    models = in_the_box()
    if BUILTIN + model in models:
        return BOX / model
    if models:
        raise UserError(f"checkpoint={BUILTIN}{model} is not a bundled model: use {', '.join(models)}")
    raise UserError(
        f"checkpoint={BUILTIN}{model}: this installation has no bundled models; wheels have them, and in a clone of "
        "the repository `make models` makes them"
    )


def _downloaded(repository: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise UserError(f"checkpoint={HUB}{repository} needs huggingface_hub: pip install 'diracdiff[hub]'") from error
    try:
        return Path(snapshot_download(repository, allow_patterns=[WEIGHTS, CONFIG]))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"checkpoint={HUB}{repository} cannot be downloaded ({reason}): check the name, or connect once"
        ) from error
