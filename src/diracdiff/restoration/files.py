"""Restoration of files. Each is isolated: one that fails is named and skipped, and the others are restored."""

import errno
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diracdiff.data.companions import Companions
from diracdiff.data.image_io import DecodedImage, convert_depth, read_image, write_image
from diracdiff.data.inputs import IN_FORM, TABLE, Form, Input, batches
from diracdiff.evaluation.plots import HEAT_MAP_TOP, heat_map, residual_map
from diracdiff.evaluation.uncertainty import PICTURES, Spread
from diracdiff.restoration.consistency import NoiseLevel, concern_of
from diracdiff.restoration.log import Log, summary
from diracdiff.restoration.service import RestoredImage, RestoreOptions, SourceImage, prepare
from diracdiff.restorer import Restorer
from diracdiff.utils.console import track_images
from diracdiff.utils.errors import UserError, is_out_of_memory, warn
from diracdiff.utils.ranks import Ranks

LOWER = "tile, batch_size or samples"
"""Keys with which a restoration needs less memory."""


@dataclass(frozen=True)
class _Loaded:
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
        log: of the output folder.
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
        self.log = Log(output, restorer, options, form)
        self.failed: dict[Path, str] = {}
        self.defect: Exception | None = None
        self.seconds = 0.0
        self._concerns: set[str] = set()

    @property
    def extras(self) -> list[str]:
        """Names of the further results of an image, next to "restored"."""
        options = self.options
        return [
            *["measurement"] * options.degrade,
            *(PICTURES if options.interval else []),
            *["residual"] * options.residual_map,
        ]

    def run(self, images: Iterable[Input], batch_size: int, ranks: Ranks) -> list[dict[str, Any]]:
        """Restore this process's part of the images; returns the lines of all processes in the log."""
        began, mine = time.perf_counter(), ranks.share(batches(images, batch_size))
        try:
            with track_images(sum(map(len, mine)), "restoring") as advance:
                for batch in mine:
                    self.restore(batch)
                    advance(len(batch))
        finally:
            if self.options.interval and ranks.world == 1:
                self.log.write_table()
        parts = ranks.gathered((self.log.rows, self.failed))
        self.failed = {path: reason for _, failed in parts for path, reason in failed.items()}
        if self.options.interval and ranks.world > 1 and ranks.rank == 0:
            self.log.write_table()
        self.seconds = time.perf_counter() - began
        return [row for rows, _ in parts for row in rows]

    def report(self, rows: Sequence[dict[str, Any]], t: float) -> list[str]:
        """Return lines about the images that were restored, and the time at which sampling stopped."""
        count, interval, samples = len(rows), self.options.interval, self.options.samples
        rate = f", {count / self.seconds:.3g} images/s" if count else ""
        lines = [f"restored {count} image{'s' * (count != 1)} at t = {t:.2f} into {self.log.output}{rate}"]
        if interval and count:
            table = self.log.output / TABLE
            lines = [f"uncertainty: white where {samples} samples have std {HEAT_MAP_TOP}; {interval}; {table}", *lines]
        return [*lines, *([summary(rows)] if count else [])]

    def restore(self, batch: Iterable[Input]) -> None:
        """Restore images and write their results."""
        groups: dict[Any, list[_Loaded]] = {}
        for image in batch:
            with self._isolated(image.path):
                loaded = self._load(image)
                shape = loaded.source.pixels.shape, getattr(loaded.source.kernel, "shape", None)
                groups.setdefault(shape, []).append(loaded)
        for group in groups.values():
            self._restore(group)

    def _load(self, image: Input) -> _Loaded:
        decoded, guide, digest = read_image(image.path, bits=image.bits), {}, None
        if self.companions:
            height, width = decoded.pixels.shape[:2]
            guide[self.companions.kind], digest = self.companions.read(image, (width, height))
        return _Loaded(image, decoded, SourceImage.of(decoded, image.relative.as_posix(), **guide), digest)

    def _restore(self, group: Sequence[_Loaded]) -> None:
        """Restore images of one size; those of a batch that fails are restored one by one."""
        results: list[RestoredImage] = []
        try:
            results = prepare(self.restorer, [loaded.source for loaded in group], self.options).restore()
        except Exception as error:
            if len(group) == 1:
                self.skip(group[0].image.path, error)
                return
        for loaded in group if not results else ():
            self._restore([loaded])
        for loaded, result in zip(group, results, strict=False):
            with self._isolated(loaded.image.path):
                self._finish(loaded, result)

    def _finish(self, loaded: _Loaded, result: RestoredImage) -> None:
        """Test a result, write it and its pictures, and log it."""
        image, interval = loaded.image, self.options.interval
        if not result.samples.isfinite().all():
            raise UserError("its result is not a number at every pixel, and not written")
        test = result.test()
        if not self.options.degrade:
            self._warn_of_concern(image.path, test.noise, test.hidden)
        pictures = {"restored": result.samples[0], "measurement": result.measurement}
        arrays: dict[str, NDArray[Any]] = {}
        uncertainty = None
        if interval:
            spread = Spread(result.samples.unsqueeze(1))
            pictures |= interval.pictures(spread, 0)
            arrays["uncertainty"] = heat_map(spread.std[0].mean(0).cpu())
            uncertainty = interval.row(spread, 0)
        arrays |= {key: self._pixels(key, picture, loaded) for key, picture in pictures.items() if key in image.targets}
        if self.options.residual_map:
            arrays["residual"] = residual_map((test.z.sum(0) / len(test.z) ** 0.5).cpu())
        for key, pixels in arrays.items():
            self._write(image.targets[key], pixels, loaded.decoded if key in IN_FORM else None)
        self.log.add(image, loaded.decoded.sha256, loaded.companion, result, test, uncertainty)

    def _pixels(self, key: str, picture: Tensor, loaded: _Loaded) -> NDArray[Any]:
        """Return a picture, (3, H, W) in [0, 1], as pixels of its file: grey where the original is."""
        top, kind = (65535, np.uint16) if loaded.image.bits == 16 else (255, np.uint8)
        colours = picture.detach().float()
        if loaded.decoded.grey and not (key == "measurement" and self.options.degrade):
            colours = colours.mean(0, keepdim=True).expand(loaded.decoded.info.channels, -1, -1)
        pixels = colours.clamp(0, 1).mul(top).round().permute(1, 2, 0).cpu().numpy().astype(kind)
        return pixels[..., 0] if pixels.shape[-1] == 1 else pixels

    @staticmethod
    def _write(target: Path, pixels: NDArray[Any], original: DecodedImage | None) -> None:
        """Write a picture, with the transparency, the colour profile and the EXIF of its original."""
        if original is None:
            write_image(target, pixels)
            return
        alpha = None if original.alpha is None else convert_depth(original.alpha, 8 * pixels.itemsize)
        write_image(target, pixels, alpha=alpha, icc=original.icc, exif=original.exif)

    def _warn_of_concern(self, path: Path, noise: NoiseLevel, hidden: bool | None) -> None:
        """Warn of a measurement that does not suit the model, once of each kind."""
        concern, key = concern_of(self.restorer, noise, hidden), "sigma_estimated"
        differs = f"its noise is about {noise.estimated or 0:.2g}, and the model was trained for {noise.model:.2g}"
        if concern == "hidden":
            key = "hidden"
            text = f"its centre is not hidden as task={self.restorer.name} expects: add degrade=true if it is clean"
        elif self.options.sigma is None and concern == "noisier":
            text = f"{differs}: train with schedule.noise.sigma_max={noise.estimated:.2g}, or reduce the noise"
        elif self.options.sigma is None and concern == "cleaner" and not self.companions:
            text = f"{differs}: sigma=auto tests with its noise, and a model trained for that restores more"
        else:
            return
        if concern not in self._concerns:
            self._concerns.add(concern)
            warn(f"{path}: {text} (named once: see {key} in {self.log.path})", from_every_process=True)

    @contextmanager
    def _isolated(self, path: Path) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.skip(path, error)

    def skip(self, path: Path, error: Exception) -> None:
        """Name a file that is not restored; the failure of a single file and a full disk end the command."""
        cause = error.__cause__ if isinstance(error, UserError) else error
        if self.single or (isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)):
            raise error
        text = " ".join(str(error).split()).removeprefix(f"{path}: ").removeprefix(f"{str(path)!r}: ")
        if is_out_of_memory(error):
            text = f"out of memory. Lower {LOWER}"
        elif not isinstance(error, UserError | OSError):
            text = f"{type(error).__name__}: {text}"
            traceback.clear_frames(error.__traceback__)  # their tensors
            self.defect = self.defect or error
        self.failed[path] = text
        warn(f"{path}: {text.rstrip('.')}. Skipped.", from_every_process=True)

    def check(self, restored: int) -> None:
        """Raise the first defect, or UserError if files were skipped."""
        if self.defect is not None:
            raise self.defect
        if count := len(self.failed):
            total = count + restored
            raise UserError(
                f"{count} of {total} image{'s' * (total > 1)} not restored, see the warning{'s' * (count > 1)} above: "
                "once they are fixed, the same command with existing=skip restores what is missing"
            )
