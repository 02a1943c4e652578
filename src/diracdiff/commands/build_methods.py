"""Construction of the methods of a comparison."""

from functools import partial
from typing import Any, cast

from omegaconf import DictConfig

from diracdiff.baselines import PMRF, Baseline, BridgeMethod, DiffUNetPrior, Prior, Regression, load_prior
from diracdiff.checkpoints import to_recipe
from diracdiff.checkpoints.locations import weights_file
from diracdiff.commands.build import build, to_container
from diracdiff.comparison.checks import check_same_images, check_same_problem, file_digests
from diracdiff.comparison.methods import BaselineMethod, ComparedMethod, DiracMethod
from diracdiff.restorer import Restorer


def build_methods(cfg: DictConfig, restorer: Restorer) -> list[ComparedMethod]:
    """Build the methods of a comparison in the order of the table. The last method is Dirac.

    Args:
        cfg: configuration of the command.
        restorer: restorer of Dirac.

    Raises:
        ValueError: if a network is not comparable with the restorer, or a setting is invalid.
    """
    prior = _build_prior(cfg, restorer)
    methods: list[ComparedMethod] = []
    for name, node in (cfg.get("baseline") or {}).items():
        described, method = to_container(node), build(node.method)
        for network in _networks(method):
            check_same_images(restorer, network, f"the checkpoint of {name}", cfg.allow_other_data)
        if isinstance(method, Regression | PMRF):
            regression = method.regression if isinstance(method, PMRF) else method
            check_same_problem(restorer, regression.restorer, f"regression={regression.checkpoint}")
        if isinstance(method, BridgeMethod):
            key = f"baseline.{name}.method.checkpoint"
            check_same_problem(restorer, method.restorer, f"{key}={method.checkpoint}")
        files = file_digests([described["method"], (cfg.prior or cfg.guided_diffusion) if method.needs_prior else None])
        make, search = partial(_build_method, node, restorer), described.get("search") or {}
        methods.append(
            BaselineMethod(name, search, [described["method"], *files], make, restorer.process, prior, cfg.seed)
        )
    search = to_container(cfg.dirac)["search"] or {}
    if not isinstance(search, dict) or not all(isinstance(values, list) for values in search.values()):
        raise ValueError(
            f"dirac.search={search}: must map keys of the sampler to lists of values. "
            "Give dirac.search={num_steps: [20, 50]}."
        )
    identity = [to_recipe(restorer.sampler), *file_digests(str(weights_file(cfg.checkpoint)))]
    return [*methods, DiracMethod("dirac", search, identity, restorer)]


def _build_prior(cfg: DictConfig, restorer: Restorer) -> Prior | None:
    if cfg.prior is not None and cfg.guided_diffusion is not None:
        raise ValueError(
            "prior and guided_diffusion: must not be combined, because a table has one prior. Give one of them."
        )
    if cfg.guided_diffusion is not None:
        prior, size = DiffUNetPrior(cfg.guided_diffusion, str(restorer.device)), restorer.image_size
        if size != prior.image_size:
            raise ValueError(
                f"guided_diffusion={cfg.guided_diffusion} is for images of {prior.image_size} px, the checkpoint for "
                f"{size} px: train a prior with task=prior"
            )
        return prior
    if cfg.prior is None:
        return None
    trained = load_prior(cfg.prior, str(restorer.device), cfg.trusted_modules)
    if trained.restorer is not None:
        check_same_images(restorer, trained.restorer, f"prior={cfg.prior}", cfg.allow_other_data)
    return trained


def _build_method(node: DictConfig, restorer: Restorer, setting: dict[str, Any]) -> Baseline:
    """Build a baseline with a setting, and move its networks to the device of the restorer."""
    method = cast(Baseline, build(node.method, **setting))
    for network in _networks(method):
        network.to(restorer.device)
    return method


def _networks(method: Baseline) -> list[Restorer]:
    """Return the trained networks of a baseline."""
    parts = (method, method.denoiser, getattr(method, "regression", None))
    restorers = [getattr(part, "restorer", None) for part in parts]
    return [restorer for restorer in restorers if isinstance(restorer, Restorer)]
