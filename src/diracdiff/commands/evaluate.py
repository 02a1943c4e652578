"""Evaluate a restorer: `python -m diracdiff evaluate checkpoint=runs/latest/best.ckpt data=photos`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.errors import echo


@command
def evaluate(cfg: DictConfig) -> None:
    """Degrade the images of a split, restore them in one pass, and report the results at all stopping times."""
    from diracdiff.checkpoints import Checkpoint
    from diracdiff.commands.build import build_origin, load_restorer
    from diracdiff.commands.build_training import build_data, build_metrics, build_tester
    from diracdiff.evaluation import StoppingPoint, snap_to_grid
    from diracdiff.report.evaluation_files import check_outputs, write_evaluation
    from diracdiff.training.module import RestorerModule
    from diracdiff.utils.files import check_not_input

    if cfg.split not in ("test", "val") or cfg.times not in ("all", "stopping"):
        raise ValueError(f"split={cfg.split} times={cfg.times}: must be test or val, and all or stopping.")
    if cfg.save_tuned:
        if cfg.split != "val" or cfg.times != "all":
            rule = "takes stopping times of the validation. Add split=val times=all."
            raise ValueError(f"save_tuned={cfg.save_tuned}: {rule}")
        check_not_input("save_tuned", cfg.save_tuned, "checkpoint", cfg.checkpoint)
    folder = Path(cfg.output)
    check_outputs(folder, cfg.save_tuned, cfg.if_exists)
    restorer = load_restorer(cfg)
    stopping_points = restorer.stopping_points
    extra = None if cfg.target is None else restorer.stopping_point_for(cfg.target)
    data, trainer = build_data(cfg, restorer, [cfg.split]), build_tester(cfg)
    data.split(cfg.split)  # report a wrong folder before weights of metrics are downloaded
    # Rows of the table: the measurement, the one-shot result, and the stopping points.
    points = [
        StoppingPoint(1.0, "iterate"),
        StoppingPoint(1.0, "x_hat"),
        *filter(None, [*stopping_points.values(), extra]),
    ]
    eval_points = snap_to_grid(points, restorer.sampler.times()) if cfg.times == "stopping" else None
    module = RestorerModule(restorer, metrics=build_metrics(cfg), eval_points=eval_points)
    (trainer.test if cfg.split == "test" else trainer.validate)(module, data, verbose=False)
    if not trainer.is_global_zero:
        return
    if cfg.save_tuned:
        Checkpoint.read(cfg.checkpoint).with_sampler_of(restorer.checkpoint()).write(cfg.save_tuned)
        stopping_points = stopping_points | restorer.stopping_points
    # Stopping points of the checkpoint take precedence, unless this evaluation tunes them.
    stopping_points = {target: stop or restorer.stopping_points.get(target) for target, stop in stopping_points.items()}
    names = write_evaluation(folder, module.evaluation, stopping_points, extra, restorer, cfg.split, build_origin(cfg))
    echo(f"written to {folder}: {' '.join(names)}{f'; {cfg.save_tuned}' if cfg.save_tuned else ''}")


if __name__ == "__main__":
    evaluate()
