"""Where a checkpoint lies: in a file, in a folder that `diracdiff.export` wrote, in the box, or on the Hub."""

from pathlib import Path

from diracdiff.errors import UserError

BUILTIN, HUB = "builtin:", "hf:"
"""What names of models in the box and on the Hub begin with."""

BOX = Path(__file__).parent / "builtin"
"""The folder of the models in the box."""

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
"""The files of an exported model, named as Hugging Face's libraries do."""


def exists(name: str) -> bool:
    """Whether a checkpoint is there; of one on the Hub only downloading tells.

    Raises:
        UserError: if it is named as a model in the box, and there is none.
    """
    return name.startswith(HUB) or located(name).exists()


def located(name: str | Path) -> Path:
    """The file or folder of a checkpoint.

    Args:
        name: its path, `builtin:deblur` or `hf:owner/name`; of the latter, what is needed is downloaded.

    Raises:
        UserError: if there is no such model in the box, or it cannot be downloaded.
    """
    text = str(name)
    if text.startswith(BUILTIN):
        return _in_the_box(text.removeprefix(BUILTIN))
    if text.startswith(HUB):
        return _downloaded(text.removeprefix(HUB))
    return Path(text).expanduser()


def weights_file(name: str | Path) -> Path:
    """The file that holds the weights of a checkpoint; raises as `located` does."""
    place = located(name)
    return place / WEIGHTS if place.is_dir() else place


def called(folder: Path) -> str:
    """What an exported model is called where a checkpoint is wanted: its folder, or its name in the box."""
    return BUILTIN + folder.name if folder.resolve().parent == BOX else str(folder)


def in_the_box() -> list[str]:
    """The models in the box, as checkpoints are named."""
    return sorted(BUILTIN + path.parent.name for path in BOX.glob(f"*/{WEIGHTS}"))


def _in_the_box(model: str) -> Path:
    models = in_the_box()
    if BUILTIN + model in models:
        return BOX / model
    if models:
        raise UserError(f"checkpoint={BUILTIN}{model} is not in the box: use {', '.join(models)}")
    raise UserError(
        f"checkpoint={BUILTIN}{model}: this installation has no models in the box; wheels have them, and in a clone of "
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
