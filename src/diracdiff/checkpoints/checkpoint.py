"""Layout of a checkpoint.

A checkpoint is a dictionary of tensors and plain containers. It holds the recipe, the averaged weights, the stopping
times and the trade-off curve of a restorer. It may also hold the state from which Lightning resumes training. Each part
of the file has a checksum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from diracdiff.checkpoints.locations import resolve_path
from diracdiff.checkpoints.recipe import matches_type
from diracdiff.checkpoints.weights import DamagedFileError, are_plain_tensors, read_weights, write_weights

KIND = "diracdiff.restorer"
"""Key of the header: version, recipe, stopping times and curve. The other keys are those of Lightning."""

VERSION = "0.3"
"""Version of the layout: the version of diracdiff that introduced it."""

DENOISER = "denoiser."
"""Prefix of the weights of the denoiser in `state_dict`."""

MAX_DEPTH, MAX_VALUES, MAX_INTEGER = 24, 1_000_000, 2**63
"""Limits of a header: nesting depth, number of values, magnitude of integers."""

HEADER_ENTRIES: Mapping[str, tuple[str, Any]] = {
    "recipe": ("recipe", dict[str, Any]),
    "dataset": ("dataset", dict[str, Any] | None),
    "training": ("training", dict[str, Any]),
    "stopping_points": ("stopping_points", dict[str, dict[str, Any] | None]),
    "curve": ("curve", list[dict[str, float | str | None]]),
    "calibrations": ("calibrations", list[dict[str, Any]]),
}
"""Header entries: attribute of `Checkpoint` and type, except for the version and the incremental network."""


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint in tensors and plain containers.

    Attributes:
        recipe: recipe of the restorer, see `diracdiff.checkpoints.recipe`.
        weights: {name: tensor} of the denoiser; the EMA if training uses one.
        stopping_points: {target: {"t", "output"} or None} from the last validation.
        curve: trade-off curve of the last validation, one row per time and output.
        dataset: recipe of the training data set; None if unknown.
        training: recipes of the loss and the optimiser, and other settings that affect the weights.
        increment: weights of the incremental reconstruction network of the sampler, or None.
        calibrations: calibrated intervals, see `diracdiff.evaluation.Interval`.
        trainer_state: state from which Lightning resumes training; empty if there is none.
    """

    recipe: dict[str, Any]
    weights: dict[str, Tensor]
    stopping_points: dict[str, dict[str, Any] | None]
    curve: list[dict[str, Any]]
    dataset: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    increment: dict[str, Tensor] | None = None
    calibrations: list[dict[str, Any]] = field(default_factory=list)
    trainer_state: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a checkpoint file or an exported model.

        The function runs no code from the file and opens no other file.

        Args:
            path: a file, a folder, `builtin:deblur` or `hf:owner/name`, see `diracdiff.checkpoints.locations`.

        Raises:
            DamagedFileError: if the content differs from what was written.
            ValueError: if the file does not exist, is not a checkpoint of this version, holds a pickle, or holds
                weights that are not finite.
        """
        from diracdiff.checkpoints.exported import read_exported

        place = resolve_path(path)
        content = read_exported(place) if place.is_dir() else read_weights(place, "one that diracdiff wrote")
        if not isinstance(content, dict) or not isinstance(content.get(KIND), dict):
            raise ValueError(
                f"checkpoint={path}: is not a checkpoint of diracdiff. Give one that `diracdiff train` wrote."
            )
        checkpoint = cls.from_content(content, str(path))
        weights = checkpoint.weights | (checkpoint.increment or {})
        if wrong := next((name for name, weight in weights.items() if not weight.isfinite().all()), None):
            raise ValueError(
                f"checkpoint={path}: holds weights that are not finite ({wrong}), because the training run diverged. "
                "Give an earlier checkpoint."
            )
        return checkpoint

    @classmethod
    def from_content(cls, content: Mapping[str, Any], name: str = "this") -> Self:
        """Build a checkpoint from the content of a file.

        Args:
            content: content of the file, with a dictionary under `KIND`.
            name: name of the file, for messages.

        Raises:
            DamagedFileError: if an entry is missing or has another type.
            ValueError: if another version wrote the file.
        """
        header, state = content[KIND], content.get("state_dict", {})
        if (version := header.get("version")) != VERSION:
            other = f"diracdiff {version[:20]!r}" if isinstance(version, str) else "an unknown version"
            raise ValueError(
                f"checkpoint={name}: was written by {other}, and this is {VERSION}. "
                "Install that version, or train again."
            )
        increment = header.get("increment")
        valid = {
            key: _is_bounded(value := header.get(key, ...)) and matches_type(value, kind)
            for key, (_, kind) in HEADER_ENTRIES.items()
        }
        valid["curve"] = valid["curve"] and all(map(_is_row, header["curve"]))
        valid |= {"state_dict": _is_named(state), "increment": increment is None or _is_named(increment)}
        if wrong := [key for key, right in valid.items() if not right]:
            raise DamagedFileError(
                f"checkpoint={name}: is damaged, {wrong[0]} is missing or has another type. Give another file."
            )
        weights = {key.removeprefix(DENOISER): value for key, value in state.items() if key.startswith(DENOISER)}
        if not are_plain_tensors(weights) or not are_plain_tensors(increment or {}):
            raise DamagedFileError(
                f"checkpoint={name}: is damaged, its weights are not plain tensors. Give another file."
            )
        trainer_state = {key: value for key, value in content.items() if key not in (KIND, "state_dict")}
        entries = {attribute: header[key] for key, (attribute, _) in HEADER_ENTRIES.items()}
        return cls(weights=weights, increment=increment, trainer_state=trainer_state, **entries)

    def header(self) -> dict[str, Any]:
        """Return the header, the entry `KIND` of the file."""
        entries = {key: getattr(self, attribute) for key, (attribute, _) in HEADER_ENTRIES.items()}
        return {"version": VERSION, **entries, "increment": self.increment}

    def write(self, path: str | Path) -> None:
        """Write the checkpoint to a file atomically."""
        state = {f"{DENOISER}{key}": value for key, value in self.weights.items()}
        write_weights(path, {**self.trainer_state, "state_dict": state, KIND: self.header()})

    def with_sampler_of(self, other: Checkpoint) -> Checkpoint:
        """Return a copy with the sampler, the stopping times and the trade-off curve of another checkpoint."""
        recipe = self.recipe | {"sampler": other.recipe["sampler"]}
        points, curve = other.stopping_points, other.curve
        return replace(self, recipe=recipe, stopping_points=points, curve=curve, increment=other.increment)


def _is_row(row: Mapping[str, Any]) -> bool:
    """Return True for a row of a trade-off curve: time, NFE, output and metrics."""
    return all(matches_type(row.get(key), kind) for key, kind in {"t": float, "nfe": float, "output": str}.items())


def _is_named(table: Any) -> bool:
    return isinstance(table, Mapping) and all(isinstance(name, str) for name in table)


def _is_bounded(value: Any) -> bool:
    """Return True for plain containers of text and numbers within the limits.

    A pickle can repeat a container inside itself or others. Each occurrence therefore counts.
    """
    left, stack = MAX_VALUES, [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, dict | list | tuple):
            left -= len(item)
            keys, values = (item.keys(), item.values()) if isinstance(item, dict) else ((), item)
            if left < 0 or depth == MAX_DEPTH or not all(isinstance(key, str | int | float) for key in keys):
                return False
            stack += [(inner, depth + 1) for inner in values]
        elif not isinstance(item, int | float | str | None) or (isinstance(item, int) and abs(item) >= MAX_INTEGER):
            return False
    return True
