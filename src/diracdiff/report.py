"""The files that tell how a training or an evaluation went: summary and pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diracdiff.degradations import LinearSeverity, TabulatedSeverity
from diracdiff.files import save_image, write_json
from diracdiff.metrics import interval
from diracdiff.tradeoff import Stop, summarise

TRADEOFF_CSV = "tradeoff.csv"
INK, DISTORTION, PERCEPTION, MUTED = "#222222", "#2463a8", "#c8553d", "#8a8a8a"
HEAT_MAP_TOP = 0.1
"""Standard deviation, in units of the [0, 1] range, that is the brightest in a map of uncertainty."""
MEANING = {"mean": "denoised image", "iterate": "iterate"}


def heat_map(std: Tensor) -> np.ndarray:
    """A map of standard deviations, (H, W), as colours, uint8 (H, W, 3): black is 0, white HEAT_MAP_TOP and above."""
    from matplotlib import colormaps

    return (colormaps["inferno"]((std / HEAT_MAP_TOP).clamp(0, 1).numpy())[..., :3] * 255).round().astype(np.uint8)


def gallery_grid(restorer, columns: int = 8) -> Tensor:
    """Images of the last validation as one picture, (3, H, W), uint8: clean, measurement, then x_hat as t falls."""
    means, iterates = list(restorer.gallery["mean"].values()), restorer.gallery["iterate"]
    chosen = np.unique(np.linspace(0, len(means) - 1, columns).round().astype(int))
    shown = [restorer.gallery["clean"], iterates[max(iterates)], *(means[i] for i in chosen)]
    return torch.cat([torch.cat(list(images), dim=1) for images in shown], dim=2)


def draw_tradeoff(path: str | Path, curve: list[dict[str, Any]], stopping: dict[str, Stop | None], title: str) -> None:
    """Draw PSNR and LPIPS over t, time running from the measurement at the left, t_DO and t_PO marked."""
    from matplotlib.figure import Figure

    lpips = next((key for key in curve[0] if key.startswith("lpips_")), None)
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    left = figure.subplots()
    panels = [(left, "psnr", "PSNR [dB], higher is better", DISTORTION, stopping["psnr"], "t_DO: best PSNR")]
    if lpips:
        right = left.twinx()
        label = f"LPIPS ({lpips.removeprefix('lpips_')}), lower is better"
        panels.append((right, lpips, label, PERCEPTION, stopping["lpips"], "t_PO: best LPIPS"))
    handles = []
    for axis, metric, label, colour, best, meaning in panels:
        for output, style in (("mean", "-"), ("iterate", ":")):
            rows = [row for row in curve if row["output"] == output]
            name = f"{label.split(' ')[0]} of the {MEANING[output]}"
            handles += axis.plot([r["t"] for r in rows], [r[metric] for r in rows], style, color=colour, label=name)
        if best is not None:
            meaning = f"{meaning}, {MEANING[best['output']]}, t = {best['t']:.2f}"
            handles.append(axis.axvline(best["t"], color=colour, linestyle="--", linewidth=1, label=meaning))
        axis.set_ylim(*_limits(curve, metric))
        axis.set_ylabel(label, color=colour)
        axis.tick_params(axis="y", labelcolor=colour)
    left.set_xlim(1.01, -0.01)
    left.set_xlabel("sampling time t: the measurement at 1, fully restored at 0")
    left.set_title(title, fontsize=11, color=INK)
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    save_figure(figure, path)


def _limits(curve: list[dict[str, Any]], metric: str) -> tuple[float, float]:
    """The range of x_hat and of the best iterate: bad iterates would flatten the curve of x_hat."""
    iterates = [row[metric] for row in curve if row["output"] == "iterate"]
    shown = [row[metric] for row in curve if row["output"] == "mean"]
    shown.append(max(iterates) if metric == "psnr" else min(iterates))
    margin = 0.05 * (max(shown) - min(shown)) + 1e-6
    return min(shown) - margin, max(shown) + margin


def draw_consistency(path: str | Path, curve: list[dict[str, Any]], title: str) -> None:
    """Draw the distance of x_hat from the measurement over t, in units of the measurement's noise (paper, Fig. 4)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axis = figure.subplots()
    rows = [row for row in curve if row["output"] == "mean"]
    axis.plot([r["t"] for r in rows], [r["consistency"] for r in rows], color=DISTORTION, label="x_hat")
    axis.axhline(1.0, color=MUTED, linestyle="--", linewidth=1, label="noise floor")
    axis.set_xlim(1.01, -0.01)
    axis.set_ylim(0, max(1.2, 1.1 * max(r["consistency"] for r in rows)))
    axis.set_xlabel("sampling time t: the measurement at 1, fully restored at 0")
    axis.set_ylabel("||y - A(x_hat)|| / (sqrt(n) sigma)")
    axis.set_title(f"data consistency, {title}", fontsize=11, color=INK)
    axis.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def draw_samples(path: str | Path, restorer, rows: int = 6) -> None:
    """Draw clean, measurement, one-shot, DO, PO and the iterate at t = 0 of a few images, one row each."""
    from matplotlib.figure import Figure

    gallery, stopping = restorer.gallery, restorer.stopping

    def at(stop: Stop) -> Tensor:
        pictures = gallery[stop["output"]]
        return pictures[min((t for t in pictures if t >= stop["t"] - 1e-9), default=max(pictures))]

    start, end = max(gallery["iterate"]), min(gallery["iterate"])
    columns = [
        ("clean", gallery["clean"]),
        ("measurement", gallery["iterate"][start]),
        (f"one-shot, t = {start:g}", gallery["mean"][start]),
        *(
            (f"{name}, t = {stop['t']:.2f}", at(stop)) if stop else (f"{name}: unknown", None)
            for name, stop in (("DO", stopping["psnr"]), ("PO", stopping["lpips"]))
        ),
        (f"iterate, t = {end:.0f}", gallery["iterate"][end]),
    ]
    rows = min(rows, len(gallery["clean"]))
    figure = Figure(figsize=(1.7 * len(columns), 1.75 * rows + 0.2), layout="constrained")
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for j, (name, images) in enumerate(columns):
        axes[0, j].set_title(name, fontsize=9, color=INK)
        for i in range(rows):
            axes[i, j].axis("off")
            if images is not None:
                axes[i, j].imshow(images[i].permute(1, 2, 0).numpy(), interpolation="nearest")
    save_figure(figure, path)


