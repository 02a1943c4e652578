"""Train a restorer, find its stopping times, and report: `python -m diracdiff train task=deblur data=photos`."""

import os
import re
import signal
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from diracdiff.commands.command import command
from diracdiff.utils.errors import echo

if TYPE_CHECKING:
    from diracdiff.restorer import Restorer


@command
def train(cfg: DictConfig) -> float | list[float] | None:
    """Train and test a restorer, write results to `paths.output_dir`, and return the value of `optimized_metric`."""
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from diracdiff.checkpoints import external_modules, to_recipe
    from diracdiff.commands.build import build_origin, build_restorer, to_container
    from diracdiff.commands.build_training import build_data, build_module, build_trainer
    from diracdiff.restorer import load
    from diracdiff.training.report import objective_metrics, objective_values, write_report
    from diracdiff.training.resume import check_same_run, find_checkpoint, trim_logs
    from diracdiff.training.saving import BEST, link_latest
    from diracdiff.utils.files import write_atomically

    _apply_extras(cfg)
    output_dir = Path(cfg.paths.output_dir)
    _check_folder(cfg, output_dir)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    if not cfg.train:
        return _test(cfg, output_dir)
    restorer, data = build_restorer(cfg), build_data(cfg)
    if cfg.init_from is not None:
        _initialise_network(restorer, str(cfg.init_from))
    data.setup("fit")  # report a wrong folder before weights of metrics are downloaded
    module, resumed = build_module(cfg, restorer), find_checkpoint(cfg.ckpt_path and str(cfg.ckpt_path), output_dir)
    optimized = objective_metrics(cfg.optimized_metric, module.metrics)
    _name_wandb(cfg)
    trainer = build_trainer(cfg)
    path, logged = None, 0
    if resumed is not None:
        path, content = resumed
        check_same_run(module, data, trainer, content, path)
        logged = content.trainer_state["global_step"] if path.resolve().parent == output_dir.resolve() else 0
    if trainer.is_global_zero:
        trim_logs(output_dir, logged)
        link_latest(output_dir)
        settings = OmegaConf.to_yaml(cfg, resolve=True)
        write_atomically(output_dir / "config.yaml", settings.encode("utf-8", "surrogateescape"))
        for logger in trainer.loggers:
            logger.log_hyperparams(to_container(cfg))
    try:
        trainer.fit(module, data, ckpt_path=path, weights_only=True)
    except SIGTERMException:
        echo(f"interrupted: resume with the same command and hydra.run.dir={output_dir} ckpt_path=auto")
        raise SystemExit(128 + signal.SIGTERM) from None
    if cfg.trainer.get("fast_dev_run"):
        trainer.test(module, data, verbose=False)
        echo("fast_dev_run: training, validation and test ran on one batch each")
        return None
    output_dir = Path(trainer.strategy.broadcast(str(output_dir)))  # external processes may have other folders
    if not (output_dir / BEST).exists():
        if resumed is not None:
            reached = f"is reached by ckpt_path={cfg.ckpt_path}. Raise it."
            raise ValueError(f"trainer.max_epochs={cfg.trainer.max_epochs}: {reached}")
        every = cfg.trainer.check_val_every_n_epoch
        raise ValueError(f"trainer.check_val_every_n_epoch={every}: the run ended before a validation. Lower it.")
    best = load(output_dir / BEST, trusted_modules=external_modules(to_recipe(restorer)))
    if cfg.test:
        tested = module.for_testing(best)
        trainer.test(tested, data, verbose=False)
        if trainer.is_global_zero:
            write_report(best, tested.evaluation, output_dir, build_origin(cfg), output_dir / BEST)
    return objective_values(optimized, best)


def _initialise_network(restorer: "Restorer", path: str) -> None:
    """Copy the weights of the network of another checkpoint.

    Raises:
        ValueError: if the file is not a checkpoint, or its network has other weights.
    """
    from diracdiff.restorer import load

    try:
        weights = load(path).denoiser.state_dict()
        restorer.denoiser.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"init_from={path}: has another network. Use its settings of model.") from error
    except ValueError as error:
        raise ValueError(str(error).replace("checkpoint=", "init_from=", 1)) from error


