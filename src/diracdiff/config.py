"""The only place that turns configuration into objects."""

from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from diracdiff.baselines import Baseline, DiffUNetPrior, Prior, Regression, load_prior
from diracdiff.comparison.checks import check_same_images, check_same_problem, files_in
from diracdiff.comparison.contenders import Contender, Dirac, Method
from diracdiff.data.datamodule import ImageDataModule
from diracdiff.errors import UserError
from diracdiff.process import StochasticDegradation
from diracdiff.recipe import to_recipe
from diracdiff.restorer import Restorer
from diracdiff.samplers import ReverseSampler


def build(node: DictConfig | None, **arguments: Any) -> Any:
    """Build the object that a node with `_target_` describes; None stays None.

    Raises:
        UserError: if the object refuses its arguments.
    """
    if node is None:
        return None
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        key = node._get_full_key(None) or "config"
        if isinstance(cause, ValueError | TypeError):
            raise UserError(f"{key}: {cause}") from error
        raise UserError(f"{key}: {' '.join(str(error).split())}") from error


def build_process(cfg: DictConfig) -> StochasticDegradation:
    """The stochastic degradation process of the task, its schedule and the data set's image size."""
    severity = build(cfg.schedule.severity)
    degradation = build(cfg.task.degradation, severity=severity, image_size=cfg.dataset.image_size)
    return StochasticDegradation(degradation, build(cfg.schedule.noise))


def build_restorer(cfg: DictConfig, process: StochasticDegradation) -> Restorer:
    """The restorer, untrained.

    Raises:
        UserError: if the network cannot take images of the data set's size.
    """
    incremental = {"conditions": 2} if cfg.task.predict == "increment" else {}
    network = build(cfg.model.network, **incremental)
    size, multiple = cfg.dataset.image_size, getattr(network, "multiple", 1)
    if size % multiple:
        raise UserError(f"dataset.image_size must be a multiple of {multiple} for this model, got {size}")
    try:
        return Restorer(
            process,
            network,
            build(cfg.loss),
            build(cfg.sampler),
            build(cfg.optimizer),
            conditioning=cfg.model.conditioning,
            residual=cfg.model.residual,
            preconditioning=cfg.model.preconditioning,
            predict=cfg.task.predict,
            lpips=cfg.lpips,
            fid=cfg.fid,
            fid_weights=cfg.fid_weights,
            seed=cfg.seed,
            name=cfg.task.name,
        )
    except ValueError as error:
        raise UserError(f"model: {error}") from error


def build_data(cfg: DictConfig, process: StochasticDegradation, start: float = 1.0) -> ImageDataModule:
    """The data module of the data set; `start` is the time of its measurements."""
    times = {"times": tuple(cfg.task.times)} if "task" in cfg else {}
    return ImageDataModule(build(cfg.dataset), process, start=start, seed=cfg.seed, **times, **cfg.loader)


def build_contenders(cfg: DictConfig, restorer: Restorer, device: str) -> list[Contender]:
    """The methods of a comparison in the order of the table, Dirac, `restorer`, last.

    Raises:
        UserError: if a method lacks a network, or a network was trained for another problem.
    """
    prior = _build_prior(cfg, restorer, device)
    contenders: list[Contender] = []
    for name, node in (cfg.get("baseline") or {}).items():
        plain = OmegaConf.to_container(node, resolve=True)
        method = build(node.method)
        for network in networks(method):
            check_same_images(restorer, network, f"the checkpoint of {name}", cfg.allow_other_data)
            if isinstance(method, Regression):
                check_same_problem(restorer, network, f"regression={method.checkpoint}")
        files = files_in([plain["method"], (cfg.prior or cfg.guided_diffusion) if method.needs_prior else None])
        make, search = partial(build_method, node, device), plain.get("search") or {}
        contenders.append(Method(name, make, search, [plain["method"], *files], restorer.process, prior, cfg.seed))
    search = OmegaConf.to_container(cfg.dirac, resolve=True)["search"] or {}
    return [*contenders, Dirac("dirac", restorer, search, [to_recipe(restorer.sampler), *files_in(cfg.checkpoint)])]


