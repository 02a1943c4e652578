"""Measure a restorer: `python -m diracdiff evaluate checkpoint=runs/latest/best.ckpt dataset=photos`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.errors import say


@command
def evaluate(cfg: DictConfig) -> None:
    """Degrade the images of a split, restore them in one pass, and report what every stopping time gives."""
    from diracdiff.checkpoints import Checkpoint
    from diracdiff.commands.build import load_restorer, origin
    from diracdiff.commands.build_training import build_data, build_metrics, build_tester
    from diracdiff.evaluation import StoppingPoint, on_grid
    from diracdiff.report.evaluated import check_report, report
    from diracdiff.training.module import RestorerModule
    from diracdiff.utils.files import check_not_input

    if cfg.split not in ("test", "val") or cfg.times not in ("all", "stops"):
        raise ValueError(f"split={cfg.split} times={cfg.times}: must be test or val, and all or stops.")
    if cfg.tuned:
        if cfg.split != "val" or cfg.times != "all":
            raise ValueError(f"tuned={cfg.tuned}: takes stopping times of the validation. Add split=val times=all.")
        check_not_input("tuned", cfg.tuned, "checkpoint", cfg.checkpoint)
    folder = Path(cfg.output)
    check_report(folder, cfg.tuned, cfg.overwrite)
    restorer = load_restorer(cfg)
    stops = restorer.stops
    extra = None if cfg.target is None else restorer.stop_for(cfg.target)
    data, trainer = build_data(cfg, restorer, [cfg.split]), build_tester(cfg)
    data.split(cfg.split)  # a wrong folder is found out before weights of metrics are downloaded
    # The measurement, what one network call makes of it, and the points that have a row in the table.
    points = [StoppingPoint(1.0, "iterate"), StoppingPoint(1.0, "mean"), *filter(None, [*stops.values(), extra])]
    only = on_grid(points, restorer.sampler.times()) if cfg.times == "stops" else None
    module = RestorerModule(restorer, metrics=build_metrics(cfg), only=only)
    (trainer.test if cfg.split == "test" else trainer.validate)(module, data, verbose=False)
    if not trainer.is_global_zero:
        return
    if cfg.tuned:
        Checkpoint.read(cfg.checkpoint).tuned(restorer.checkpoint()).write(cfg.tuned)
        stops = stops | restorer.stops
    # Those of training, unless they were to be found here; where it found none, those of the validation images.
    stops = {target: stop or restorer.stops.get(target) for target, stop in stops.items()}
    names = report(folder, module.evaluation, stops, extra, restorer, cfg.split, origin(cfg))
    say(f"written to {folder}: {' '.join(names)}{f'; {cfg.tuned}' if cfg.tuned else ''}")


if __name__ == "__main__":
    evaluate()
