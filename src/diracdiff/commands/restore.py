"""Restore images: `python -m diracdiff restore checkpoint=runs/latest/best.ckpt input=photos/ output=restored`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.errors import echo, warn

if TYPE_CHECKING:
    from diracdiff.data.param_files import ParamFiles

LARGEST_FACTOR = 8


@command
def restore(cfg: DictConfig) -> None:
    """Restore an image or a folder of images."""
    from diracdiff.apps import RestoreOptions, check_operator_input
    from diracdiff.apps.files import FileRestoration
    from diracdiff.commands.build import load_restorer
    from diracdiff.data.inputs import IF_EXISTS, SUFFIXES, find_inputs
    from diracdiff.evaluation.uncertainty import describe_samples, select_interval
    from diracdiff.utils.ranks import join_processes
    from diracdiff.utils.validate import check_count, check_option

    for key in ("samples", "batch_size"):
        check_count(cfg[key], key)
    check_option(IF_EXISTS, if_exists=cfg.if_exists)
    check_option(("auto", *SUFFIXES), format=cfg.format)
    if cfg.sigma not in (None, "auto") and (type(cfg.sigma) not in (int, float) or not 0 < cfg.sigma <= 1):
        raise ValueError(f"sigma={cfg.sigma}: must be null, auto or a number above 0 and at most 1.")
    if cfg.factor is not None and (type(cfg.factor) is not int or not 2 <= cfg.factor <= LARGEST_FACTOR):
        raise ValueError(f"factor={cfg.factor}: must be an integer from 2 to {LARGEST_FACTOR}.")
    source, output, param_files = Path(cfg.input), Path(cfg.output), _read_param_files(cfg)
    with join_processes() as ranks:
        restorer = load_restorer(cfg)
        check_operator_input(
            restorer, param_files.kind if param_files else "factor" if cfg.factor else None, cfg.degrade
        )
        stop, start, interval = restorer.stopping_point_for(cfg.target), restorer.sampler.t_start, None
        if stop.t > start:
            remedy = "Find those of this sampler with diracdiff evaluate split=val save_tuned=…."
            warn(f"the stopping time, t = {stop.t:.2f}, lies before sampler.t_start={start:g}: one step. {remedy}")
        if cfg.samples > 1:
            samples = describe_samples(restorer.sampler, cfg.samples, stop)
            interval = select_interval(restorer.calibrations, samples, cfg.level)
        options = RestoreOptions(cfg.target, cfg.samples, interval, cfg.degrade, cfg.sigma, cfg.factor)
        job = FileRestoration(restorer, options, output, str(cfg.checkpoint), param_files, single=not source.is_dir())
        images, skipped = find_inputs(source, output, job.extra_results, cfg.if_exists, cfg.format)
        if cfg.if_exists == "skip":
            images = [image for image in images if not os.path.lexists(image.outputs["restored"])]
        for path, error in ranks.shard(list(skipped.items())):
            job.skip(path, error)
        rows = job.run(images, 1 if cfg.factor else cfg.batch_size, ranks)
        if ranks.rank == 0:
            count = f"{len(rows)} image{'s' * (len(rows) != 1)}"
            times = sorted({f"{row['t']:.2f}" for row in rows}) or [f"{min(stop.t, start):.2f}"]
            echo(f"restored {count} at t = {' … '.join(dict.fromkeys((times[0], times[-1])))} into {output}")
            echo(f"consistent with your measurement: {sum(row['consistent'] for row in rows)} of {len(rows)}")
            if interval:
                echo(f"uncertainty: {interval}")
        ranks.wait()
    if ranks.rank == 0 or job.unexpected_error:
        job.raise_failures(len(rows))


def _read_param_files(cfg: DictConfig) -> "ParamFiles | None":
    """Return the masks of `mask` or the kernels of `kernel`; None without both. Raises ValueError if invalid."""
    from diracdiff.commands.build import call_with_key
    from diracdiff.data.param_files import ParamFiles
    from diracdiff.degradations.kernels import parse_kernel

    if sum(cfg[key] is not None for key in ("mask", "kernel", "factor")) > 1:
        raise ValueError(
            "mask, kernel and factor: must not be combined, they are for different models. Give one of them."
        )
    if cfg.mask is None and cfg.kernel is None:
        return None
    path = Path(cfg.mask or cfg.kernel)
    if path.exists():
        return ParamFiles("mask" if cfg.mask else "kernel", path)
    if cfg.kernel:
        return ParamFiles("kernel", path, call_with_key("kernel", parse_kernel, cfg.kernel))
    raise ValueError(f"mask={cfg.mask}: does not exist. Give an image, or a folder with one for each input.")


if __name__ == "__main__":
    restore()