def draw_schedule(
    path: str | Path, table: TabulatedSeverity, linear: LinearSeverity, title: str, what: str = "severity"
) -> None:
    """Draw a scheduled severity over t, its points marked, and the linear schedule (paper, Fig. 7)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [linear.start, linear.end], "--", color=MUTED, linewidth=1, label="linear")
    label = f"greedy, {len(table.times) - 2} points placed"
    axis.plot(table.times, table.values, "-o", color=DISTORTION, linewidth=1, markersize=2.5, label=label)
    axis.set_xlim(-0.01, 1.01)
    axis.set_xlabel("time t: clean at 0, the measurement at 1")
    axis.set_ylabel("severity parameter" if what == "severity" else "time of the walk")
    axis.set_title(title, fontsize=11, color=INK)
    axis.legend(fontsize=8, frameon=False)
    save_figure(figure, path)


def save_figure(figure, path: str | Path) -> None:
    """Write a figure as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(110)
    canvas.draw()
    save_image(path, np.asarray(canvas.buffer_rgba())[..., :3])


def write_summary(path: str | Path, restorer) -> dict[str, Any]:
    """Write what a test found at the measurement, one-shot, DO, PO and other stops as JSON, and return it.

    Every entry has t, output, nfe, seconds per image, the means of the metrics (lpips_<backbone> is null where it was
    not measured) and, as "interval", their 95 % bootstrap confidence intervals, where single images have the metric;
    or it is null where there is no such stop. n is the number of images and seed the run's.
    """
    curve, lpips = restorer.measured, f"lpips_{restorer.lpips}" if restorer.lpips else "lpips"
    rows = summarise(curve, restorer.stopping)
    summary: dict[str, Any] = {key: row and _entry(row, lpips, restorer) for key, row in rows.items()}
    summary |= {"n": curve[0]["n"], "seed": restorer.seed, "steps": restorer.sampler.steps, "task": restorer.name}
    write_json(path, summary)
    return summary


def _entry(row: dict[str, Any], lpips: str, restorer) -> dict[str, Any]:
    values = {key: row[key] for key in ("t", "output", "nfe", "seconds", "psnr", "ssim")} | {lpips: row.get(lpips)}
    values |= {key: value for key, value in row.items() if key.startswith(("fid_", "kid_"))}
    values["consistency"] = row["consistency"]
    images = restorer.rows.at(row["t"], row["output"])
    of_images = [key for key in ("psnr", "ssim", lpips, "consistency") if values[key] is not None]
    values["interval"] = {key: interval([image[key] for image in images], restorer.seed) for key in of_images}
    return values
