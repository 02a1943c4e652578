"""Restoration of files. Each is isolated: one that fails is named and skipped, and the others are restored.

Each restored file has a line in the log of the output folder, `restored.jsonl`, with its model, settings and source.
"""

import errno
import hashlib
import json
import os
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diracdiff.apps.service import Batch, Restored, RestoreOptions, SourceImage, prepare
from diracdiff.checkpoints import to_recipe
from diracdiff.checkpoints.weights import fingerprint
from diracdiff.data.companions import Companions
from diracdiff.data.image_io import DecodedImage, convert_depth, read_image, write_image
from diracdiff.data.inputs import IN_FORM, LOG, TABLE, Form, Input, batches, read_log
from diracdiff.evaluation.plots import heat_map
from diracdiff.evaluation.uncertainty import PICTURES, Spread
from diracdiff.restorer import Restorer
from diracdiff.utils.console import bar
from diracdiff.utils.errors import is_out_of_memory, warn
from diracdiff.utils.files import append_line, write_rows
from diracdiff.utils.ranks import Ranks


class _Loaded(NamedTuple):
    """An image file that was read, and the hash of its mask or kernel."""

    image: Input
    decoded: DecodedImage
    source: SourceImage
    companion: str | None


class FileRestoration:
    """Restores files with one setting, and logs each.

    Args:
        restorer: restores.
        options: of the restoration.
        output: folder of the results.
        form: format and depth of the results.
        companions: masks or kernels of the images.
        single: one file is restored, whose failure ends the command.

    Attributes:
        settings: everything that a result depends on, except its source, in plain containers.
        rows: lines that were added to the log.
        failed: {file: the reason why it is not restored}.
        defect: the first exception that is not a user's mistake.
    """

    def __init__(
        self,
        restorer: Restorer,
        options: RestoreOptions,
        output: Path,
        form: Form,
        companions: Companions | None = None,
        single: bool = False,
    ):
        self.restorer, self.options, self.companions, self.single = restorer, options, companions, single
        self.output, self.log = output, output / LOG
        self.rows: list[dict[str, Any]] = []
        self.failed: dict[Path, str] = {}
        self.defect: Exception | None = None
        self._before = {row["result"]: row for row in read_log(output)}
        model = [to_recipe(restorer.process), to_recipe(restorer.denoiser), fingerprint(restorer.denoiser.state_dict())]
        increment = getattr(restorer.sampler.increment, "denoiser", None)
        sampling = [to_recipe(restorer.sampler), fingerprint(increment.state_dict()) if increment else None]
        sampling += [str(restorer.stop_for(options.target)), str(restorer.tiles), str(restorer.denoiser.autocast)]
        self.settings = _rounded(
            {
                "model": f"{restorer.name}-{_digest(model)}",
                "sampling": _digest(sampling),
                "target": options.target,
                "samples": options.samples,
                "level": options.interval.level if options.interval else None,
                "degrade": options.degrade,
                "sigma": options.sigma,
                "seed": restorer.seed,
                "format": form.format,
                "depth": form.bits,
            }
        )

    @property
    def extras(self) -> list[str]:
        """Names of the further results of an image, next to "restored"."""
        return [*["measurement"] * self.options.degrade, *(PICTURES if self.options.interval else [])]

    def missing(self, images: Sequence[Input]) -> tuple[list[Input], dict[Path, Exception]]:
        """Find the images without results of these settings and this source.

        Returns:
            The images, and {file: the error for which it is skipped}: it has another result, which is kept.

        Raises:
            ValueError: if a result has other settings, another model for example.
        """
        found, skipped = [], dict[Path, Exception]()
        for image in images:
            made = [target for target in image.targets.values() if os.path.lexists(target)]
            row = self._before.get(self._name(image.targets["restored"]), {})
            settings = row["settings"] if isinstance(row.get("settings"), dict) else {}
            differing = [key for key, value in self.settings.items() if settings.get(key) != value]
            if made and settings and differing:
                named = ", ".join(f"{key}={settings.get(key)}" for key in differing)
                remedy = "Use existing=overwrite, or another output."
                raise ValueError(f"existing=skip: {made[0]} is of another restoration ({named}). {remedy}")
            if made and not settings:
                skipped[image.path] = ValueError(f"{made[0]} exists, and {self.log} does not name its model. Remove it")
            elif made and row.get("sha256") != _sha256(image.path):
                skipped[image.path] = ValueError(f"it has changed since {made[0]} was made. Use existing=overwrite")
            elif len(made) < len(image.targets):
                found.append(image)
        return found, skipped

    def run(self, images: Iterable[Input], batch_size: int, ranks: Ranks) -> list[dict[str, Any]]:
        """Restore this process's part of the images; returns the lines of all processes in the log."""
        mine = ranks.share(batches(images, batch_size))
        with bar() as progress:
            task = progress.add_task("restoring", total=sum(map(len, mine)))
            for batch in mine:
                self.restore(batch)
                progress.advance(task, len(batch))
        parts = ranks.gathered((self.rows, self.failed))
        self.failed = {path: reason for _, failed in parts for path, reason in failed.items()}
        if self.options.interval and ranks.rank == 0:
            self._write_table()
        return [row for rows, _ in parts for row in rows]

    def restore(self, images: Iterable[Input]) -> None:
        """Restore images of one size, and write their results; those of a batch that fails are restored one by one."""
        group: list[_Loaded] = []
        for image in images:
            with self._isolated(image.path):
                group.append(self._load(image))
        try:
            self._restore(group)
        except Exception as error:
            if len(group) == 1:
                self.skip(group[0].image.path, error)
            for loaded in group if len(group) > 1 else ():
                with self._isolated(loaded.image.path):
                    self._restore([loaded])

    def _load(self, image: Input) -> _Loaded:
        decoded, guide, digest = read_image(image.path, bits=image.bits), {}, None
        if self.companions:
            height, width = decoded.pixels.shape[:2]
            guide[self.companions.kind], digest = self.companions.read(image, (width, height))
        return _Loaded(image, decoded, SourceImage.of(decoded, image.relative.as_posix(), **guide), digest)

    def _restore(self, group: Sequence[_Loaded]) -> None:
        batch = prepare(self.restorer, [loaded.source for loaded in group], self.options)
        restored = batch.restore()
        for index, loaded in enumerate(group):
            with self._isolated(loaded.image.path):
                self._finish(loaded, batch, restored, index)

    def _finish(self, loaded: _Loaded, batch: Batch, restored: Restored, index: int) -> None:
        """Test a result, write it and its pictures, and log it."""
        image, original, samples = loaded.image, loaded.decoded, restored.samples[:, index]
        if not samples.isfinite().all():
            raise ValueError("its result is not a number at every pixel, and not written")
        test = batch.test(index, restored.x_hat[index])
        pictures, uncertainty = {"restored": samples[0], "measurement": batch.measurement(index)}, None
        if self.options.interval:
            spread = Spread(samples.unsqueeze(1))
            pictures |= self.options.interval.pictures(spread, 0)
            uncertainty = self.options.interval.row(spread, 0)
            write_image(image.targets["uncertainty"], heat_map(spread.std[0].mean(0).cpu()))
        for key, picture in pictures.items():
            if key not in image.targets:
                continue
            pixels = self._pixels(key, picture, loaded)
            kept: dict[str, Any] = {}
            if key in IN_FORM:
                alpha = None if original.alpha is None else convert_depth(original.alpha, 8 * pixels.itemsize)
                kept = {"alpha": alpha, "icc": original.icc, "exif": original.exif}
            write_image(image.targets[key], pixels, **kept)
        row = _rounded(
            {
                "image": str(image.path),
                "path": str(image.path.absolute()),
                "relative": image.relative.as_posix(),
                "sha256": original.sha256,
                "companion": loaded.companion,
                "settings": self.settings,
                "result": self._name(image.targets["restored"]),
                "files": [self._name(path) for path in image.targets.values()],
                "t": min(self.restorer.stop_for(self.options.target).t, self.restorer.sampler.start),
                "nfe": restored.nfe,
                "seconds": restored.seconds,
                **test,
                "lossy": image.info.lossy and not self.options.degrade,
                "uncertainty": uncertainty,
            }
        )
        append_line(self.log, row)
        self.rows.append(row)

    def _pixels(self, key: str, picture: Tensor, loaded: _Loaded) -> NDArray[Any]:
        """Return a picture, (3, H, W) in [0, 1], as pixels of its file: grey where the original is."""
        top, kind = (65535, np.uint16) if loaded.image.bits == 16 else (255, np.uint8)
        colours = picture.detach().float()
        if loaded.decoded.grey and not (key == "measurement" and self.options.degrade):
            colours = colours.mean(0, keepdim=True).expand(loaded.decoded.info.channels, -1, -1)
        pixels = colours.clamp(0, 1).mul(top).round().permute(1, 2, 0).cpu().numpy().astype(kind)
        return pixels[..., 0] if pixels.shape[-1] == 1 else pixels

    def _write_table(self) -> None:
        """Write `uncertainty.csv`: a row for each image of the log that has one."""
        rows = {row["path"]: row for row in read_log(self.output)}
        found = [rows[path] for path in sorted(rows) if isinstance(rows[path].get("uncertainty"), dict)]
        columns = list(found[-1]["uncertainty"]) if found else []
        table = [{"image": row["image"], **{key: row["uncertainty"].get(key) for key in columns}} for row in found]
        if table:
            write_rows(self.output / TABLE, table)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.output).as_posix()

    @contextmanager
    def _isolated(self, path: Path) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.skip(path, error)

    def skip(self, path: Path, error: Exception) -> None:
        """Name a file that is not restored; the failure of a single file and a full disk end the command."""
        cause = error.__cause__ if isinstance(error, ValueError) else error
        if self.single or (isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)):
            raise error
        text = " ".join(str(error).split()).removeprefix(f"{path}: ").removeprefix(f"{str(path)!r}: ")
        if is_out_of_memory(error):
            text = "out of memory. Lower tile, batch_size or samples"
        elif not isinstance(error, ValueError | OSError):
            text = f"{type(error).__name__}: {text}"
            traceback.clear_frames(error.__traceback__)  # their tensors
            self.defect = self.defect or error
        self.failed[path] = text
        warn(f"{path}: {text.rstrip('.')}. Skipped.", True)

    def check(self, restored: int) -> None:
        """Raise the first defect, or ValueError if files were skipped."""
        if self.defect is not None:
            raise self.defect
        if count := len(self.failed):
            raise ValueError(
                f"{count} of {count + restored} images not restored, see the warnings above. Once they are fixed, the "
                "same command with existing=skip restores what is missing."
            )


def _rounded(value: Any) -> Any:
    """Round the numbers in plain containers to six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return {key: _rounded(item) for key, item in value.items()} if isinstance(value, dict) else value


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
