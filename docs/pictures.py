"""Draw the figures of the concepts page from a photograph of scikit-image: `python docs/pictures.py`."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import torch
from hydra import compose, initialize_config_dir
from matplotlib.figure import Figure
from omegaconf import DictConfig

from diracdiff.commands.build import build_process, build_restorer
from diracdiff.commands.overrides import CONF
from diracdiff.data import Photos
from diracdiff.process import StochasticDegradation
from diracdiff.samplers import ImageNoise

SIDE = 128
TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)
TASKS = (
    "deblur",
    "motion_deblur",
    "deblur_kernel",
    "super_resolution",
    "inpaint",
    "inpaint_box",
    "inpaint_freeform",
    "mri",
    "dequantise",
)


def composed(*overrides: str) -> DictConfig:
    """Return the configuration of `diracdiff train` with overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"data.image_size={SIDE}", *overrides])


def process_of(*overrides: str) -> StochasticDegradation:
    """Return the degradation process of `diracdiff train` with overrides."""
    return build_process(composed(*overrides))


def photograph() -> torch.Tensor:
    """Return a test image of the data set photos, (1, 3, SIDE, SIDE) in [0, 1]."""
    items = map(Photos(image_size=SIDE).split("test").__getitem__, range(32))
    return next(item["x"] for item in items if item["name"] == "coffee-0000-0000-0300")[None]


def draw_grid(path: Path, rows: dict[str, list[torch.Tensor]], columns: list[str]) -> None:
    """Draw a labelled grid of images."""
    figure = Figure(figsize=(1.5 * len(columns) + 1.4, 1.55 * len(rows) + 0.3), layout="constrained")
    for i, (row, images) in enumerate(rows.items()):
        for j, image in enumerate(images):
            axis = figure.add_subplot(len(rows), len(columns), i * len(columns) + j + 1)
            axis.imshow(image[0].clamp(0, 1).permute(1, 2, 0).numpy())
            axis.set_xticks([])
            axis.set_yticks([])
            if i == 0:
                axis.set_title(columns[j], fontsize=9)
            if j == 0:
                axis.set_ylabel(row, fontsize=9, rotation=0, ha="right", va="center")
    figure.savefig(path, dpi=80)


def draw_degradations(path: Path) -> None:
    """Draw A_t(x) of every task over t."""
    x = photograph()
    rows = {}
    for task in TASKS:
        process = process_of(f"task={task}")
        rows[task] = [process.mean(x, t) for t in TIMES]
    draw_grid(path, rows, [f"t = {t:g}" for t in TIMES])


def draw_noise(path: Path) -> None:
    """Draw y_t over t with the default noise level and with ten times this level."""
    x = photograph()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    rows = {}
    for top in (0.05, 0.5):
        process = process_of(f"schedule.noise.sigma_max={top}")
        rows[f"sigma up to {top}"] = [process.sample(x, t, noise) for t in TIMES]
    draw_grid(path, rows, [f"t = {t:g}" for t in TIMES])


def draw_severities(path: Path) -> None:
    """Draw severity and noise level over t."""
    t = torch.linspace(0, 1, 101)
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for task in ("deblur", "super_resolution", "inpaint"):
        severity = process_of(f"task={task}").degradation.severity(t)
        axes[0].plot(t, severity / severity[-1], label=task)
    axes[0].set(xlabel="t", ylabel="severity / severity at t = 1")
    axes[0].legend(fontsize=8, frameon=False)
    axes[1].plot(t, process_of().noise(t))
    axes[1].set(xlabel="t", ylabel="noise level sigma_t")
    figure.savefig(path, dpi=80)


@torch.no_grad()
def draw_trajectory(path: Path) -> None:
    """Draw iterates and x_hat of an untrained network, which is a linear filter by its preconditioning."""
    torch.manual_seed(0)
    restorer = build_restorer(composed("task=deblur", "sampler.num_steps=20", "sampler.eta=1"))
    restorer.denoiser.eval()
    y = restorer.measure(photograph()).y
    shown = (1.0, 0.75, 0.5, 0.25, 0.05)
    rows: dict[str, list[torch.Tensor]] = {"y_t": [], "x_hat(y_t, t)": []}
    for state in restorer.sampler.states(restorer.process, restorer.denoiser, y, ImageNoise([0])):
        if any(abs(state.t - t) < 1e-6 for t in shown):
            rows["y_t"].append(state.y)
            rows["x_hat(y_t, t)"].append(state.x_hat)
    draw_grid(path, rows, [f"t = {t:g}" for t in shown])


if __name__ == "__main__":
    folder = Path(__file__).parent / "concepts"
    draw_degradations(folder / "degradations.webp")
    draw_noise(folder / "noise.webp")
    draw_severities(folder / "severities.webp")
    draw_trajectory(folder / "trajectory.webp")
