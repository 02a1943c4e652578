"""The layout of a checkpoint: this class alone knows it.

A checkpoint is a dictionary of weights and plain containers. What Lightning goes on training with, if anything, lies
beside what a restorer is built from: its recipe, its averaged weights, its stopping times and its trade-off curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast

from torch import Tensor

from diracdiff.errors import UserError
from diracdiff.places import located
from diracdiff.storage.recipe import TARGET, renamed
from diracdiff.storage.weights import read_weights, write_weights

KIND = "diracdiff.restorer"
"""The key beside Lightning's, under which version, recipe, stopping times and curve lie."""

VERSION = (0, 2)
"""Of the layout: the version of the program that it came with."""

DENOISER = "denoiser."
"""What the names of the denoiser's weights begin with in Lightning's state."""


@dataclass(frozen=True)
class Checkpoint:
    """What a restorer is made from again, in plain containers.

    Attributes:
        recipe: of the restorer, see `diracdiff.storage.recipe`.
        weights: of the denoiser, averaged where training averages, by their names in it.
        stops: {target: {"t", "output"} or None}, found by the last validation.
        curve: of the last validation, a row per time and output.
        dataset: recipe of the data set that it was trained on, or None where that is not known.
        training: recipes of what it was trained with, for the record.
        increment: weights of the incremental reconstruction network that the sampler uses, or None.
        calibrations: of intervals, see `diracdiff.evaluation.Calibration`.
        rest: what Lightning goes on training with; empty if there is none.
    """

    recipe: dict[str, Any]
    weights: dict[str, Tensor]
    stops: dict[str, dict[str, Any] | None]
    curve: list[dict[str, Any]]
    dataset: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    increment: dict[str, Tensor] | None = None
    calibrations: list[dict[str, Any]] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a file, of this version or an older one, or an exported model, without running any code in it.

        Args:
            path: of a file or a folder, `builtin:deblur` or `hf:owner/name`, see `diracdiff.places`.

        Raises:
            Damaged: if it is not as it was written.
            UserError: if there is no such file, it is not a checkpoint, holds a pickle, is of another kind or of a
                newer version, or its weights are not finite.
        """
        from diracdiff.storage.exported import read_exported

        place = located(path)
        try:
            if place.is_dir():
                checkpoint = cast(Self, read_exported(place))
            else:
                content = read_weights(place, "one that diracdiff wrote")
                if not isinstance(content, dict) or KIND not in content:
                    raise UserError(f"checkpoint={path} is of another kind: give one that diracdiff.train wrote")
                checkpoint = cls.of(content, str(path))
            wrong = [name for name, weight in checkpoint.weights.items() if not weight.isfinite().all()]
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"checkpoint={path} is damaged: {error!r} is missing or of another kind") from error
        if wrong:
            raise UserError(
                f"checkpoint={path} holds weights that are not finite ({wrong[0]}): the training that wrote it "
                "diverged; give an earlier one"
            )
        return checkpoint

    @classmethod
    def of(cls, content: Mapping[str, Any], name: str = "this") -> Self:
        """The checkpoint of a file's content.

        Args:
            content: what the file holds.
            name: of the file, for messages.

        Raises:
            UserError: if it is of a newer version.
        """
        header = content[KIND]
        version = _version(header.get("version"), name)
        if version > VERSION:
            raise UserError(
                f"checkpoint={name} was written by diracdiff {header['version']}, which is newer than this one, "
                f"{'.'.join(map(str, VERSION))}: install that version or a newer one"
            )
        if version < (0, 2):
            header = _from_0_1(header)
        state = content["state_dict"]
        return cls(
            header["recipe"],
            {key.removeprefix(DENOISER): value for key, value in state.items() if key.startswith(DENOISER)},
            header["stopping"],
            header["curve"],
            header.get("dataset"),
            header.get("training", {}),
            header.get("increment"),
            header.get("calibrations", []),
            {key: value for key, value in content.items() if key not in (KIND, "state_dict")},
        )

    def header(self) -> dict[str, Any]:
        """What lies beside Lightning's entries under KIND."""
        return {
            "version": ".".join(map(str, VERSION)),
            "recipe": self.recipe,
            "dataset": self.dataset,
            "training": self.training,
            "stopping": self.stops,
            "curve": self.curve,
            "increment": self.increment,
            "calibrations": self.calibrations,
        }

    def write(self, path: str | Path) -> None:
        """Write a file, whole or not at all."""
        state = {f"{DENOISER}{key}": value for key, value in self.weights.items()}
        write_weights(path, {**self.rest, "state_dict": state, KIND: self.header()})

    @property
    def resumable(self) -> bool:
        """Whether training can go on from it."""
        return bool(self.rest.get("optimizer_states"))

    def tuned(self, other: Checkpoint) -> Checkpoint:
        """Itself with the sampler, the stops and the curve of another one."""
        recipe = self.recipe | {"sampler": other.recipe["sampler"]}
        return replace(self, recipe=recipe, stops=other.stops, curve=other.curve, increment=other.increment)


def _version(text: Any, name: str) -> tuple[int, int]:
    try:
        major, minor = str(text).split(".")[:2]
        return int(major), int(minor)
    except ValueError as error:
        raise UserError(f"checkpoint={name} is of the unknown version {text!r}: give one of diracdiff") from error


def _from_0_1(header: dict[str, Any]) -> dict[str, Any]:
    """The header of version 0.1: one recipe of all, classes named by files, an incremental network by its path."""
    old = renamed(header["recipe"])
    if old.get(TARGET) != "diracdiff.restorer.Restorer":
        return header | {"recipe": old, "dataset": renamed(header.get("dataset"))}
    sampler, increment = dict(old["sampler"]), None
    sampler.pop("stop", None)
    take = sampler.pop("output", "mean")
    solver = sampler.pop("solver", "euler")
    sampler["step"] = {TARGET: f"diracdiff.samplers.{solver.capitalize()}"}
    if (sampler["increment"] or {}).get(TARGET) == "diracdiff.restorer.NetworkIncrement":
        other = Checkpoint.read(sampler["increment"]["checkpoint"])
        sampler["increment"] = {TARGET: "diracdiff.samplers.NetworkIncrement", "denoiser": other.recipe["denoiser"]}
        increment = other.weights
    process = old["process"]
    told = {key: old[key] for key in ("conditioning", "residual", "preconditioning") if key in old}
    denoiser = {TARGET: "diracdiff.models.Denoiser", "network": old["network"], "noise": process["noise"], **told}
    recipe = {TARGET: old[TARGET], "process": process, "denoiser": denoiser, "sampler": sampler}
    recipe |= {"seed": old["seed"], "name": old["name"], "take": take}
    return header | {
        "recipe": recipe,
        "dataset": renamed(header.get("dataset")),
        "training": {key: old[key] for key in ("loss", "optimization") if key in old},
        "increment": increment,
    }
