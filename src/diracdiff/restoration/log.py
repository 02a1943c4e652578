"""The log of an output folder: each restored image has a line that names its model, its settings and its source."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from diracdiff.checkpoints import to_recipe
from diracdiff.checkpoints.weights import fingerprint
from diracdiff.data.companions import Companions
from diracdiff.data.inputs import LOG, TABLE, Form, Input, read_log
from diracdiff.evaluation.data_consistency import LEVEL, RULE
from diracdiff.restoration.consistency import ConsistencyTest
from diracdiff.restoration.service import RestoredImage, RestoreOptions
from diracdiff.restorer import Restorer
from diracdiff.utils.errors import UserError
from diracdiff.utils.files import append_line, write_rows

DIGITS = 6
"""Of numbers in the log."""


class Log:
    """The lines of one restoration in an output folder. Lines are appended; the last one of a result counts.

    Args:
        output: the folder.
        restorer: restores.
        options: of the restoration.
        form: format and depth of the results.

    Attributes:
        rows: lines that were added.
        model: name of the model and a hash of its recipe and weights.
        settings: everything that a result depends on, except model and source, in plain containers.

    Raises:
        UserError: if the log cannot be read, or is a symbolic link.
    """

    def __init__(self, output: Path, restorer: Restorer, options: RestoreOptions, form: Form):
        self.path, self.output = output / LOG, output
        self.rows: list[dict[str, Any]] = []
        self._before = {row["result"]: row for row in read_log(output)}
        recipe = {"process": to_recipe(restorer.process), "denoiser": to_recipe(restorer.denoiser)}
        self.model = f"{restorer.name}-{_digest([recipe, fingerprint(restorer.denoiser.state_dict())])}"
        increment = getattr(restorer.sampler.increment, "denoiser", None)
        sampler = [to_recipe(restorer.sampler), fingerprint(increment.state_dict()) if increment else None]
        self.settings = rounded(
            {
                "target": options.target,
                "stop": asdict(restorer.stop_for(options.target)),
                "samples": options.samples,
                "level": options.interval.level if options.interval else None,
                "degrade": options.degrade,
                "sigma": options.sigma,
                "seed": restorer.seed,
                "sampler": _digest(sampler),
                "tile": [restorer.tiles.side, restorer.tiles.overlap],
                "precision": str(restorer.denoiser.autocast or torch.float32),
                "format": form.format,
                "depth": form.bits,
            }
        )

    def add(
        self,
        image: Input,
        sha256: str,
        companion: str | None,
        result: RestoredImage,
        test: ConsistencyTest,
        uncertainty: dict[str, Any] | None,
    ) -> None:
        """Append the line of an image whose results are written.

        Args:
            image: the image.
            sha256: of its file.
            companion: SHA-256 of its mask or kernel.
            result: its restoration.
            test: of the result.
            uncertainty: row of the table of uncertainty.

        Raises:
            UserError: if it cannot be written.
        """
        restorer, options, noise = result.batch.restorer, result.batch.options, test.noise
        files = {key: self._name(path) for key, path in image.targets.items()}
        row = {
            "image": str(image.path),
            "path": str(image.path.absolute()),
            "relative": image.relative.as_posix(),
            "sha256": sha256,
            "companion": companion,
            "model": self.model,
            "settings": self.settings,
            "result": files["restored"],
            "t": min(restorer.stop_for(options.target).t, restorer.sampler.start),
            "start": restorer.sampler.start,
            "samples": options.samples,
            "nfe": result.nfe,
            "seconds": result.seconds,
            "sigma": noise.sigma,
            "sigma_from": noise.source,
            "sigma_estimated": noise.estimated,
            **test.certificate.row(),
            "rule": RULE,
            "lossy": image.info.lossy and not options.degrade,
            "hidden": test.hidden,
            "residual_map": files.get("residual"),
            "files": list(files.values()),
            "uncertainty": uncertainty,
        }
        self.rows.append(rounded(row))
        append_line(self.path, self.rows[-1])

    def missing(
        self, images: Sequence[Input], companions: Companions | None
    ) -> tuple[list[Input], dict[Path, Exception]]:
        """Find images without results of this model, these settings and this source.

        Returns:
            The images, and {file: the error for which it is skipped}: its result must not be replaced.

        Raises:
            UserError: if a result is of another model or has other settings.
        """
        found: list[Input] = []
        skipped: dict[Path, Exception] = {}
        for image in images:
            made = [target for target in image.targets.values() if os.path.lexists(target)]
            row = self._before.get(self._name(image.targets["restored"]), {})
            if made and "model" in row and (differences := self._differences(row)):
                raise UserError(
                    f"existing=skip: {made[0]} is of another restoration ({differences}): use existing=replace, or "
                    "another output"
                )
            try:
                if made:
                    self._check_same(image, made[0], row, companions)
            except (UserError, OSError) as error:
                skipped[image.path] = error
            else:
                found += [image] if len(made) < len(image.targets) else []
        return found, skipped

    def _differences(self, row: dict[str, Any]) -> str:
        if row["model"] != self.model:
            return f"model {row['model']}, this one is {self.model}"
        made = row["settings"] if isinstance(row.get("settings"), dict) else {}
        return ", ".join(f"{key}={made.get(key)}" for key, now in self.settings.items() if made.get(key) != now)

    def _check_same(self, image: Input, made: Path, row: dict[str, Any], companions: Companions | None) -> None:
        """Raise UserError unless a result that exists is that of an image as it is now."""
        if "model" not in row:
            raise UserError(
                f"{image.path}: {made} exists, and {self.path} does not name its model. Remove it, or use "
                "existing=replace."
            )
        with open(image.path, "rb") as file:
            changed = "it" * (row.get("sha256") != hashlib.file_digest(file, "sha256").hexdigest())
        if row.get("companion") != (companions.read(image, image.info.size)[1] if companions else None):
            changed = changed or "its mask or kernel"
        if changed:
            raise UserError(f"{image.path}: {changed} has changed since {made} was made. Use existing=replace.")

    def write_table(self) -> None:
        """Write the table of uncertainty, `uncertainty.csv`: a row for each image of the log that has one."""
        rows = {row["path"]: row for row in read_log(self.output)}
        found = [rows[path] for path in sorted(rows) if isinstance(rows[path].get("uncertainty"), dict)]
        if found:
            columns = list(found[-1]["uncertainty"])
            table = ({"image": row["image"], **{key: row["uncertainty"].get(key) for key in columns}} for row in found)
            write_rows(self.output / TABLE, table)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.output).as_posix()


def summary(rows: Sequence[dict[str, Any]], most: int = 3) -> str:
    """Return how many images explain their measurement, and the names of some that do not."""
    against = [row for row in rows if not row["consistent"]]
    text = f"consistent with your measurement: {len(rows) - len(against)} of {len(rows)}"
    named = [
        f"{Path(row['image']).name}: residual {row['residual_over_sigma']:.3g} of its noise"
        + (", with structure" if row["p_structure"] < LEVEL / 2 else "")
        for row in against
    ]
    more = f" and {len(named) - most} more" if len(named) > most else ""
    return f"{text} (not {'; '.join(named[:most])}{more})" if against else text


def rounded(value: Any) -> Any:
    """Round the numbers in plain containers to six digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return value


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
