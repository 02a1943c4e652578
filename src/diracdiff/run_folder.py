"""The folder of a training: one training has it, and one that fails removes nothing but what it has made."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import IO, Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from diracdiff import sweep
from diracdiff.arguments import in_quotes
from diracdiff.processes import is_first_process
from diracdiff.training.names import AUTO, METRICS_CSV, WANDB_ID
from diracdiff.utils.errors import UserError, fail

OVERRIDES, SWEEP = "overrides.yaml", "multirun.yaml"
WRITTEN = (
    OVERRIDES,
    "config.yaml",
    METRICS_CSV,
    WANDB_ID,
    "tradeoff.csv",
    "summary.json",
    "tradeoff.png",
    "samples.png",
    "report.html",
    "tensorboard/hparams.yaml",
)
"""What a training writes besides checkpoints and files whose names are its own."""


def fresh(folder: Path) -> Path:
    """Make a folder that no other process has: `folder`, or where that is taken `folder`_2, `folder`_3, and so on."""
    for number in count(1):
        path = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            if not os.path.lexists(path):
                raise
    raise AssertionError


@dataclass
class Start:
    """What was there before Hydra made the folder of a run or of a sweep.

    Attributes:
        folder: of the run or of the sweep.
        nearest: itself if it was there, else the nearest folder above it that was.
        inside: what it held.
    """

    folder: Path
    nearest: Path
    inside: set[Path]

    @classmethod
    def of(cls, folder: Path) -> "Start":
        """Look at a folder."""
        folder = Path(os.path.abspath(folder))
        nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        return cls(folder, nearest, set(folder.iterdir()) if folder.is_dir() else set())

    def made(self, folder: Path) -> list[Path]:
        """Folders that were made on the way to one, itself first."""
        found = list(takewhile(lambda path: path != self.nearest, (folder, *folder.parents)))
        return [] if self.inside & set(found) or self.nearest not in (folder, *folder.parents) else found


_start: Start | None = None


def forget() -> None:
    """Begin a command."""
    global _start
    _start = None
    sweep.begin(None)


def withdraw() -> None:
    """Remove the folders that were made for a run or a sweep in which nothing is left but the sweep's record."""
    if _start is None:
        return
    if _start.folder.is_dir() and set(_start.folder.iterdir()) - _start.inside == {_start.folder / SWEEP}:
        (_start.folder / SWEEP).unlink()
    _remove_empty(_start.made(_start.folder))


def kept() -> Path | None:
    """The folder of a sweep that holds more than the sweep's record, or None."""
    if _start is None or not _start.folder.is_dir():
        return None
    return _start.folder if set(_start.folder.iterdir()) - _start.inside - {_start.folder / SWEEP} else None


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


class FindFolder(Callback):
    """Before Hydra makes anything, give a run or a sweep a folder of its own, unless the user has named one."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if is_first_process():
            with _said_in_one_line(config, "hydra.run.dir"):
                self._find(config, "run")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        if is_first_process():
            with _said_in_one_line(config, "hydra.sweep.dir"):
                self._find(config, "sweep")
                sweep.begin(config.hydra.sweep.dir)
        same = ",".join(f"'{key}'" for key in sweep.same_in_all_jobs(list(config.hydra.overrides.task)))
        with read_write(config.hydra):
            config.hydra.overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys=[{same}]")

    def _find(self, config: DictConfig, kind: str) -> None:
        global _start
        key, named = f"hydra.{kind}.dir", Path(config.hydra[kind].dir)
        if "run_dir" in config and not any(word.startswith(f"{key}=") for word in config.hydra.overrides.hydra):
            above = Start.of(named.parent)
            found = fresh(named)
            _start = Start(Path(os.path.abspath(found)), above.nearest, set())
            with read_write(config.hydra):
                config.hydra[kind].dir = str(found)
                config.hydra.overrides.hydra.append(
                    f"{key}={in_quotes(str(found))}"
                )  # every job of a sweep is composed anew
            return
        _start = Start.of(named)
        named.mkdir(parents=True, exist_ok=True)
        record = named / SWEEP
        if kind == "sweep" and os.path.lexists(record) and not ("run_dir" not in config and _of_hydra(record)):
            raise UserError(f"{record} exists and a sweep writes it: give another hydra.sweep.dir, or move the file")


def _of_hydra(record: Path) -> bool:
    return record.is_file() and record.read_text(errors="replace").startswith("hydra:")


@contextmanager
def _said_in_one_line(config: DictConfig, key: str) -> Iterator[None]:
    """Let `${hydra:…}` be resolved before Hydra does, and end the command where there can be no folder."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        yield
    except OSError as error:
        fail(f"{key}={OmegaConf.select(config, key)} cannot be made ({error.strerror}): give another folder")
    except UserError as error:
        fail(str(error))
    finally:
        HydraConfig.instance().cfg = before


