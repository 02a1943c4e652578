"""Train a restorer, find its stopping times, and report: `python -m diracdiff train task=deblur dataset=photos`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.checks import check_training
from diracdiff.cli import command
from diracdiff.sweep import name_run
from diracdiff.training.names import BEST
from diracdiff.utils.errors import UserError


def train(cfg: DictConfig) -> float | list[float] | None:
    """Train as configured; everything goes to `cfg.run_dir`. Returns what `optimized_metric` names."""
    import pytorch_lightning as pl

    from diracdiff.checkpoints import foreign_modules, to_recipe
    from diracdiff.commands.builders.restoring import build_restorer
    from diracdiff.commands.builders.training import build_data, build_module, build_trainer, record
    from diracdiff.restorer import load
    from diracdiff.training.objective import check_objective, objective
    from diracdiff.training.report import report
    from diracdiff.training.resume import check_same, find, keep_logs
    from diracdiff.training.stopping import Interrupted, ended

    name_run(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    restorer = build_restorer(cfg)
    data, run_dir = build_data(cfg), Path(cfg.run_dir)
    data.setup("fit")  # a wrong folder is found out before weights of metrics are downloaded
    module, found = build_module(cfg, restorer), find(cfg.checkpoint and str(cfg.checkpoint), run_dir)
    optimized = check_objective(cfg.optimized_metric, module.metrics)
    try:
        trainer = build_trainer(cfg)
        if found is not None:
            check_same(module, data, trainer, found[1], str(found[0]))
            keep_logs(trainer, run_dir, found[0], found[1])
        origin = record(cfg, trainer)
        trainer.fit(module, data, ckpt_path=found and found[0], weights_only=True)
        run_dir = Path(trainer.strategy.broadcast(str(run_dir)))  # of processes that are started from outside
        if not (run_dir / BEST).exists():
            raise UserError(
                f"nothing left to train: checkpoint={cfg.checkpoint} is at the end of its training; "
                f"raise trainer.max_epochs (now {cfg.trainer.max_epochs})"
            )
        best = load(run_dir / BEST, trusted_modules=foreign_modules(to_recipe(restorer)))
        tested = module.to_test(best)
        trainer.test(tested, data, verbose=False)
        if trainer.is_global_zero:
            report(best, tested.evaluation, run_dir, origin, trainer.loggers)
        return objective(optimized, best)
    except Interrupted as stop:
        raise SystemExit(ended(stop, cfg.checkpoint, trainer.is_global_zero)) from None


main = command("train", check=check_training)(train)

if __name__ == "__main__":
    main()
