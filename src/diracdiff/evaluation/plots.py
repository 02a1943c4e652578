"""Plots of trade-off curves, trajectories and schedules, and colour maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diracdiff.degradations import LinearSeverity, TabulatedSeverity
from diracdiff.evaluation.evaluation import Gallery
from diracdiff.evaluation.stopping import TARGETS, StoppingPoint, last_before
from diracdiff.metrics.metric import Metric, Row
from diracdiff.utils.image_files import write_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRADEOFF_CSV = "tradeoff.csv"
INK, DISTORTION, PERCEPTION, MUTED = "#222222", "#2463a8", "#c8553d", "#8a8a8a"
HEAT_MAP_TOP = 0.1  # standard deviation at the top of maps of uncertainty, in units of the [0, 1] range
STYLES = {"x_hat": ("-", "denoised image"), "iterate": (":", "iterate")}
DPI = 110


def heat_map(std: Tensor) -> NDArray[np.uint8]:
    """Return standard deviations, (H, W), as colours, uint8 (H, W, 3): black is 0, white HEAT_MAP_TOP and above."""
    from matplotlib import colormaps

    colours = colormaps["inferno"]((std / HEAT_MAP_TOP).clamp(0, 1).numpy())[..., :3]
    return np.asarray((colours * 255).round(), dtype=np.uint8)


def images_figure(columns: Mapping[str, Tensor]) -> Figure:
    """Draw {title: uint8 images (N, C, H, W)}, a row per image and a column per title."""
    from matplotlib.figure import Figure

    count, _, height, width = next(iter(columns.values())).shape
    side = max(width, 150) / DPI
    figure = Figure(figsize=(side * len(columns), side * height / width * count + 0.25), layout="constrained")
    axes = figure.subplots(count, len(columns), squeeze=False)
    for j, (title, images) in enumerate(columns.items()):
        axes[0, j].set_title(title, fontsize=8, color=INK, parse_math=False)
        for i in range(count):
            axes[i, j].imshow(images[i].expand(3, -1, -1).permute(1, 2, 0).numpy(), interpolation="nearest")
            axes[i, j].axis("off")
    return figure


def trajectory_figure(gallery: Gallery, columns: int = 8) -> Figure:
    """Draw the images of a gallery: clean, measurement, and x_hat as t falls."""
    means, iterates = _by_time(gallery, "x_hat"), _by_time(gallery, "iterate")
    times, start = list(means), max(iterates)
    chosen = [times[i] for i in np.unique(np.linspace(0, len(times) - 1, columns).round().astype(int))]
    first = {"clean": gallery["clean"], f"y {start:.2f}": iterates[start]}
    return images_figure(first | {f"t {t:.2f}": means[t] for t in chosen})


def stopping_figure(gallery: Gallery, stopping_points: Mapping[str, StoppingPoint | None]) -> Figure:
    """Draw the images of a gallery: clean, measurement, one-shot, known stopping points and the last iterate."""
    images = {output: _by_time(gallery, output) for output in STYLES}
    start, end = max(images["iterate"]), min(images["iterate"])
    columns = {"clean": gallery["clean"], "y": images["iterate"][start], "one-shot": images["x_hat"][start]}
    for target, metric in TARGETS.items():
        if stop := stopping_points.get(target):
            found = images[stop.output]
            columns[f"{metric.stopping_point_name()} {stop.t:.2f}"] = found[last_before(found, stop.t)]
    return images_figure(columns | ({f"y {end:.2f}": images["iterate"][end]} if end < start else {}))


def _by_time(gallery: Gallery, output: str) -> dict[float, Tensor]:
    """Return the images of an output by time, t falling."""
    return {key[0]: images for key, images in gallery.items() if isinstance(key, tuple) and key[1] == output}


def tradeoff_figure(
    curve: Sequence[Row],
    stopping_points: Mapping[str, StoppingPoint | None],
    metrics: Sequence[Metric],
    title: str = "",
) -> Figure:
    """Plot metrics over t, which falls from the measurement at the left.

    There is a panel for every perceptual metric that was measured, each with PSNR, and one for data consistency
    (paper, Fig. 4).

    Args:
        curve: rows of `Records.curve`.
        stopping_points: stopping points of the targets, which are marked.
        metrics: metrics that were measured.
        title: title of the figure.
    """
    from matplotlib.figure import Figure

    known = [metric for metric in metrics if metric.name in curve[0]]
    distortion = [metric for metric in known if metric.target and metric.higher_is_better]
    panels = [[*distortion, m] for m in known if m.target and not m.higher_is_better] or [distortion]
    panels += [[metric] for metric in known if metric.higher_is_better is None]
    figure = Figure(figsize=(7.2, 1.8 + 2.8 * len(panels)), layout="constrained")
    handles: dict[str, Any] = {}
    for left, shown in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        axes = (left, left.twinx()) if len(shown) > 1 else (left,)
        for metric, axis, colour in zip(shown, axes, (DISTORTION, PERCEPTION), strict=False):
            handles |= {line.get_label(): line for line in _plot_metric(axis, curve, stopping_points, metric, colour)}
        left.set_xlim(1.01, -0.01)
    left.set_xlabel("sampling time t: the measurement at 1, fully restored at 0")
    figure.suptitle(title, fontsize=11, color=INK)
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def _plot_metric(
    axis: Any, curve: Sequence[Row], stopping_points: Mapping[str, StoppingPoint | None], metric: Metric, colour: str
) -> list[Any]:
    """Plot one metric of x_hat and of the iterate; return the lines for the legend."""
    lines, values = [], {}
    for output, (style, name) in STYLES.items():
        rows = [row for row in curve if row["output"] == output]
        values[output] = [float(row[metric.name]) for row in rows]
        label = f"{metric.title} of the {name}"
        lines += axis.plot([row["t"] for row in rows], values[output], style, color=colour, label=label)
    if stop := stopping_points.get(str(metric.target)):
        label = f"t_{metric.stopping_point_name()}: best {metric.title}, {STYLES[stop.output][1]}, t = {stop.t:.2f}"
        lines.append(axis.axvline(stop.t, color=colour, linestyle="--", linewidth=1, label=label))
    # The range of x_hat and of the best iterate: bad iterates would flatten the curve of x_hat.
    best = min(values["iterate"], key=metric.cost)
    low, high = min(*values["x_hat"], best), max(*values["x_hat"], best)
    margin = 0.05 * (high - low) + 1e-6
    axis.set_ylim(low - margin, high + margin)
    axis.set_ylabel(metric.label, color=colour)
    axis.tick_params(axis="y", labelcolor=colour)
    return lines


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
    axis.set_ylabel("severity parameter" if what == "severity" else "time of the sampler")
    axis.set_title(title, fontsize=11, color=INK)
    axis.legend(fontsize=8, frameon=False)
    save_figure(figure, path)


def figure_pixels(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG."""
    write_image(Path(path), figure_pixels(figure))