def _test(cfg: DictConfig, output_dir: Path) -> float | list[float] | None:
    """Test the checkpoint `ckpt_path` without training, and return the value of `optimized_metric`."""
    from diracdiff.commands.build import build_origin
    from diracdiff.commands.build_training import build_data, build_metrics, build_tester
    from diracdiff.restorer import load
    from diracdiff.training.module import RestorerModule
    from diracdiff.training.report import objective_metrics, objective_values, write_report

    if not cfg.test or not cfg.ckpt_path or cfg.ckpt_path == "auto":
        raise ValueError("train=false: needs test=true and a checkpoint. Add ckpt_path=runs/latest/best.ckpt.")
    replaced = ("sampler", "seed", "output_type")
    if words := [w for w in HydraConfig.get().overrides.task if re.split(r"[.=/]", w.lstrip("+"))[0] in replaced]:
        raise ValueError(f"{words[0]}: train=false uses that of the checkpoint. Use diracdiff evaluate checkpoint=….")
    best = load(cfg.ckpt_path)
    if best.denoiser.preconditioning == "flow":
        raise ValueError(f"ckpt_path={cfg.ckpt_path}: a flow needs a regression network. Use diracdiff compare.")
    if best.name != cfg.task.name:
        raise ValueError(f"task={cfg.task.name}: the checkpoint is of task={best.name}. Add task={best.name}.")
    if not best.curve:
        raise ValueError(f"ckpt_path={cfg.ckpt_path}: was not validated. Give a best.ckpt.")
    data, trainer = build_data(cfg, best, ["test"]), build_tester(cfg)
    tested = RestorerModule(best, metrics=build_metrics(cfg))
    optimized = objective_metrics(cfg.optimized_metric, tested.metrics)
    trainer.test(tested, data, verbose=False)
    if trainer.is_global_zero:
        write_report(best, tested.evaluation, output_dir, build_origin(cfg), Path(cfg.ckpt_path))
    return objective_values(optimized, best)


def _apply_extras(cfg: DictConfig) -> None:
    """Apply the `extras` of the configuration."""
    if cfg.extras.ignore_warnings:
        warnings.filterwarnings("ignore")
    if cfg.extras.enforce_tags and not cfg.tags:
        raise ValueError("tags=[]: must hold at least one tag. Add tags=[baseline], or extras.enforce_tags=false.")
    if cfg.extras.print_config:
        for line in OmegaConf.to_yaml(cfg, resolve=True).splitlines():
            echo(line)


def _check_folder(cfg: DictConfig, output_dir: Path) -> None:
    """Raise ValueError for the folder of another run, and for several external processes without a common folder."""
    from diracdiff.training.saving import LAST

    resumes = cfg.ckpt_path and Path(cfg.ckpt_path).resolve().parent == output_dir.resolve()
    if not resumes and cfg.ckpt_path != "auto" and (output_dir / LAST).exists():
        remedy = "Resume it with ckpt_path=auto, or move it."
        raise ValueError(f"hydra.run.dir={output_dir}: holds a training run. {remedy}")
    processes = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)
    config = HydraConfig.get()
    has_run_dir = any(word.startswith("hydra.run.dir=") for word in config.overrides.hydra)
    if processes > 1 and not has_run_dir and config.mode == RunMode.RUN:
        raise ValueError("hydra.run.dir: must be given if torchrun or srun starts the processes. Add hydra.run.dir=….")


def _name_wandb(cfg: DictConfig) -> None:
    """Set group and name of the runs of a sweep in Weights & Biases."""
    config = HydraConfig.get()
    if config.mode == RunMode.MULTIRUN and "wandb" in (cfg.logger or {}):
        cfg.logger.wandb.group = cfg.logger.wandb.group or Path(config.sweep.dir).name
        cfg.logger.wandb.name = cfg.logger.wandb.name or f"{config.job.num} {config.job.override_dirname}"[:96]


if __name__ == "__main__":
    train()
