"""Calibrate intervals: `python -m diracdiff calibrate checkpoint=runs/latest/best.ckpt samples=8 target=t:0`."""

import math
import shlex
from dataclasses import asdict, replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.errors import echo


@command
def calibrate(cfg: DictConfig) -> None:
    """Calibrate intervals on the validation images, measure their coverage on the test images, and write both."""
    from diracdiff.checkpoints import Checkpoint
    from diracdiff.commands.build import load_restorer
    from diracdiff.commands.build_training import build_data
    from diracdiff.evaluation.uncertainty import (
        CoverageCounts,
        SampleStatistics,
        calibrate_intervals,
        coverage_table,
        describe_samples,
    )
    from diracdiff.utils.console import track
    from diracdiff.utils.files import check_not_input, check_output, write_rows
    from diracdiff.utils.validate import check_count

    check_count(cfg.samples, "samples", 2)
    folder = Path(cfg.output)
    path, table = folder / "calibrated.ckpt", folder / "coverage.csv"
    check_not_input("output", path, "checkpoint", cfg.checkpoint)
    check_output(folder, [path, table], cfg.if_exists)
    restorer = load_restorer(cfg)
    samples = describe_samples(restorer.sampler, cfg.samples, restorer.stopping_point_for(cfg.target))
    data = build_data(cfg, restorer, ["val", "test"])
    tallies = []
    for part, loader in (("validation", data.val_dataloader()), ("test", data.test_dataloader())):
        tallies.append(CoverageCounts())
        for batch in track(loader, description=f"{part} images"):
            x, names = batch["x"].to(restorer.device), [str(name) for name in batch["name"]]
            bound = restorer.bind_images(names, x)
            y = bound.measure(x, [f"measurement/{name}" for name in names]).y
            tallies[-1].add(SampleStatistics(bound.sample(y, cfg.samples, cfg.target, names=names).images), x)
    intervals = calibrate_intervals(samples, tallies[0])
    others = [interval for interval in restorer.calibrations if interval.samples != samples]
    plain = [asdict(interval) for interval in (*others, *intervals)]
    replace(Checkpoint.read(cfg.checkpoint), calibrations=plain).write(path)  # with the sampler of its stopping points
    rows = coverage_table(intervals, tallies[1])
    write_rows(table, rows)
    echo(
        f"intervals of {cfg.samples} samples, calibrated on {intervals[0].images} images, of {rows[0]['images']} others"
    )
    for row in rows:
        held = "too few images" if row["factor_calibrated"] == math.inf else f"{row['pixels_calibrated']:.1%}"
        echo(f"  to hold {row['level']:.0%} of the pixels: hold {held}, uncalibrated {row['pixels_raw']:.1%}")
    echo(f"written to {folder}: {table.name} {path.name}; restore with intervals:")
    overrides = [f"checkpoint={path}", f"samples={cfg.samples}", f"target={cfg.target}"]
    overrides += [
        o for o in HydraConfig.get().overrides.task if o.startswith(("output_type=", "sampler", "trusted_modules="))
    ]
    echo(f"  python -m diracdiff restore input=FILE_OR_FOLDER output=restored {shlex.join(overrides)}")


if __name__ == "__main__":
    calibrate()
