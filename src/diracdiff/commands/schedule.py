"""Schedule the severity of a task: `python -m diracdiff schedule task=deblur data=photos output=table.csv`.

With `checkpoint=…`, schedule the times of its sampler instead, by the distances along its trajectories.
"""

from pathlib import Path

from omegaconf import DictConfig, ListConfig

from diracdiff.commands.command import command


@command
def schedule(cfg: DictConfig) -> None:
    """Place severities or sampling times with the greedy algorithm, and write a table and a plot."""
    import torch

    from diracdiff.commands.build import build, call_with_key, check_no_bridge, select_device
    from diracdiff.degradations import LinearSeverity
    from diracdiff.evaluation.plots import draw_schedule
    from diracdiff.restorer import load
    from diracdiff.scheduling import Distance, greedy, tabulate, trajectories
    from diracdiff.utils.console import track
    from diracdiff.utils.errors import echo, warn
    from diracdiff.utils.files import check_output, write_rows
    from diracdiff.utils.seeds import image_seed
    from diracdiff.utils.validate import check_count

    for key, minimum in (("candidates", 3), ("budget", 1), ("images", 1), ("batch_size", 1)):
        check_count(cfg[key], key, minimum)
    output, picture = Path(cfg.output), Path(cfg.output).with_suffix(".png")
    if output.suffix != ".csv" or output.is_dir():
        raise ValueError(f"output={output}: must be a CSV file. Give output=table.csv.")
    check_output(output.parent, [output, picture], cfg.if_exists)
    dissimilarity, device = build(cfg.dissimilarity), select_device("auto")
    if cfg.checkpoint is None:
        name, quantity, ends = cfg.task.name, "severity", cfg.task.get("severity")
        if not isinstance(ends, ListConfig) or len(ends) != 2:
            raise ValueError(f"task={name}: has no single severity to schedule. Choose another task.")
        line = call_with_key("task.severity", LinearSeverity, *ends)
        degradation = build(cfg.task.degradation, severity=line, image_size=cfg.data.image_size)
        use = "train with schedule=tabulated schedule.severity.path="
    else:
        name, quantity, line = "times", "times", LinearSeverity(0.0, 1.0)
        restorer = load(cfg.checkpoint, device, cfg.trusted_modules)
        check_no_bridge(restorer, cfg.checkpoint)
        cfg.data.image_size, restorer.seed = restorer.image_size, cfg.seed
        use = "evaluate or restore with sampler/grid=adaptive sampler.grid.path="
    split = build(cfg.data).split("train")
    if cfg.images > len(split):
        raise ValueError(f"images={cfg.images}: must be at most {len(split)}, the number of training images.")
    first = image_seed(cfg.seed, "schedule") % max(1, len(split) // cfg.images)
    images = torch.stack([split[first + k * len(split) // cfg.images]["x"] for k in range(cfg.images)]).to(device)
    if cfg.checkpoint is None:
        distance = Distance.from_degradation(degradation, images, dissimilarity, cfg.candidates, cfg.batch_size)
    else:
        parts = track(images.split(cfg.batch_size), description="sampling")
        states = trajectories(restorer, parts, cfg.candidates)
        distance = Distance.from_trajectory(states, dissimilarity, cfg.batch_size)
    placements = greedy(distance, cfg.candidates, cfg.budget)
    ends, *_, last = track(placements, total=cfg.budget + 1, description=f"placing {name}")
    table, num_placed = tabulate(last.indices, cfg.candidates, line), len(last.indices) - 2
    rows = zip(table.times, table.values, strict=True)
    write_rows(output, [{"t": f"{t:.8g}", "value": f"{value:.8g}"} for t, value in rows])
    by = f"by {dissimilarity.name} of {cfg.images} images"
    draw_schedule(picture, table, line, f"{name}: {quantity} {by}", quantity)
    if num_placed < cfg.budget:
        warn(f"placed {num_placed} of {cfg.budget}: further points would increase the largest distance")
    echo(f"{name}: {num_placed} of {cfg.candidates} candidates {by}")
    echo(f"largest distance between neighbours: {ends.max_distance:.4g} before, {last.max_distance:.4g} after")
    echo(f"written: {output} {picture}; {use}{output}")


if __name__ == "__main__":
    schedule()
