"""The only place that turns configuration into objects."""

from diracdiff.config.build import build, made, pick_device, write_composed
from diracdiff.config.comparing import build_contenders
from diracdiff.config.restoring import build_process, build_restorer, build_sampler, build_straight, configure
from diracdiff.config.training import build_data, build_metrics, build_module, build_tester, build_trainer, log_composed

__all__ = [
    "build",
    "build_contenders",
    "build_data",
    "build_metrics",
    "build_module",
    "build_process",
    "build_restorer",
    "build_sampler",
    "build_straight",
    "build_tester",
    "build_trainer",
    "configure",
    "log_composed",
    "made",
    "pick_device",
    "write_composed",
]
