"""Train a restorer, find its stopping times, and report: `python -m diracdiff.train task=deblur dataset=photos`."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from diracdiff.cli import BOOLEANS_OF_TRAINER, check_booleans, check_number, command, name_wandb_run
from diracdiff.errors import UserError


def train(cfg: DictConfig) -> None:
    """Train as configured; everything goes to `cfg.run_dir`."""
    import pytorch_lightning as pl

    from diracdiff.config.restoring import build_restorer
    from diracdiff.config.training import build_data, build_module, build_trainer, record
    from diracdiff.restorer import load
    from diracdiff.storage import foreign_modules, to_recipe
    from diracdiff.training.report import report
    from diracdiff.training.resume import check_same, find, keep_logs
    from diracdiff.training.stopping import Interrupted, ended

    check_booleans(cfg, "model.residual", "walk.given_measurement", *BOOLEANS_OF_TRAINER)
    check_number("task.share_at_end", cfg.task.share_at_end, 0.0, 1.0, float)
    name_wandb_run(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    restorer = build_restorer(cfg)
    data, run_dir = build_data(cfg), Path(cfg.run_dir)
    data.setup("fit")  # a wrong folder is found out before weights of metrics are downloaded
    module = build_module(cfg, restorer)
    found = find(cfg.checkpoint, run_dir)
    try:
        trainer = build_trainer(cfg)
        if found is not None:
            check_same(module, data, trainer, found[1], str(found[0]))
            keep_logs(trainer, run_dir, found[0], found[1])
        record(cfg, trainer)
        trainer.fit(module, data, ckpt_path=found and found[0], weights_only=True)
        if not (run_dir / "best.ckpt").exists():
            raise UserError(
                f"nothing left to train: checkpoint={cfg.checkpoint} is at the end of its training; "
                f"raise trainer.max_epochs (now {cfg.trainer.max_epochs})"
            )
        best = load(run_dir / "best.ckpt", trust=foreign_modules(to_recipe(restorer)))
        tested = module.to_test(best)
        trainer.test(tested, data, verbose=False)
        if trainer.is_global_zero:
            report(best, tested.evaluation, run_dir)
    except Interrupted as stop:
        raise SystemExit(ended(stop, cfg.checkpoint, trainer.is_global_zero)) from None
    finally:
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish()


main = command("train")(train)

if __name__ == "__main__":
    main()
