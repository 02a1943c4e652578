"""Pictures that tell how a training or an evaluation went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diracdiff.degradations import LinearSeverity, TabulatedSeverity
from diracdiff.evaluation.evaluation import Gallery
from diracdiff.evaluation.stopping import TARGETS, StoppingPoint
from diracdiff.metrics.metric import Metric, Row
from diracdiff.samplers.increment import TOLERANCE
from diracdiff.utils.image_files import write_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRADEOFF_CSV = "tradeoff.csv"
INK, DISTORTION, PERCEPTION, MUTED = "#222222", "#2463a8", "#c8553d", "#8a8a8a"
COLOURS = (DISTORTION, PERCEPTION)
HEAT_MAP_TOP = 0.1
"""Standard deviation, in units of the [0, 1] range, that is the brightest in a map of uncertainty."""
RESIDUAL_MAP_TOP = 3.0
"""Residual in units of the noise's standard deviation that has the strongest colour in a map of residuals."""
MEANING = {"mean": "denoised image", "iterate": "iterate"}


def heat_map(std: Tensor) -> NDArray[np.uint8]:
    """A map of standard deviations, (H, W), as colours, uint8 (H, W, 3): black is 0, white HEAT_MAP_TOP and above."""
    from matplotlib import colormaps

    colours = colormaps["inferno"]((std / HEAT_MAP_TOP).clamp(0, 1).numpy())[..., :3]
    return np.asarray((colours * 255).round(), dtype=np.uint8)


def residual_map(z: Tensor) -> NDArray[np.uint8]:
    """A map of residuals in units of the noise, (H, W), as colours, uint8 (H, W, 3): blue -3, white 0, red 3."""
    from matplotlib import colormaps

    colours = colormaps["bwr"]((z / (2 * RESIDUAL_MAP_TOP) + 0.5).clamp(0, 1).numpy())[..., :3]
    return np.asarray((colours * 255).round(), dtype=np.uint8)


def gallery_grid(gallery: Gallery, columns: int = 8) -> Tensor:
    """Images of a validation as one picture with labels, (3, H, W), uint8: clean, measurement, x_hat as t falls."""
    means, iterates = (by_time(gallery, output) for output in ("mean", "iterate"))
    times = list(means)
    chosen = [times[i] for i in np.unique(np.linspace(0, len(times) - 1, columns).round().astype(int))]
    shown = [gallery["clean"], iterates[max(iterates)], *(means[t] for t in chosen)]
    texts = ["clean", f"y {max(iterates):.2f}", *(f"t {t:.2f}" for t in chosen)]
    width = gallery["clean"].shape[-1]
    images = [torch.cat(list(images), dim=1) for images in shown]
    labelled = [torch.cat([_label(text, width), column], dim=1) for text, column in zip(texts, images, strict=True)]
    return torch.cat(labelled, dim=2)


