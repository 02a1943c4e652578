"""Pictures of a comparison: restored images side by side, and the plane of distortion and perception."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from diracdiff.evaluation.plots import DISTORTION, INK, MUTED, PERCEPTION, save_figure
from diracdiff.metrics import Metric, Row

ZOOM = 0.28
"""Side of the zoom box, as a share of the image's."""


def draw_images(path: Path, columns: dict[str, Tensor]) -> None:
    """Draw images, a row for each and a column for each method, with a box enlarged below.

    The box lies where the methods differ most.

    Args:
        path: of the PNG.
        columns: {name: uint8 images (N, C, H, W)}; the first two are clean images and measurements.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    count = len(next(iter(columns.values())))
    figure = Figure(figsize=(1.45 * len(columns), 2.95 * count + 0.25), layout="constrained")
    axes = figure.subplots(2 * count, len(columns), squeeze=False)
    for i in range(count):
        methods = np.stack([images[i].numpy() for images in list(columns.values())[2:]]).astype(float)
        top, left, side = _most_different(methods)
        for j, (name, images) in enumerate(columns.items()):
            pixels = images[i].permute(1, 2, 0).numpy()
            whole, zoom = axes[2 * i, j], axes[2 * i + 1, j]
            whole.imshow(pixels, interpolation="nearest")
            whole.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, color=PERCEPTION, linewidth=1))
            zoom.imshow(pixels[top : top + side, left : left + side], interpolation="nearest")
            for axis in (whole, zoom):
                axis.set_xticks([])
                axis.set_yticks([])
            zoom.spines[:].set_color(PERCEPTION)
            if i == 0:
                whole.set_title(name, fontsize=8, color=INK)
    save_figure(figure, path)


def _most_different(methods: np.ndarray) -> tuple[int, int, int]:
    """Top, left and side of the box in which methods, (M, C, H, W), vary most."""
    spread = methods.var(0).mean(0)
    side = max(4, round(ZOOM * min(spread.shape)))
    sums = np.pad(spread, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    boxes = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(boxes.argmax(), boxes.shape)
    return int(top), int(left), side


def draw_plane(
    path: Path,
    points: dict[str, Row],
    curves: dict[str, list[Row]],
    dials: Sequence[Row],
    distortion: Metric,
    perception: Metric,
) -> None:
    """Draw distortion against perception: a point per row of the table but the measurement, and Dirac's curves.

    Args:
        path: of the PNG.
        points: {method: means}.
        curves: {name: means of x_hat, by falling t}.
        dials: rows with "dial" and "value".
        distortion: metric of the horizontal axis.
        perception: metric of the vertical axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 5.0), layout="constrained")
    axis = figure.subplots()
    for (name, rows), style in zip(curves.items(), ("-", "--"), strict=False):
        x, y = ([row[metric.name] for row in rows] for metric in (distortion, perception))
        axis.plot(x, y, style, color=DISTORTION, label=name, marker=".")
    for dial, marker in zip(dict.fromkeys(row["dial"] for row in dials), "sv^P", strict=False):
        rows = [row for row in dials if row["dial"] == dial]
        x, y = ([row[metric.name] for row in rows] for metric in (distortion, perception))
        axis.plot(x, y, ":", marker=marker, markersize=4, color=MUTED, label=f"Dirac's {dial}")
        for row, place in zip(rows, zip(x, y, strict=True), strict=True):
            axis.annotate(f"{row['value']:g}", place, (3, 3), textcoords="offset points", fontsize=6, color=MUTED)
    places = {  # without the measurement: far away, and nobody's choice
        name: (row[distortion.name], row[perception.name])
        for name, row in points.items()
        if not name.startswith("measurement")
    }
    for name, place in places.items():
        dirac = name.startswith("dirac")
        axis.plot(*place, "D" if dirac else "o", color=DISTORTION if dirac else PERCEPTION)
    axis.set_xlabel(f"{distortion.title} [{distortion.unit}]: faithful to the right")
    axis.set_ylabel(f"{perception.name}: good-looking below")
    axis.set_title("distortion and perception", fontsize=11, color=INK)
    axis.grid(color=MUTED, alpha=0.2)
    axis.legend(frameon=False, fontsize=8)
    _name(axis, places)
    save_figure(figure, path)


def _name(axis: Any, places: dict[str, tuple[float, float]]) -> None:
    """Write names near their points, where they cover the fewest names and points."""
    from matplotlib.transforms import Bbox

    axis.figure.draw_without_rendering()
    dots = axis.transData.transform([*places.values(), *np.concatenate([line.get_xydata() for line in axis.lines])])
    dots = [Bbox.from_extents(*(dot - 4), *(dot + 4)) for dot in dots]
    names = [axis.get_legend().get_window_extent()]
    whole = axis.get_window_extent()
    look = {"textcoords": "offset points", "fontsize": 8, "color": INK, "va": "center"}
    for name, place in places.items():
        tried = []
        for side, x in (("left", 7), ("right", -7), ("center", 0)):
            for y in (5, -5, 14, -14, 23, -23):
                text = axis.annotate(name, place, (x, y), ha=side, **look)
                box = text.get_window_extent()
                text.remove()
                outside = not (whole.x0 < box.x0 and box.x1 < whole.x1 and whole.y0 < box.y0 and box.y1 < whole.y1)
                cost = 100 * outside + 10 * box.count_overlaps(names) + box.count_overlaps(dots) + abs(y) / 20
                tried.append((cost, (x, y), side, box))
        _, offset, side, box = min(tried, key=lambda trial: trial[0])
        line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.5} if abs(offset[1]) > 5 else None
        axis.annotate(name, place, offset, ha=side, arrowprops=line, **look)
        names.append(box)
