"""Schedule a task's severity: `python -m diracdiff schedule task=deblur dataset=photos output=table.csv`.

With `checkpoint=…`, schedule the times of its walk instead, on the walk's own change.
"""

import time
from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.console import track
from diracdiff.utils.errors import UserError


def schedule(cfg: DictConfig) -> None:
    """Place severities, or the times of a checkpoint's walk, greedily; write them as a table, and draw it."""
    from diracdiff.commands.builders.build import build, pick_device
    from diracdiff.commands.builders.restoring import build_straight
    from diracdiff.restorer import load
    from diracdiff.scheduling import greedy
    from diracdiff.scheduling.candidates import Candidates, images_of, severities, times
    from diracdiff.scheduling.report import check_table, report
    from diracdiff.utils.validate import check_count

    for key, least in (("candidates", 3), ("budget", 1), ("images", 1), ("batch_size", 1), ("memory", 0)):
        check_count(cfg[key], key, least)
    if cfg.budget > cfg.candidates - 2:
        raise UserError(f"budget must be at most candidates - 2 = {cfg.candidates - 2}, got {cfg.budget}")
    output = Path(cfg.output)
    check_table(output, cfg.overwrite)
    dissimilarity, device = build(cfg.dissimilarity), pick_device("auto")
    options = {"count": cfg.candidates, "batch_size": cfg.batch_size, "memory": cfg.memory}
    candidates: Candidates
    if cfg.checkpoint is None:
        degradation = build_straight(cfg)
        images = images_of(build(cfg.dataset), cfg.images, cfg.seed).to(device)
        candidates = severities(cfg.task.name, degradation, images, dissimilarity, **options)
    else:
        restorer = load(cfg.checkpoint, device, cfg.trusted_modules)
        cfg.dataset.image_size, restorer.seed = restorer.image_size, cfg.seed
        parts = images_of(build(cfg.dataset), cfg.images, cfg.seed).to(device).split(cfg.batch_size)
        walked = track(parts, description="walking")
        candidates = times(restorer, walked, dissimilarity, **options)
    start = time.perf_counter()
    placed = greedy(candidates.distance, cfg.candidates, cfg.budget)
    steps = track(placed, total=cfg.budget + 1, description=f"placing {candidates.name}")
    first, *_, last = steps
    report(output, candidates, first, last, cfg.budget, time.perf_counter() - start)


main = command(schedule)

if __name__ == "__main__":
    main()