def _label(text: str, width: int) -> Tensor:
    """A text in the middle of a white strip, (3, h, width), uint8, as high as the text."""
    size = max(6, min(16, width // 5))
    font = ImageFont.load_default(size)
    strip = Image.new("RGB", (width, round(1.5 * size)), "white")
    ImageDraw.Draw(strip).text((width / 2, 0.75 * size), text, "black", font, anchor="mm")
    return torch.from_numpy(np.asarray(strip).copy()).permute(2, 0, 1)


def by_time(gallery: Gallery, output: str) -> dict[float, Tensor]:
    """The pictures of an output by time, in the order of the walk."""
    keys = [key for key in gallery if isinstance(key, tuple) and key[1] == output]
    return {key[0]: gallery[key] for key in keys}


def draw_tradeoff(
    path: str | Path,
    curve: Sequence[Row],
    stops: Mapping[str, StoppingPoint | None],
    metrics: Sequence[Metric],
    title: str,
) -> None:
    """Draw what t_DO and the perceptual stops are picked by over t, time running from the measurement at the left.

    There is a panel for every perceptual metric that was measured, LPIPS, SWD and FID say, each with PSNR.

    Args:
        path: of the PNG.
        curve: rows as `Records.curve` makes them.
        stops: of the targets, which are marked.
        metrics: those that were measured.
        title: of the picture.
    """
    from matplotlib.figure import Figure

    picked = [metric for metric in metrics if metric.target and metric.name in curve[0]]
    distortion = [metric for metric in picked if metric.higher_is_better]
    panels = [[*distortion, metric] for metric in picked if not metric.higher_is_better] or [distortion]
    figure = Figure(figsize=(7.2, 1.8 + 2.8 * len(panels)), layout="constrained")
    handles: dict[str, Any] = {}
    for left, shown in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        axes = (left, left.twinx()) if len(shown) > 1 else (left,)
        for metric, axis, colour in zip(shown, axes, COLOURS, strict=False):
            handles |= {line.get_label(): line for line in _draw_metric(axis, curve, stops, metric, colour)}
        left.set_xlim(1.01, -0.01)
    left.set_xlabel("sampling time t: the measurement at 1, fully restored at 0")
    figure.suptitle(title, fontsize=11, color=INK)
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    save_figure(figure, path)


def curve_figure(curve: Sequence[Row], metric: Metric) -> Any:
    """A figure of one metric over t, of x_hat and of the iterate.

    Args:
        curve: rows as `Records.curve` makes them.
        metric: one that was measured.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.2), layout="constrained")
    axis = figure.subplots()
    for output, style in (("mean", "-"), ("iterate", ":")):
        rows = [row for row in curve if row["output"] == output]
        axis.plot(
            [r["t"] for r in rows], [r[metric.name] for r in rows], style, color=COLOURS[0], label=MEANING[output]
        )
    axis.set_xlim(1.01, -0.01)
    axis.set_ylabel(metric.title)
    axis.set_xlabel("sampling time t")
    axis.legend(fontsize=8, frameon=False)
    return figure


def _draw_metric(
    axis: Any, curve: Sequence[Row], stops: Mapping[str, StoppingPoint | None], metric: Metric, colour: str
) -> Any:
    """Draw one metric on its axis; returns the lines for the legend."""
    lines = []
    for output, style in (("mean", "-"), ("iterate", ":")):
        rows = [row for row in curve if row["output"] == output]
        name = f"{metric.title} of the {MEANING[output]}"
        lines += axis.plot([r["t"] for r in rows], [r[metric.name] for r in rows], style, color=colour, label=name)
    best = stops.get(str(metric.target))
    if best is not None:
        where = f"t_{metric.stop_name()}: best {metric.title}, {MEANING[best.output]}, t = {best.t:.2f}"
        lines.append(axis.axvline(best.t, color=colour, linestyle="--", linewidth=1, label=where))
    axis.set_ylim(*_limits(curve, metric))
    axis.set_ylabel(metric.label, color=colour)
    axis.tick_params(axis="y", labelcolor=colour)
    return lines


def _limits(curve: Sequence[Row], metric: Metric) -> tuple[float, float]:
    """The range of x_hat and of the best iterate: bad iterates would flatten the curve of x_hat."""
    iterates = [row for row in curve if row["output"] == "iterate"]
    shown = [float(row[metric.name]) for row in curve if row["output"] == "mean"]
    shown.append(float(metric.best(iterates)[metric.name]))
    margin = 0.05 * (max(shown) - min(shown)) + 1e-6
    return min(shown) - margin, max(shown) + margin


def draw_consistency(path: str | Path, curve: Sequence[Row], title: str) -> None:
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


def draw_samples(path: str | Path, gallery: Gallery, stops: Mapping[str, StoppingPoint | None], rows: int = 6) -> None:
    """Draw clean, measurement, one-shot, the stops that are known and the iterate at t = 0, an image a row."""
    from matplotlib.figure import Figure

    pictures = {output: by_time(gallery, output) for output in ("mean", "iterate")}

    def at(stop: StoppingPoint) -> Tensor:
        times = pictures[stop.output]
        return times[min((t for t in times if t >= stop.t - TOLERANCE), default=max(times))]

    start, end = max(pictures["iterate"]), min(pictures["iterate"])
    named = [(metric.stop_name(), stops.get(target)) for target, metric in TARGETS.items()]
    columns: list[tuple[str, Tensor]] = [
        ("clean", gallery["clean"]),
        ("measurement", pictures["iterate"][start]),
        (f"one-shot, t = {start:g}", pictures["mean"][start]),
        *((f"{name}, t = {stop.t:.2f}", at(stop)) for name, stop in named if stop),
        *([(f"iterate, t = {end:.2g}", pictures["iterate"][end])] if end < start else []),
    ]
    rows = min(rows, len(gallery["clean"]))
    figure = Figure(figsize=(1.7 * len(columns), 1.75 * rows + 0.2), layout="constrained")
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for j, (name, images) in enumerate(columns):
        axes[0, j].set_title(name, fontsize=9, color=INK)
        for i in range(rows):
            axes[i, j].axis("off")
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


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(110)
    canvas.draw()
    write_image(Path(path), np.asarray(canvas.buffer_rgba())[..., :3])
