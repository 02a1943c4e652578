"""Restoration of files. A file that fails is skipped with a warning, and the other files are restored."""

import errno
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diracdiff.apps.service import Batch, RestorationResult, RestoreOptions, SourceImage, estimates_noise, prepare
from diracdiff.data.image_io import DecodedImage, convert_depth, read_image, write_image
from diracdiff.data.inputs import FORMATTED_RESULTS, RESTORED_CSV, Input, group_by_size
from diracdiff.data.param_files import ParamFiles
from diracdiff.evaluation.plots import heat_map
from diracdiff.evaluation.uncertainty import UNCERTAINTY_IMAGES, SampleStatistics
from diracdiff.restorer import Restorer
from diracdiff.utils.console import progress_bar
from diracdiff.utils.errors import is_out_of_memory, warn
from diracdiff.utils.files import append_rows, read_rows, write_atomically, write_rows
from diracdiff.utils.ranks import Processes, all_gather_objects

COLUMNS = (
    *("image", "result", "checkpoint", "target", "t", "nfe", "seconds"),
    *("consistent", "residual_over_sigma", "chi_square", "p_larger", "p_structure"),
    *("sigma", "sigma_from", "sigma_estimated", "clipped", "lossy"),
    *("samples", "std", "level", "calibrated_on", "factor", "psnr_low", "psnr_high"),
)
"""Columns of the table of results. The columns of the last line need several samples."""


class _Loaded(NamedTuple):
    image: Input
    decoded: DecodedImage
    source: SourceImage


