"""The perception-distortion plane of a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from diracdiff.evaluation.plots import DISTORTION, MUTED, save_figure
from diracdiff.metrics import Metric, Row


def draw_plane(
    path: Path,
    points: Mapping[str, Row],
    curves: Mapping[str, Sequence[Row]],
    distortion: Metric,
    perception: Metric,
) -> None:
    """Draw distortion against perception.

    Args:
        path: of the PNG.
        points: {method: means}.
        curves: {name: means of x_hat by falling t}.
        distortion: metric of the horizontal axis.
        perception: metric of the vertical axis.
    """
    from matplotlib.figure import Figure

    def places(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
        return [row[distortion.name] for row in rows], [row[perception.name] for row in rows]

    figure = Figure(figsize=(8.4, 5.0), layout="constrained")
    axis = figure.subplots()
    for (name, rows), style in zip(curves.items(), ("-", "--"), strict=False):
        axis.plot(*places(rows), style, color=DISTORTION, label=name, marker=".")
    for i, (name, row) in enumerate(points.items()):
        ours = name.startswith("dirac")
        axis.plot(
            *places([row]), "D" if ours else "oXphd"[i // 10 % 5], color=DISTORTION if ours else f"C{i}", label=name
        )
    axis.set_xlabel(distortion.label)
    axis.set_ylabel(perception.label)
    axis.grid(color=MUTED, alpha=0.2)
    legend = figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    save_figure(figure, path)