class RunFolder:
    """A training's folder.

    Args:
        folder: where the training writes.
        checkpoint: that it goes on from: "auto", a path, or None. One that lies in the folder lets it go on there.
    """

    def __init__(self, folder: str | Path, checkpoint: str | None = None):
        self.folder = Path(folder)
        self._auto = checkpoint == AUTO
        path = Path(checkpoint or "")
        self._goes_on = path.is_file() and path.resolve().parent == self.folder.resolve()
        self._claimed = False
        self._made: list[Path] = []
        self._lock: IO[str] | None = None

    def claim(self) -> None:
        """Take the folder for this training alone, and note what was asked for.

        Raises:
            UserError: if another training has it, or it cannot be written.
        """
        beneath = self.folder / "tensorboard"
        self._made = list(takewhile(lambda path: not os.path.lexists(path), (beneath, *beneath.parents)))
        if _start is not None:
            self._made += _start.made(Path(HydraConfig.get().runtime.output_dir))
        record = self.folder / OVERRIDES
        goes_on = (self._goes_on or self._auto) and record.is_file()
        written = [] if goes_on else [self.folder / name for name in WRITTEN] + [*self.folder.glob("*.ckpt")]
        for path in written:
            if os.path.lexists(path):
                raise self._taken(path)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = record.open("a" if goes_on else "x")  # of two that come at once, one gets past this
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._lock.tell() == 0:
                self._lock.write(OmegaConf.to_yaml(HydraConfig.get().overrides.task))
                self._lock.flush()
        except FileExistsError as error:
            raise self._taken(Path(error.filename)) from error
        except BlockingIOError as error:
            raise UserError(f"a training is at work in {os.path.relpath(self.folder)}: wait until it ends") from error
        except OSError as error:
            raise UserError(f"{self.folder} cannot be written ({error.strerror}): give another folder") from error
        self._claimed = True
        if self._auto and not any(self.folder.glob("*.ckpt")):  # ended before it saved: it begins anew
            self._remove_files(but=OVERRIDES)
        if _start is not None:  # Hydra's folder is not used where run_dir names another
            _remove_empty(_start.made(Path(HydraConfig.get().runtime.output_dir)))

    def _taken(self, path: Path) -> UserError:
        return UserError(
            f"{os.path.relpath(path)} exists and a training writes it; a folder is for one training: "
            "give another one, or move what is there"
        )

    def discard(self) -> bool:
        """Remove the files of this training and the folders made for it, unless it has saved a checkpoint.

        Returns:
            Whether it has saved none.
        """
        saved = self._claimed and any(self.folder.glob("*.ckpt"))
        if self._claimed and not saved:
            self._remove_files()
            for path in self.folder.glob(f"tensorboard/events.out.tfevents.*.{os.getpid()}.*"):
                path.unlink(missing_ok=True)
        _remove_empty(self._made)
        if not sweep.in_sweep():
            withdraw()
        return not saved

    def _remove_files(self, but: str = "") -> None:
        for name in WRITTEN:
            if name != but:
                (self.folder / name).unlink(missing_ok=True)
