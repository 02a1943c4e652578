"""Schedule a task's severity: `python -m diracdiff.schedule task=deblur dataset=photos output=table.csv`.

With `checkpoint=…`, schedule the times of its walk instead, on the walk's own change.
"""

import math
import time
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from diracdiff.cli import check_boolean, check_number, command
from diracdiff.degradations import LinearSeverity
from diracdiff.errors import UserError, warn
from diracdiff.files import check_output, write_rows
from diracdiff.seeds import image_seed


def schedule(cfg: DictConfig) -> None:
    """Place severities, or the times of a checkpoint's walk, greedily; write them as a table, and draw it."""
    from rich.progress import track

    from diracdiff.config import build
    from diracdiff.report import draw_schedule
    from diracdiff.scheduling import greedy, tabulate

    output, picture = _check(cfg)
    dissimilarity = build(cfg.metric)
    if cfg.checkpoint is None:
        severity, distance, name = *_severities(cfg, dissimilarity), cfg.task.name
    else:
        severity, distance, name = *_times(cfg, dissimilarity), "times"
    start = time.perf_counter()
    placed = greedy(distance, cfg.candidates, cfg.budget)
    progress = track(placed, total=cfg.budget + 1, description=f"placing {name}", transient=True)
    first, *_, last = progress
    seconds = time.perf_counter() - start
    table = tabulate(last.chosen, cfg.candidates, severity)
    rows = zip(table.times, table.values, strict=True)
    write_rows(output, [{"t": f"{t:.8g}", "value": f"{value:.8g}"} for t, value in rows])
    what = "times" if cfg.checkpoint else "severity"
    draw_schedule(picture, table, severity, f"{name}: {what} by {dissimilarity.name}, {cfg.images} images", what)
    found = len(last.chosen) - 2
    if found < cfg.budget:
        warn(f"placed {found} of {cfg.budget}: with any more the largest distance would grow")
    print(f"{name}: {found} of {cfg.candidates} candidates by {dissimilarity.name} of {cfg.images} images")
    print(f"largest distance between neighbours: {first.largest:.4g} before, {last.largest:.4g} after")
    use = "train with schedule=tabulated schedule.severity.path="
    if cfg.checkpoint:
        use = "evaluate or restore with sampler/grid=adaptive sampler.grid.path="
    else:
        per_image = distance.degraded / cfg.images
        print(f"{seconds:.1f} s, {distance.degraded} degraded images ({per_image:.0f} of each)")
    print(f"written: {output} {picture}; {use}{output}")


def _severities(cfg: DictConfig, dissimilarity) -> tuple:
    """The straight severity of the task and the distance between its degradations of clean images."""
    from diracdiff.config import build
    from diracdiff.scheduling import DegradationDistance

    severity = _linear_severity(cfg)
    degradation = build(cfg.task.degradation, severity=severity, image_size=cfg.dataset.image_size)
    images = _images(build(cfg.dataset), cfg.images, cfg.seed)
    images = images.to("cuda" if torch.cuda.is_available() else "cpu")
    return severity, DegradationDistance(degradation, images, dissimilarity, cfg.candidates, cfg.batch_size, cfg.memory)


@torch.no_grad()
def _times(cfg: DictConfig, dissimilarity) -> tuple:
    """Time itself and the distance between the iterates of a walk without noise, one step per candidate."""
    from rich.progress import track

    from diracdiff.config import build
    from diracdiff.restorer import load
    from diracdiff.samplers import ImageNoise, LookAhead, UniformGrid
    from diracdiff.scheduling import TrajectoryDistance

    restorer = load(cfg.checkpoint, "cuda" if torch.cuda.is_available() else "cpu", cfg.trust)
    cfg.dataset.image_size = restorer.process.degradation.image_size
    images = _images(build(cfg.dataset), cfg.images, cfg.seed).to(restorer.device)
    sampler = restorer.sampler.replace(
        steps=cfg.candidates - 1,
        stop=0.0,
        output="iterate",
        stochasticity=0.0,
        grid=UniformGrid(),
        start=1.0,
        increment=LookAhead(),  # suits any number of steps
    )
    walks = []
    for part in track(images.split(cfg.batch_size), description="walking", transient=True):
        noise = ImageNoise([image_seed(cfg.seed, f"schedule/{len(walks)}/{i}") for i in range(len(part))], part.device)
        measurement = restorer.process.measure(part, noise.normal(part.shape[1:]))
        states = sampler.states(restorer.process, restorer.denoiser, measurement, noise)
        walks.append(torch.stack([state.y for state in states]).flip(0))
    return LinearSeverity(0.0, 1.0), TrajectoryDistance(
        torch.cat(walks, dim=1), dissimilarity, cfg.batch_size, cfg.memory
    )


def _check(cfg: DictConfig) -> tuple[Path, Path]:
    """Refuse bad numbers and an output that cannot be written; the paths of the table and of the picture."""
    for key in ("candidates", "budget", "images", "batch_size", "memory", "seed"):
        if cfg[key] is None:
            raise UserError(f"{key} must be given: add {key}=…")
    check_number("candidates", cfg.candidates, 3)
    check_number("budget", cfg.budget, 1)
    if cfg.budget > cfg.candidates - 2:
        raise UserError(f"budget must be at most candidates - 2 = {cfg.candidates - 2}, got {cfg.budget}")
    check_number("images", cfg.images, 1)
    check_number("batch_size", cfg.batch_size, 1)
    check_number("memory", cfg.memory, 0)
    check_number("seed", cfg.seed, 0)
    check_boolean("overwrite", cfg.overwrite)
    output = Path(cfg.output)
    if output.suffix != ".csv" or output.is_dir():
        raise UserError(f"output must be a CSV file, got {output}: give output=table.csv")
    picture = output.with_suffix(".png")
    check_output(output.parent, [output, picture], cfg.overwrite)
    return output, picture


def _linear_severity(cfg: DictConfig) -> LinearSeverity:
    """The straight line between the ends of the task's severity."""
    ends = OmegaConf.to_container(cfg.task).get("severity")
    numbers = isinstance(ends, list) and all(type(end) in (int, float) and math.isfinite(end) for end in ends)
    if not numbers or len(ends) != 2:
        raise UserError(
            f"task={cfg.task.name} has no one severity parameter to schedule: task.severity must be two numbers, "
            f"its values at t = 0 and t = 1, got {ends}"
        )
    try:
        return LinearSeverity(*ends)
    except ValueError as error:
        raise UserError(f"task.severity: {error}") from error


def _images(dataset, count: int, seed: int) -> Tensor:
    """`count` images of the training split, evenly spread from a start that the seed chooses, (n, C, H, W)."""
    split = dataset.split("train")
    if count > len(split):
        raise UserError(f"images={count} is more than the {len(split)} training images: lower images")
    start = image_seed(seed, "schedule") % max(1, len(split) // count)
    return torch.stack([split[start + k * len(split) // count]["x"] for k in range(count)])


main = command("schedule")(schedule)

if __name__ == "__main__":
    main()
