"""Download and upload of folders on the Hugging Face Hub, by the package `huggingface_hub`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def download_folder(repo_id: str, files: Sequence[str], **options: Any) -> Path:
    """Download files of a model repository into the cache of `huggingface_hub`, and return their folder.

    Args:
        repo_id: name of the repository, `owner/name`.
        files: names of the files.
        options: other arguments of `huggingface_hub.snapshot_download`, such as `revision`, `cache_dir` and `token`.

    Raises:
        ValueError: if `huggingface_hub` is not installed, or the download fails.
    """
    hub = _import_hub(repo_id)
    try:
        return Path(hub.snapshot_download(repo_id, allow_patterns=list(files), **options))
    except Exception as error:  # exception types differ by version and HTTP client
        raise _failed(repo_id, "cannot be downloaded", error) from error


def upload_folder(
    folder: Path, repo_id: str, commit_message: str, private: bool | None = None, token: str | bool | None = None
) -> str:
    """Upload a folder to a model repository in one commit. A missing repository is created.

    Args:
        folder: folder to upload.
        repo_id: name of the repository, `owner/name`, or `name` for the account of the token.
        commit_message: title of the commit.
        private: visibility of a new repository. None: the default of the owner.
        token: access token. None: that of `hf auth login`.

    Returns:
        URL of the commit.

    Raises:
        ValueError: if `huggingface_hub` is not installed, or the upload fails.
    """
    hub = _import_hub(repo_id)
    try:
        api = hub.HfApi(token=token)
        created = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        return str(api.upload_folder(repo_id=created, folder_path=folder, commit_message=commit_message))
    except Exception as error:  # exception types differ by version and HTTP client
        raise _failed(repo_id, "cannot be uploaded", error) from error


def _import_hub(repo_id: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ValueError(f"hf:{repo_id}: needs huggingface_hub. Run pip install 'diracdiff[hf]'.") from error
    return huggingface_hub


def _failed(repo_id: str, problem: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:200]
    return ValueError(f"hf:{repo_id}: {problem} ({reason}). Check the name, the token and the network.")