class FileRestoration:
    """Restoration of files, with one row per file in the table of the output folder.

    Args:
        restorer: the model.
        options: options of the restoration.
        output: output folder.
        checkpoint: name of the model, for the table.
        param_files: masks or kernels of the images.
        single: there is only one file, and its failure ends the command.

    Attributes:
        rows: rows of the restored images.
        failed: {file: reason of the failure}.
        unexpected_error: first exception that is not an error of the user.
    """

    def __init__(
        self,
        restorer: Restorer,
        options: RestoreOptions,
        output: Path,
        checkpoint: str = "",
        param_files: ParamFiles | None = None,
        single: bool = False,
    ):
        self.restorer, self.options, self.param_files, self.single = restorer, options, param_files, single
        self.output, self.table, self.checkpoint = output, output / RESTORED_CSV, checkpoint
        self.rows: list[dict[str, Any]] = []
        self.failed: dict[Path, str] = {}
        self.unexpected_error: Exception | None = None

    @property
    def extra_results(self) -> list[str]:
        """Names of the results of an image in addition to "restored"."""
        return [*["measurement"] * self.options.degrade, *(UNCERTAINTY_IMAGES if self.options.interval else [])]

    def run(self, images: Sequence[Input], batch_size: int, ranks: Processes) -> list[dict[str, Any]]:
        """Restore the images of this process, and gather the rows of all processes.

        Args:
            images: images of all processes.
            batch_size: number of images per batch.
            ranks: process group.

        Returns:
            Rows of all processes.
        """
        if ranks.rank == 0 and images:
            self._begin_table(images)
        ranks.wait()  # otherwise a process could read results of this run as results of an earlier run
        mine = ranks.shard(group_by_size(images, batch_size))
        with progress_bar() as progress:
            task = progress.add_task("restoring", total=sum(map(len, mine)))
            for batch in mine:
                self.restore(batch)
                progress.advance(task, len(batch))
        parts = all_gather_objects((self.rows, self.failed))
        self.failed = {path: reason for _, failed in parts for path, reason in failed.items()}
        return [row for rows, _ in parts for row in rows]

    def restore(self, images: Iterable[Input]) -> None:
        """Restore images of one size, and write the results. If a batch fails, its images are restored one by one."""
        group: list[_Loaded] = []
        for image in images:
            with self._isolated(image.path):
                group.append(self._load(image))
        try:
            self._restore(group)
        except Exception as error:
            if len(group) == 1:
                self.skip(group[0].image.path, error)
                return
            for loaded in group:
                with self._isolated(loaded.image.path):
                    self._restore([loaded])

    def _load(self, image: Input) -> _Loaded:
        decoded, operator_input = read_image(image.path, bits=image.bits), {}
        if self.param_files:
            height, width = decoded.pixels.shape[:2]
            operator_input[self.param_files.kind] = self.param_files.read(image, (width, height))
        return _Loaded(image, decoded, SourceImage.from_decoded(decoded, image.relative.as_posix(), **operator_input))

    def _restore(self, group: Sequence[_Loaded]) -> None:
        if len(group) > 1 and estimates_noise(self.restorer, self.options):  # each image has its start time
            for loaded in group:
                with self._isolated(loaded.image.path):
                    self._restore([loaded])
            return
        batch = prepare(self.restorer, [loaded.source for loaded in group], self.options)
        restored = batch.restore()
        for index, loaded in enumerate(group):
            with self._isolated(loaded.image.path):
                self._finish(loaded, batch, restored, index)

    def _finish(self, loaded: _Loaded, batch: Batch, restored: RestorationResult, index: int) -> None:
        """Test and write a result. The restored image is written last, so that an existing result is complete."""
        image, samples, row = loaded.image, restored.samples[:, index], dict[str, Any]()
        if not samples.isfinite().all():
            raise ValueError("its result is not a number at every pixel, and not written")
        test = batch.test_consistency(index, restored.x_hat[index])
        if self.options.degrade:
            self._write("measurement", batch.measurement(index), loaded)
        if self.options.interval:
            spread = SampleStatistics(samples.unsqueeze(1))
            for key, picture in self.options.interval.to_images(spread, 0).items():
                self._write(key, picture, loaded)
            write_image(image.outputs["uncertainty"], heat_map(spread.std[0].mean(0).cpu()))
            row = self.options.interval.row(spread, 0)
        row |= test | {
            "image": str(image.path),
            "result": self._name(image),
            "checkpoint": self.checkpoint,
            "target": self.options.target,
            "t": min(self.restorer.stopping_point_for(self.options.target).t, batch.restorer.sampler.t_start),
            "nfe": restored.nfe,
            "seconds": restored.seconds,
            "lossy": image.info.lossy and not self.options.degrade,
        }
        row = {key: float(f"{v:.6g}") if isinstance(v := row.get(key), float) else v for key in COLUMNS}
        append_rows(self.table, [row])
        self._write("restored", samples[0], loaded)
        self.rows.append(row)

    def _write(self, key: str, picture: Tensor, loaded: _Loaded) -> None:
        """Write a picture, (3, H, W) in [0, 1], as a result. It is grey if the original is grey."""
        original, (top, kind) = loaded.decoded, (65535, np.uint16) if loaded.image.bits == 16 else (255, np.uint8)
        colours = picture.detach().float()
        if original.grey and not (key == "measurement" and self.options.degrade):
            colours = colours.mean(0, keepdim=True).expand(original.info.channels, -1, -1)
        pixels: NDArray[Any] = colours.clamp(0, 1).mul(top).round().permute(1, 2, 0).cpu().numpy().astype(kind)
        kept: dict[str, Any] = {}
        if key in FORMATTED_RESULTS:
            alpha = None if original.alpha is None else convert_depth(original.alpha, 8 * pixels.itemsize)
            if alpha is not None and self.options.factor and not self.options.degrade:
                alpha = alpha.repeat(self.options.factor, 0).repeat(self.options.factor, 1)
            kept = {"alpha": alpha, "icc": original.icc}
        write_image(loaded.image.outputs[key], pixels[..., 0] if pixels.shape[-1] == 1 else pixels, **kept)

    def _begin_table(self, images: Sequence[Input]) -> None:
        """Write the header of the table, or remove the rows of images that are restored again."""
        names, linked = {self._name(image) for image in images}, self.table.is_symlink()
        rows = read_rows(self.table, {"result": str}, unfinished=True) if self.table.exists() and not linked else []
        if kept := [row for row in rows if row["result"] not in names]:
            write_rows(self.table, kept)
        else:
            write_atomically(self.table, (",".join(COLUMNS) + "\n").encode())

    def _name(self, image: Input) -> str:
        return image.outputs["restored"].relative_to(self.output).as_posix()

    @contextmanager
    def _isolated(self, path: Path) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.skip(path, error)

    def skip(self, path: Path, error: Exception) -> None:
        """Record and warn about a file that failed.

        Args:
            path: the file.
            error: reason of the failure.

        Raises:
            Exception: `error`, if there is only one file, or the disk is full.
        """
        cause = error.__cause__ if isinstance(error, ValueError) else error
        if self.single or (isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)):
            raise error
        text = " ".join(str(error).split()).removeprefix(f"{path}: ").removeprefix(f"{str(path)!r}: ")
        if is_out_of_memory(error):
            text = "out of memory. Lower tile, batch_size or samples"
        elif not isinstance(error, ValueError | OSError):
            text = f"{type(error).__name__}: {text}"
            traceback.clear_frames(error.__traceback__)  # frees the tensors of the frames
            self.unexpected_error = self.unexpected_error or error
        self.failed[path] = text
        warn(f"{path}: {text.rstrip('.')}. Skipped.", True)

    def raise_failures(self, restored: int) -> None:
        """Raise the first unexpected error, or ValueError if files failed.

        Args:
            restored: number of restored images.
        """
        if self.unexpected_error is not None:
            raise self.unexpected_error
        if count := len(self.failed):
            raise ValueError(
                f"{count} of {count + restored} images not restored, see the warnings above. Once they are fixed, the "
                "same command with if_exists=skip restores what is missing."
            )
