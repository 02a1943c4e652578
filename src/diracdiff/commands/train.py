"""Train a restorer, find its stopping times, and report: `python -m diracdiff train task=deblur dataset=photos`."""

import os
import signal
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from diracdiff.commands.command import command
from diracdiff.utils.errors import say


@command
def train(cfg: DictConfig) -> float | list[float] | None:
    """Train as configured; everything goes to `cfg.run_dir`. Return the value of `optimized_metric`."""
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from diracdiff.checkpoints import foreign_modules, to_recipe
    from diracdiff.commands.build import build_restorer, origin, plain
    from diracdiff.commands.build_training import build_data, build_module, build_trainer
    from diracdiff.restorer import load
    from diracdiff.training.report import check_objective, objective, report
    from diracdiff.training.resume import check_same, find, trim_logs
    from diracdiff.training.saving import BEST, point_latest
    from diracdiff.utils.files import write_atomically

    run_dir = Path(cfg.run_dir)
    _check_folder(cfg, run_dir)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    restorer, data = build_restorer(cfg), build_data(cfg)
    data.setup("fit")  # a wrong folder is found out before weights of metrics are downloaded
    module, found = build_module(cfg, restorer), find(cfg.checkpoint and str(cfg.checkpoint), run_dir)
    optimized = check_objective(cfg.optimized_metric, module.metrics)
    _name_wandb(cfg)
    trainer = build_trainer(cfg)
    path, logged = None, 0
    if found is not None:
        path, content = found
        check_same(module, data, trainer, content, path)
        logged = content.rest["global_step"] if path.resolve().parent == run_dir.resolve() else 0
    if trainer.is_global_zero:
        trim_logs(run_dir, logged)
        point_latest(run_dir)
        settings = OmegaConf.to_yaml(cfg, resolve=True)
        write_atomically(run_dir / "config.yaml", settings.encode("utf-8", "surrogateescape"))
        for logger in trainer.loggers:
            logger.log_hyperparams(plain(cfg))
    try:
        trainer.fit(module, data, ckpt_path=path, weights_only=True)
    except SIGTERMException:
        say(f"interrupted: resume with the same command and hydra.run.dir={run_dir} checkpoint=auto")
        raise SystemExit(128 + signal.SIGTERM) from None
    run_dir = Path(trainer.strategy.broadcast(str(run_dir)))  # of processes that are started from outside
    if not (run_dir / BEST).exists():
        raise ValueError(
            f"trainer.max_epochs={cfg.trainer.max_epochs}: is reached by checkpoint={cfg.checkpoint}. Raise it."
        )
    best = load(run_dir / BEST, trusted_modules=foreign_modules(to_recipe(restorer)))
    tested = module.to_test(best)
    trainer.test(tested, data, verbose=False)
    if trainer.is_global_zero:
        report(best, tested.evaluation, run_dir, origin(cfg))
    return objective(optimized, best)


def _check_folder(cfg: DictConfig, run_dir: Path) -> None:
    """Refuse the folder of another run, and processes from outside that each make a folder, whose name is the time."""
    from diracdiff.training.saving import LAST

    resumes = cfg.checkpoint and Path(cfg.checkpoint).resolve().parent == run_dir.resolve()
    if not resumes and cfg.checkpoint != "auto" and (run_dir / LAST).exists():
        raise ValueError(f"hydra.run.dir={run_dir}: holds a training run. Resume it with checkpoint=auto, or move it.")
    processes = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)
    config = HydraConfig.get()
    given = any(word.startswith("hydra.run.dir=") for word in config.overrides.hydra)
    if processes > 1 and not given and config.mode == RunMode.RUN:
        raise ValueError("hydra.run.dir: must be given where torchrun or srun starts processes. Add hydra.run.dir=….")


def _name_wandb(cfg: DictConfig) -> None:
    """Let the runs of a sweep form a group on Weights & Biases, each with its name."""
    config = HydraConfig.get()
    if config.mode == RunMode.MULTIRUN and "wandb" in (cfg.logger or {}):
        cfg.logger.wandb.group = cfg.logger.wandb.group or Path(config.sweep.dir).name
        cfg.logger.wandb.name = cfg.logger.wandb.name or f"{config.job.num} {config.job.override_dirname}"[:96]


if __name__ == "__main__":
    train()
