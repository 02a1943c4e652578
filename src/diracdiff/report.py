"""The files that tell how a training went: tables, summary and pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diracdiff.degradations import LinearSeverity, TabulatedSeverity
from diracdiff.files import save_image, write_json
from diracdiff.tradeoff import Stop, summarise

TRADEOFF_CSV = "tradeoff.csv"
INK, DISTORTION, PERCEPTION, MUTED = "#222222", "#2463a8", "#c8553d", "#8a8a8a"
MEANING = {"mean": "denoised image", "iterate": "iterate"}
OUTPUTS = {"mean": "x_hat", "iterate": "iterate"}
NAMES = {
    "measurement": "measurement",
    "one_shot": "one-shot",
    "do": "DO (best PSNR)",
    "po": "PO (best LPIPS)",
}


def gallery_grid(restorer, columns: int = 8) -> Tensor:
    """Images of the last validation as one picture, (3, H, W), uint8: clean, measurement, then x_hat as t falls."""
    means = list(restorer.gallery["mean"].values())
    chosen = np.unique(np.linspace(0, len(means) - 1, columns).round().astype(int))
    shown = [restorer.gallery["clean"], restorer.gallery["iterate"][1.0], *(means[i] for i in chosen)]
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
        axis.set_ylabel(label, color=colour)
        axis.tick_params(axis="y", labelcolor=colour)
    left.set_xlim(1.01, -0.01)
    left.set_xlabel("sampling time t: the measurement at 1, fully restored at 0")
    left.set_title(title, fontsize=11, color=INK)
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    _save_figure(figure, path)


def draw_samples(path: str | Path, restorer, rows: int = 6) -> None:
    """Draw clean, measurement, one-shot, DO, PO and the iterate at t = 0 of a few images, one row each."""
    from matplotlib.figure import Figure

    gallery, stopping = restorer.gallery, restorer.stopping
    columns = [
        ("clean", gallery["clean"]),
        ("measurement", gallery["iterate"][1.0]),
        ("one-shot, t = 1", gallery["mean"][1.0]),
        *(
            (f"{name}, t = {stop['t']:.2f}", gallery[stop["output"]][stop["t"]]) if stop else (f"{name}: unknown", None)
            for name, stop in (("DO", stopping["psnr"]), ("PO", stopping["lpips"]))
        ),
        (f"iterate, t = {min(gallery['iterate']):.0f}", gallery["iterate"][min(gallery["iterate"])]),
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
    _save_figure(figure, path)


def draw_schedule(path: str | Path, table: TabulatedSeverity, linear: LinearSeverity, title: str) -> None:
    """Draw a scheduled severity over t, its points marked, and the linear schedule (paper, Fig. 7)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [linear.start, linear.end], "--", color=MUTED, linewidth=1, label="linear")
    label = f"greedy, {len(table.times) - 2} severities placed"
    axis.plot(table.times, table.values, "-o", color=DISTORTION, linewidth=1, markersize=2.5, label=label)
    axis.set_xlim(-0.01, 1.01)
    axis.set_xlabel("time t: clean at 0, the measurement at 1")
    axis.set_ylabel("severity parameter")
    axis.set_title(title, fontsize=11, color=INK)
    axis.legend(fontsize=8, frameon=False)
    _save_figure(figure, path)


def _save_figure(figure, path: str | Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(110)
    canvas.draw()
    save_image(path, np.asarray(canvas.buffer_rgba())[..., :3])


def write_summary(path: str | Path, restorer) -> dict[str, Any]:
    """Write what a test found at the measurement, one-shot, DO and PO as JSON, and return it.

    Every entry has t, output, nfe, psnr, ssim and lpips_<backbone> (null where LPIPS was not measured), or is null
    where there is no such stop; n is the number of images and seed the run's.
    """
    curve = restorer.rows.curve()
    metrics = ["psnr", "ssim", f"lpips_{restorer.lpips}" if restorer.lpips else "lpips"]
    rows = summarise(curve, restorer.stopping)
    summary = {
        key: row and {name: row.get(name) for name in ("t", "output", "nfe", *metrics)} for key, row in rows.items()
    }
    summary |= {"n": curve[0]["n"], "seed": restorer.seed, "steps": restorer.sampler.steps}
    write_json(path, summary)
    return summary


def print_summary(summary: dict[str, Any], title: str) -> None:
    """Print the rows of a summary as a table; "calls" are those of the network, per image."""
    from rich.console import Console
    from rich.table import Table

    metrics = [name for name in summary["measurement"] if name not in ("t", "output", "nfe")]
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("stop at")
    for column in ("t", "output", "calls", *metrics):
        table.add_column(column, justify="right")
    for key, name in NAMES.items():
        row = summary[key] or {}
        values = [_cell(row.get("t"), 2), OUTPUTS.get(row.get("output"), "–"), _cell(row.get("nfe"), 0)]
        table.add_row(name, *values, *(_cell(row.get(m), 2 if m == "psnr" else 4) for m in metrics))
    table.caption, table.caption_justify = "calls: network calls per image", "left"
    Console().print(table)


def _cell(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
