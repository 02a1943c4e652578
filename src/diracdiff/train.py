"""Train a restorer, find its stopping times, and report: `python -m diracdiff.train task=deblur dataset=photos`."""

import os
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from diracdiff.cli import check_boolean, check_booleans_of_trainer, command


def train(cfg: DictConfig) -> None:
    """Train as configured; everything goes to `cfg.run_dir`."""
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import CSVLogger

    from diracdiff.callbacks import Interrupted
    from diracdiff.config import build_data, build_process, build_restorer, build_trainer, write_composed
    from diracdiff.errors import UserError
    from diracdiff.recipe import foreign_modules, to_recipe
    from diracdiff.restorer import load

    check_boolean("model.residual", cfg.model.residual)
    check_booleans_of_trainer(cfg)
    _name_wandb_run(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    process = build_process(cfg)
    restorer = build_restorer(cfg, process)
    data = build_data(cfg, process)
    if cfg.checkpoint:
        _check_same(restorer, cfg.checkpoint)
    try:
        trainer = build_trainer(cfg)
        run_dir = Path(cfg.run_dir)
        if trainer.is_global_zero:
            write_composed(cfg, run_dir / "config.yaml")
            for logger in trainer.loggers:
                if not isinstance(logger, CSVLogger):
                    logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))
        trainer.fit(restorer, data, ckpt_path=cfg.checkpoint, weights_only=True)
        if not (run_dir / "best.ckpt").exists():
            raise UserError(
                f"nothing left to train: checkpoint={cfg.checkpoint} is at the end of its training; "
                f"raise trainer.max_epochs (now {cfg.trainer.max_epochs})"
            )
        best = load(run_dir / "best.ckpt", trust=foreign_modules(to_recipe(restorer)))
        trainer.test(best, data, verbose=False)
        if trainer.is_global_zero:
            report(best, run_dir)
    except Interrupted as stop:
        print(f"interrupted: saved {stop.checkpoint}; go on with the same command and checkpoint={stop.checkpoint}")
        raise SystemExit(128 + stop.signum) from None
    finally:
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish()


def _name_wandb_run(cfg: DictConfig) -> None:
    """Let the runs of a sweep form a group, each named by its overrides, unless the user has named them."""
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if "wandb" in (cfg.logger or {}) and hydra is not None and hydra.mode == RunMode.MULTIRUN:
        wandb = cfg.logger.wandb
        wandb.group = wandb.group or Path(hydra.sweep.dir).name
        wandb.name = wandb.name or hydra.job.override_dirname[:120]


def report(restorer, run_dir: Path) -> None:
    """Write `summary.json`, `tradeoff.png` and `samples.png` of a tested restorer and print the next command."""
    from diracdiff.report import draw_samples, draw_tradeoff, write_summary
    from diracdiff.tables import print_summary

    summary = write_summary(run_dir / "summary.json", restorer)
    title = f"{restorer.name}: the trade-off on {restorer.curve[0]['n']} validation images"
    draw_tradeoff(run_dir / "tradeoff.png", restorer.curve, restorer.stopping, title)
    draw_samples(run_dir / "samples.png", restorer)
    print_summary(summary, f"{restorer.name}: {summary['n']} test images")
    python = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else "python"
    target = "psnr" if restorer.stopping.get("lpips") is None else "lpips"
    folder = os.path.relpath(run_dir)
    print(f"pictures: {folder}/tradeoff.png {folder}/samples.png")
    if restorer.name == "prior":
        print("see what it has learned, and restore with methods that need a prior:")
        print(f"  {python} -m diracdiff.sample checkpoint={folder}/best.ckpt output=samples")
        print(f"  {python} -m diracdiff.compare checkpoint=RESTORER prior={folder}/best.ckpt")
        return
    print("restore degraded images with:")
    print(
        f"  {python} -m diracdiff.restore checkpoint={folder}/best.ckpt "
        f"input=FILE_OR_FOLDER output=restored target={target}"
    )


def _check_same(restorer, checkpoint: str) -> None:
    """Refuse to go on from a checkpoint of another process or network."""
    from diracdiff.checkpoint import KIND, read_checkpoint
    from diracdiff.errors import UserError
    from diracdiff.recipe import to_recipe

    content = read_checkpoint(checkpoint)
    if not content.get("optimizer_states"):
        raise UserError(
            f"checkpoint={checkpoint} holds weights but no training to go on with: give a last.ckpt of diracdiff.train"
        )
    theirs, ours = content[KIND]["recipe"], to_recipe(restorer)
    for part in ("process", "network", "conditioning", "residual"):
        if theirs.get(part) != ours[part]:
            raise UserError(
                f"checkpoint={checkpoint} was trained with another {part}: give the command that made it, "
                "with checkpoint=… added"
            )


main = command("train")(train)

if __name__ == "__main__":
    main()
