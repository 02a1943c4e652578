"""Plots of trade-off curves, trajectories, schedules and uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diracdiff.degradations import LinearSeverity, TabulatedSeverity
from diracdiff.evaluation.evaluation import Gallery
from diracdiff.evaluation.stopping import TARGETS, StoppingPoint, snap_time
from diracdiff.metrics.metric import Metric, Row
from diracdiff.utils.image_files import write_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRADEOFF_CSV = "tradeoff.csv"
INK, DISTORTION, PERCEPTION, MUTED = "#222222", "#2463a8", "#c8553d", "#8a8a8a"
HEAT_MAP_MAX = 0.1  # standard deviation at the upper end of the colour map, in units of the [0, 1] range
STYLES = {"x_hat": ("-", "denoised image"), "iterate": (":", "iterate")}
DPI = 110


def heat_map(std: Tensor) -> NDArray[np.uint8]:
    """Convert standard deviations to colours: black is 0, white is `HEAT_MAP_MAX` or more.

    Args:
        std: standard deviations in units of the [0, 1] range, (H, W).

    Returns:
        Colours, uint8 (H, W, 3).
    """
    from matplotlib import colormaps

    colours = colormaps["inferno"]((std / HEAT_MAP_MAX).clamp(0, 1).numpy())[..., :3]
    return np.asarray((colours * 255).round(), dtype=np.uint8)


def images_figure(columns: Mapping[str, Tensor]) -> Figure:
    """Plot a grid of images with one row per image and one column per title.

    Args:
        columns: {title: images, uint8 (N, C, H, W)}.
    """
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
    """Plot the images of a gallery: clean images, measurements, and x_hat for decreasing t.

    Args:
        gallery: images of an evaluation.
        columns: maximum number of times.
    """
    estimates, iterates = _images_by_time(gallery, "x_hat"), _images_by_time(gallery, "iterate")
    times, start = list(estimates), max(iterates)
    shown_times = [times[i] for i in np.unique(np.linspace(0, len(times) - 1, columns).round().astype(int))]
    first = {"clean": gallery["clean"], f"y {start:.2f}": iterates[start]}
    return images_figure(first | {f"t {t:.2f}": estimates[t] for t in shown_times})


def stopping_figure(gallery: Gallery, stopping_points: Mapping[str, StoppingPoint | None]) -> Figure:
    """Plot the images of a gallery: clean, measurement, one-shot, stopping points, and last iterate.

    Args:
        gallery: images of an evaluation.
        stopping_points: stopping point of each target; None is omitted.
    """
    images = {output: _images_by_time(gallery, output) for output in STYLES}
    start, end = max(images["iterate"]), min(images["iterate"])
    columns = {"clean": gallery["clean"], "y": images["iterate"][start], "one-shot": images["x_hat"][start]}
    for target, metric in TARGETS.items():
        if point := stopping_points.get(target):
            by_time = images[point.output]
            columns[f"{metric.stopping_point_name()} {point.t:.2f}"] = by_time[snap_time(by_time, point.t)]
    return images_figure(columns | ({f"y {end:.2f}": images["iterate"][end]} if end < start else {}))


def _images_by_time(gallery: Gallery, output: str) -> dict[float, Tensor]:
    """Return the images of an output by time, in decreasing order."""
    return {key[0]: images for key, images in gallery.items() if isinstance(key, tuple) and key[1] == output}


def tradeoff_figure(
    curve: Sequence[Row],
    stopping_points: Mapping[str, StoppingPoint | None],
    metrics: Sequence[Metric],
    title: str = "",
) -> Figure:
    """Plot metrics over t, decreasing from the measurement at the left (paper, Fig. 3 and 4).

    Each perceptual metric has a panel together with PSNR. Data consistency has a separate panel.

    Args:
        curve: rows of `Records.curve`.
        stopping_points: stopping point of each target, marked in the panels; None is omitted.
        metrics: metrics of the evaluation.
        title: title of the figure.
    """
    from matplotlib.figure import Figure

    measured = [metric for metric in metrics if metric.name in curve[0]]
    distortion = [metric for metric in measured if metric.target and metric.higher_is_better]
    panels = [[*distortion, m] for m in measured if m.target and not m.higher_is_better] or [distortion]
    panels += [[metric] for metric in measured if metric.higher_is_better is None]
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
    if point := stopping_points.get(str(metric.target)):
        label = f"t_{metric.stopping_point_name()}: best {metric.title}, {STYLES[point.output][1]}, t = {point.t:.2f}"
        lines.append(axis.axvline(point.t, color=colour, linestyle="--", linewidth=1, label=label))
    # The axis covers x_hat and the best iterate, because bad iterates would flatten the curve of x_hat.
    best = min(values["iterate"], key=metric.cost)
    low, high = min(*values["x_hat"], best), max(*values["x_hat"], best)
    margin = 0.05 * (high - low) + 1e-6
    axis.set_ylim(low - margin, high + margin)
    axis.set_ylabel(metric.label, color=colour)
    axis.tick_params(axis="y", labelcolor=colour)
    return lines


def draw_schedule(
    path: str | Path, table: TabulatedSeverity, linear: LinearSeverity, title: str, quantity: str = "severity"
) -> None:
    """Plot a schedule over t with its points, and the linear schedule, to a PNG file (paper, Fig. 7).

    Args:
        path: path of the file.
        table: greedy schedule.
        linear: linear schedule.
        title: title of the figure.
        quantity: "severity", or another value for a schedule of sampling times.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [linear.start, linear.end], "--", color=MUTED, linewidth=1, label="linear")
    label = f"greedy, {len(table.times) - 2} points placed"
    axis.plot(table.times, table.values, "-o", color=DISTORTION, linewidth=1, markersize=2.5, label=label)
    axis.set_xlim(-0.01, 1.01)
    axis.set_xlabel("time t: clean at 0, the measurement at 1")
    axis.set_ylabel("severity parameter" if quantity == "severity" else "time of the sampler")
    axis.set_title(title, fontsize=11, color=INK)
    axis.legend(fontsize=8, frameon=False)
    save_figure(figure, path)


def figure_pixels(figure: Figure) -> NDArray[np.uint8]:
    """Render a figure to pixels, uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure to a PNG file."""
    write_image(Path(path), figure_pixels(figure))
