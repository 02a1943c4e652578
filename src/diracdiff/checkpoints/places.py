"""Names of checkpoints: a file, a folder that `diracdiff export` wrote, a bundled model, or a model on the Hub."""

from pathlib import Path

BUILTIN, HUB = "builtin:", "hf:"
"""Prefixes of the names of bundled models and of models on the Hub."""

BUNDLED = Path(__file__).parent.parent / "builtin"
"""The folder of the bundled models."""

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
"""The files of an exported model, named as Hugging Face's libraries do."""


def located(name: str | Path) -> Path:
    """Return the file or folder of a checkpoint.

    Args:
        name: its path, `builtin:deblur` or `hf:owner/name`, whose weights and configuration are downloaded.

    Raises:
        ValueError: if there is no such bundled model, or it cannot be downloaded.
    """
    text = str(name)
    if text.startswith(BUILTIN):
        return _bundled(text)
    if text.startswith(HUB):
        return _downloaded(text)
    return Path(text).expanduser()


def weights_file(name: str | Path) -> Path:
    """Return the file that holds the weights of a checkpoint; raises as `located` does."""
    place = located(name)
    return place / WEIGHTS if place.is_dir() else place


def public_name(folder: Path) -> str:
    """Return the name of an exported model in commands: its folder, or its name as a bundled model."""
    return BUILTIN + folder.name if folder.resolve().parent == BUNDLED else str(folder)


def bundled_models() -> list[str]:
    """Return the names of the bundled models."""
    return sorted(BUILTIN + path.parent.name for path in BUNDLED.glob(f"*/{WEIGHTS}"))


def _bundled(name: str) -> Path:
    models = bundled_models()
    if name in models:
        return BUNDLED / name.removeprefix(BUILTIN)
    if models:
        raise ValueError(f"checkpoint={name} is not a bundled model: use {', '.join(models)}")
    raise ValueError(f"checkpoint={name}: this installation has no bundled models. In a clone, run `make models`.")


def _downloaded(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ValueError(f"checkpoint={name} needs huggingface_hub: pip install 'diracdiff[hub]'") from error
    try:
        return Path(snapshot_download(name.removeprefix(HUB), allow_patterns=[WEIGHTS, CONFIG]))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"checkpoint={name} cannot be downloaded ({_reason(error)}): check the name, or connect once"
        ) from error


def upload(folder: Path, repository: str, private: bool = True) -> str:
    """Upload an exported model to the Hub, and create its repository if there is none.

    Args:
        folder: a folder that `diracdiff export` wrote.
        repository: owner/name.
        private: hide a repository that is created from others.

    Returns:
        The address of the repository.

    Raises:
        ValueError: if it cannot be uploaded; the folder stays.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ValueError("push= needs huggingface_hub: pip install 'diracdiff[hub]'") from error
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=[WEIGHTS, CONFIG, CARD])
    except (OSError, ValueError) as error:
        raise ValueError(
            f"push={repository} cannot be uploaded ({_reason(error)}): log in with `hf auth login` and try again; the "
            f"model is in {folder}"
        ) from error
    return str(done.repo_url)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
