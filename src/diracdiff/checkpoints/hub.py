"""Upload of exported models to the Hub; `diracdiff.checkpoints.places` downloads them."""

from pathlib import Path

from diracdiff.checkpoints.places import CARD, CONFIG, WEIGHTS
from diracdiff.utils.errors import UserError


def upload(folder: Path, repository: str, private: bool = True) -> str:
    """Upload an exported model, and create its repository if there is none.

    Args:
        folder: a folder that `diracdiff export` wrote.
        repository: owner/name.
        private: hide a repository that is created from others.

    Returns:
        The address of the repository.

    Raises:
        UserError: if it cannot be uploaded; the folder stays.
    """
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise UserError("push= needs huggingface_hub: pip install 'diracdiff[hub]'") from error
    api, files = HfApi(), [WEIGHTS, CONFIG, CARD]
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=files)
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"push={repository} cannot be uploaded ({reason}): log in with `hf auth login` and try again; the model "
            f"is in {folder}"
        ) from error
    return str(done.repo_url)
