"""Which images a folder holds: names in order, from a cache where there are many.

Names are paths relative to the folder, with '/'. The cache lies outside the data, in the user's place for such files
($XDG_CACHE_HOME, or ~/.cache). It holds for as long as the times of modification of all folders in the tree do, which
every file that comes, goes or is renamed changes. Where it cannot be written, there is none.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, overload

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.utils import to_absolute_path

from diracdiff.utils.errors import UserError, warn
from diracdiff.utils.files import write_atomically

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
WORTH_CACHING = 10_000
"""Names; fewer are listed in about the time that reading a cache takes."""
SETTLED = 2.0
"""Seconds that a folder must have been left alone before it is listed, for its time to tell the next change."""
VERSION = 1


class Names(Sequence[str]):
    """Many names in two blocks of memory, which loader processes share as long as nobody writes to them.

    A list would hold an object per name, whose count of references every process writes to.
    """

    def __init__(self, names: Iterable[str] = ()):
        encoded = [os.fsencode(name) for name in names]
        self._text = b"".join(encoded)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._text[start : self._ends[index]])

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends.tolist():
            yield os.fsdecode(self._text[start:end])
            start = end

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def list_images(root: str | Path) -> list[Path]:
    """Images below `root`, at any depth, sorted by their path relative to it.

    Looks for `EXTENSIONS` in any case, follows symbolic links, skips hidden files and folders.
    Raises UserError when `root` is missing, is not a folder, or holds no images.
    """
    root = check_root(root)
    return [root / name for name in _some(root, _walked(root)[0])]


def image_names(root: str | Path, within: str = "") -> list[str]:
    """What `list_images` finds in the folder `within` of `root`, as names relative to `root`; from a cache if large.

    Raises UserError as `list_images` does.
    """
    folder = check_root(Path(root).expanduser() / within)
    cache = _cache_of(folder)
    names = None if cache is None else _cached(cache, folder)
    if names is None:
        began = time.time()
        names, times = _walked(folder)
        if cache is not None and len(names) >= WORTH_CACHING:
            _keep(cache, folder, names, times, began)
    return [f"{within}/{name}" for name in _some(folder, names)] if within else _some(folder, names)


def fingerprint(root: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return the number of files and a SHA-256 of their names and sizes in bytes, in the order of names."""
    digest, count = hashlib.sha256(), 0
    for name in sorted(names):
        try:
            size = os.stat(root / name).st_size
        except OSError:
            size = -1
        digest.update(os.fsencode(f"{name}\0{size}\0"))
        count += 1
    return {"count": count, "sha256": digest.hexdigest()}


def check_given(root: str | Path | None, what: str, example: str) -> str:
    """`root` as text, which a checkpoint's recipe can hold. Raises UserError where the user has named none."""
    if root is None or str(root) in ("", "???"):
        raise UserError(f"dataset.root must be {what}: set dataset.root={example}")
    return str(root)


def check_root(root: str | Path) -> Path:
    """Return `root` as a path: `~` is expanded, and a command's relative path begins where the command was started.

    Raises:
        UserError: unless it is an existing folder.
    """
    path = Path(root).expanduser()
    if HydraConfig.initialized():  # hydra.job.chdir=true changes the working directory
        path = Path(to_absolute_path(str(path)))
    if path.is_dir():
        return path
    fault = "is a file, not a folder" if path.exists() else "does not exist"
    raise UserError(f"{path} {fault}: name a folder of images, such as dataset.root=/path/to/images")


def subfolders(root: Path) -> list[str]:
    """Return the names of the folders at the top of `root` in order, without hidden ones."""
    try:
        return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        _refuse_folder(error)


def _some(root: Path, names: list[str]) -> list[str]:
    if not names:
        raise UserError(
            f"{root} holds no images: put files ending in {' '.join(EXTENSIONS)} there, or name another folder"
        )
    return names


def _walked(root: Path) -> tuple[list[str], dict[str, int]]:
    """Names of the images below a folder in order, and when every folder was modified last, in nanoseconds."""
    found: list[str] = []
    times: dict[str, int] = {}
    visited = set()
    for folder, below, files in os.walk(root, followlinks=True, onerror=_refuse_folder):
        visited.add(os.path.realpath(folder))
        below[:] = [  # in order, so that links in a circle are followed alike on every disk
            name
            for name in sorted(below)
            if not name.startswith(".") and os.path.realpath(os.path.join(folder, name)) not in visited
        ]
        relative = os.path.relpath(folder, root)
        times[relative] = os.stat(folder).st_mtime_ns
        start = "" if relative == "." else f"{relative}/"
        found += [start + name for name in files if name.lower().endswith(EXTENSIONS) and not name.startswith(".")]
    return sorted(found), times


def _refuse_folder(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename} cannot be listed ({error.strerror}): check its permissions")


def _cache_of(folder: Path) -> Path | None:
    """The file that would hold the list of a folder; None where the user has no place for it."""
    try:
        above = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()
    except (OSError, RuntimeError):
        return None
    return Path(above) / "diracdiff" / "listings" / digest[:32]


def _keep(cache: Path, folder: Path, names: list[str], times: dict[str, int], began: float) -> None:
    if max(times.values()) / 1e9 > began - SETTLED:
        return
    text = os.fsencode("\0".join(names))
    header = {
        "version": VERSION,
        "folder": os.path.realpath(folder),
        "times": times,
        "count": len(names),
        "sha256": hashlib.sha256(text).hexdigest(),
    }
    with contextlib.suppress(UserError):
        write_atomically(cache, json.dumps(header).encode() + b"\n" + text)


def _cached(cache: Path, folder: Path) -> list[str] | None:
    """The names in the cache; None if there is none, a folder has changed since, or it is damaged, which is said."""
    try:
        content = cache.read_bytes()
    except OSError:
        return None
    line, _, text = content.partition(b"\n")
    try:
        header: Any = json.loads(line)
        version, times, count = header["version"], header["times"], header["count"]
        if version != VERSION or header["folder"] != os.path.realpath(folder):
            return None
        if not times or any(os.stat(folder / name).st_mtime_ns != at for name, at in times.items()):
            return None
        if hashlib.sha256(text).hexdigest() == header["sha256"]:
            names = os.fsdecode(text).split("\0")
            if len(names) == count:
                return names
    except OSError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    warn(f"the list of the images in {folder} that was kept in {cache} is damaged: it is made anew")
    return None