def _build_prior(cfg: DictConfig, restorer: Restorer, device: str) -> Prior | None:
    if cfg.prior is not None and cfg.guided_diffusion is not None:
        raise UserError("give prior=… or guided_diffusion=…, not both: one prior serves all methods of a table")
    if cfg.guided_diffusion is not None:
        prior, size = DiffUNetPrior(cfg.guided_diffusion, device), restorer.process.degradation.image_size
        if size != prior.image_size:
            raise UserError(
                f"guided_diffusion={cfg.guided_diffusion} is for images of {prior.image_size} px, the checkpoint for "
                f"{size} px: train a prior with task=prior"
            )
        return prior
    if cfg.prior is None:
        return None
    prior = load_prior(cfg.prior, device, cfg.trust)
    check_same_images(restorer, prior.restorer, f"prior={cfg.prior}", cfg.allow_other_data)
    return prior


def build_method(node: DictConfig, device: str, setting: dict[str, Any]) -> Baseline:
    """A comparison method with some of its arguments changed."""
    method = build(node.method, **setting)
    for network in networks(method):
        network.to(device)
    return method


def networks(method: Baseline) -> list[Restorer]:
    """The networks that a method has brought with it."""
    return [part.restorer for part in (method, method.denoiser) if getattr(part, "restorer", None) is not None]


def build_sampler(cfg: DictConfig, current: ReverseSampler) -> ReverseSampler:
    """The sampler that `cfg` describes: a whole one, or the current one with the parts that are not null changed.

    Raises:
        UserError: if the parts do not fit.
    """
    if "_target_" in cfg:
        return build(cfg)
    parts = ((key, build(node) if isinstance(node, DictConfig) else node) for key, node in cfg.items())
    try:
        return current.replace(**{key: part for key, part in parts if part is not None})
    except ValueError as error:
        raise UserError(f"sampler: {error}") from error


def build_trainer(cfg: DictConfig) -> pl.Trainer:
    """The trainer with its loggers and callbacks.

    Raises:
        UserError: if the training would end before its first validation, which finds the stopping times.
    """
    epochs, every = cfg.trainer.max_epochs, cfg.trainer.check_val_every_n_epoch
    if not isinstance(epochs, int | None) or not isinstance(every, int | None):
        raise UserError(
            f"trainer.max_epochs and trainer.check_val_every_n_epoch must be integers, got {epochs!r} and {every!r}"
        )
    if epochs is not None and every is not None and 0 <= epochs < every:
        raise UserError(
            f"training would never validate: set trainer.check_val_every_n_epoch (now {every}) to at most "
            f"trainer.max_epochs (now {epochs})"
        )
    return build(
        cfg.trainer,
        precision=_precision(cfg.trainer),
        logger=[build(node) for node in (cfg.logger or {}).values()],
        callbacks=[build(node) for node in (cfg.callbacks or {}).values()],
        default_root_dir=cfg.run_dir,
        # Guidance needs gradients in validation, which inference mode forbids; samplers switch them off themselves.
        inference_mode=False,
        # The data module gives every process its own part.
        use_distributed_sampler=False,
    )


def build_tester(cfg: DictConfig) -> pl.Trainer:
    """A trainer that only evaluates: writes nothing."""
    return build(
        cfg.trainer,
        precision=_precision(cfg.trainer),
        logger=False,
        enable_checkpointing=False,
        inference_mode=False,
        use_distributed_sampler=False,
        enable_model_summary=False,
    )


def _precision(trainer: DictConfig) -> str:
    if trainer.precision != "auto":
        return trainer.precision
    return "bf16-mixed" if trainer.accelerator != "cpu" and torch.cuda.is_available() else "32-true"


def pick_device(name: str) -> str:
    """A device by name; "auto" is a GPU where there is one.

    Raises:
        UserError: if it is not at hand.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name} is not at hand: use device=auto or device=cpu") from error
    return name


def write_composed(cfg: DictConfig, path: str | Path) -> None:
    """Write the composed configuration with every reference resolved."""
    Path(path).write_text(OmegaConf.to_yaml(cfg, resolve=True))
