"""Draw a figure of DO and PO results, and an animation of the reverse process with its trade-off curve.

`python -m experiments.hero.run --root photos --checkpoints deblur.ckpt inpaint.ckpt --comparisons deblur_compared -`
restores test images, selects one for each task by a rule, and writes `hero.png` and the animation `hero_path.webp` into
`runs/experiments/hero`.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diracdiff import load
from diracdiff.checkpoints import to_recipe
from diracdiff.checkpoints.weights import read_weights
from diracdiff.comparison import Runner, load_or_measure
from diracdiff.comparison.checks import file_digests
from diracdiff.comparison.measurements import Measurements
from diracdiff.comparison.methods import DiracMethod
from diracdiff.comparison.page import curve_points
from diracdiff.comparison.runs import Run, load_run
from diracdiff.data import ImageFolder
from diracdiff.evaluation import snap_to_grid
from diracdiff.evaluation.plots import DISTORTION, INK, MUTED, PERCEPTION, figure_pixels
from diracdiff.metrics import LPIPS, PSNR, Reference, ResidualNoise, Row
from diracdiff.restorer import Restorer
from diracdiff.utils.pixels import from_pixels, to_pixels
from experiments.common import RUNS

TASKS = {"deblur": "deblurring", "inpaint": "inpainting", "super_resolution": "super-resolution"}
METHODS = {
    "admm_tv": "ADMM-TV",
    "ddrm": "DDRM",
    "diffpir": "DiffPIR",
    "dps": "DPS",
    "i2sb": "I2SB",
    "indi": "InDI",
    "palette": "Palette",
    "pigdm": "PiGDM",
    "pmrf": "PMRF",
    "pnp_admm": "PnP-ADMM",
}
TILE = 240  # minimum side in pixels of an enlarged image
FIGURE_BYTES, ANIMATION_BYTES = 400_000, 1_000_000
FRAME, PAUSE, END = 140, 1000, 2000  # milliseconds of a frame, of DO and PO, and of the last frame
LPIPS_NAME = "lpips_squeeze"


@dataclass
class Results:
    """Restorations of the test images of one task.

    Attributes:
        restorer: restorer of the task.
        images: clean images and measurements.
        columns: {title: (run, stopping time)}: "DO", "PO" and another method.
        points: {method: means over the images} of other methods.
    """

    restorer: Restorer
    images: Measurements
    columns: dict[str, tuple[Run, str]]
    points: dict[str, Row]

    def shown(self) -> int:
        """Return the number of images with stored restorations, which are the first ones."""
        return min(len(run.images[stop]) for run, stop in self.columns.values())


def from_checkpoint(path: str, root: str, count: int, folder: Path) -> Results:
    """Restore the first test images of a data set. The third column is the one-shot result."""
    restorer = load(path)
    test = ImageFolder(root, restorer.image_size).split("test")
    items = (test[i] for i in range(min(count, len(test))))
    batches = ({"x": item["x"][None], "name": [item["name"]]} for item in items)
    folder.mkdir(parents=True, exist_ok=True)
    images = load_or_measure(folder / f"measurements_{count}.pt", batches, restorer.process, restorer.seed)
    stopping_points = {name: stop_text(restorer, target) for name, target in (("DO", "psnr"), ("PO", "lpips"))}
    stopping_points["one network call"] = "x_hat t=1"
    dirac = DiracMethod("dirac", {}, [to_recipe(restorer.sampler), *file_digests(path)], restorer)
    runner = Runner(folder / "parts", restorer.process, [PSNR(), LPIPS(), ResidualNoise()], 16, pictures=len(images))
    run = runner.run(dirac, {}, images, f"restoring {restorer.name}", set(stopping_points.values()))
    return Results(restorer, images, {name: (run, stop) for name, stop in stopping_points.items()}, {})


def from_comparison(path: str, folder: Path, best: str) -> Results:
    """Read the results of `diracdiff compare`. The other method is the best one by `best`, "psnr" or "lpips"."""
    images = Measurements(**read_weights(folder / "measurements_test.pt", "measurements of diracdiff compare"))
    rows = {row["method"]: row for row in json.loads((folder / "comparison.json").read_text())["rows"]}
    others = {name: row for name, row in rows.items() if not name.startswith(("dirac_", "measurement"))}
    if not others or "dirac_po" not in rows:
        raise SystemExit(f"{folder}: must have dirac_po and another method. Compare with LPIPS and a baseline.")
    sign, column = (-1, "psnr") if best == "psnr" else (1, LPIPS_NAME)
    other = min(others, key=lambda name: sign * others[name][column])
    columns = {"DO": "dirac_do", "PO": "dirac_po", title(other): other}
    runs = {column: (find_run(folder, rows[name]), rows[name]["stop"]) for column, name in columns.items()}
    return Results(load(path), images, runs, {title(name): row for name, row in others.items()})


def find_run(folder: Path, row: Row) -> Run:
    """Return the run of a row of a comparison, with images at the stopping time of the row."""
    name = "dirac" if row["method"].startswith("dirac_") else row["method"].partition(" (")[0]
    for parts in sorted((folder / "parts" / name).iterdir()):
        run = load_run(sorted(parts.glob("*.pt")))
        means = run.means().get(row["stop"])
        if row["stop"] in run.images and means and math.isclose(means["psnr"], row["psnr"], rel_tol=1e-9):
            return run
    raise SystemExit(f"{folder}: has no pictures of {row['method']}. Compare again.")


def title(name: str) -> str:
    """Return the name of a row of a comparison as used in the literature."""
    method, *rest = name.split(" (")
    return " (".join([METHODS.get(method, method), *rest])


def stop_text(restorer: Restorer, target: str) -> str:
    """Return the stopping time of a target on the grid of the sampler, as `Result.stop` does."""
    (stop,) = snap_to_grid([restorer.stopping_point_for(target)], restorer.sampler.times())
    return f"{stop.output} t={stop.t:g}"


def candidates(results: Results) -> dict[int, float]:
    """Return {index: improvement of LPIPS from DO to PO} of images with a flat region, or of all if none has one."""
    do, po = (run.rows_at(stop)[: results.shown()] for run, stop in (results.columns[name] for name in ("DO", "PO")))
    gains = {i: before[LPIPS_NAME] - after[LPIPS_NAME] for i, (before, after) in enumerate(zip(do, po, strict=True))}
    return {i: gain for i, gain in gains.items() if po[i].get(ResidualNoise.name) is not None} or gains


def choose(tasks: Sequence[Results]) -> list[int]:
    """Return an image for each task: the unused candidate whose improvement is nearest to the median."""
    chosen: list[int] = []
    names: set[str] = set()
    for results in tasks:
        gains = candidates(results)
        median = sorted(gains.values())[len(gains) // 2]
        unused = [i for i in gains if results.images.names[i] not in names] or list(gains)
        chosen.append(min(unused, key=lambda i: (abs(gains[i] - median), i)))
        names.add(results.images.names[chosen[-1]])
    return chosen


# figure


def font(size: int) -> Any:
    """Return the font of Matplotlib in a size."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def enlarge(pixels: Tensor, side: int = TILE) -> Image.Image:
    """Enlarge an image, uint8 (C, H, W), by the smallest integer factor that gives sides of at least `side` pixels."""
    factor = math.ceil(side / min(pixels.shape[-2:]))
    image = Image.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())
    return image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)


def caption(pixels: Tensor, results: Results, i: int, metrics: Sequence[Any]) -> str:
    """Return PSNR, LPIPS and residual noise of an image as text."""
    clean, y = from_pixels(results.images.clean[i : i + 1]), results.images.y[i : i + 1]
    reference = Reference(clean, y, results.restorer.process)
    psnr, lpips, noise = (metric.values(from_pixels(pixels[None]), reference)[0] for metric in metrics)
    return f"{psnr:.2f} dB / {lpips:.3f} / {'–' if noise is None else f'{noise:.2f}'}"


def draw(tasks: Sequence[Results], chosen: Sequence[int]) -> Image.Image:
    """Draw a row per task: clean image, measurement, DO, PO and another method, each with its metrics."""
    metrics = [PSNR(), LPIPS(), ResidualNoise()]
    rows, captions = [], []
    for results, i in zip(tasks, chosen, strict=True):
        shown = [results.images.clean[i], to_pixels(results.images.y[i])]
        shown += [run.images[stop][i] for run, stop in results.columns.values()]
        rows.append([enlarge(pixels) for pixels in shown])
        captions.append(["", *(caption(pixels, results, i, metrics) for pixels in shown[1:])])
    others = [list(results.columns)[2] for results in tasks]
    headers = ["clean image", "measurement", "DO: accurate", "PO: sharp"]
    headers += [others[0] if len(set(others)) == 1 else "best other method"]
    if len(set(others)) > 1:
        for texts, other in zip(captions, others, strict=True):
            texts[-1] = f"{other}: {texts[-1]}"
    side, gap, line = max(row[0].width for row in rows), 12, 30
    heights = [row[0].height + line + gap for row in rows]
    canvas = Image.new("RGB", (line + 5 * (side + gap), line + sum(heights) + 2 * line), "white")
    pen, small, large = ImageDraw.Draw(canvas), font(16), font(20)
    lefts, top = [line + k * (side + gap) + gap // 2 for k in range(5)], line
    for left, header in zip(lefts, headers, strict=True):
        pen.text((left + side / 2, line / 2), header, INK, large, "mm")
    for results, images, texts, height in zip(tasks, rows, captions, heights, strict=True):
        label = Image.new("RGB", (images[0].height, line), "white")
        name = TASKS.get(results.restorer.name, results.restorer.name)
        ImageDraw.Draw(label).text((label.width / 2, line / 2), name, INK, large, "mm")
        canvas.paste(label.rotate(90, expand=True), (0, top))
        for left, image, text in zip(lefts, images, texts, strict=True):
            canvas.paste(image, (left, top))
            fitting = next(f for f in map(font, range(16, 4, -1)) if f.getlength(text) <= side or f.size == 5)
            pen.text((left + side / 2, top + image.height + line / 2), text, INK, fitting, "mm")
        top += height
    counts = " or ".join(dict.fromkeys(str(len(candidates(results))) for results in tasks))
    notes = [
        "Below images: PSNR / LPIPS (squeeze; lower is better) / residual noise, in units of the measurement's noise.",
        f"Rows show the test image whose LPIPS improvement from DO to PO is nearest to the median of {counts} images.",
    ]
    for k, note in enumerate(notes):
        pen.text((lefts[0], top + (k + 0.5) * 0.9 * line), note, MUTED, small, "lm")
    return canvas


def write_figure(image: Image.Image, path: Path) -> Path:
    """Write an image as PNG, or as WebP if the PNG is too large, and return its path."""
    image.save(path, optimize=True)
    for quality in range(95, 40, -5):
        if path.stat().st_size <= FIGURE_BYTES:
            break
        path.unlink()
        path = path.with_suffix(".webp")
        image.save(path, quality=quality, method=6)
    return path


# animation


def frames(results: Results, i: int) -> Iterator[tuple[Image.Image, int]]:
    """Yield frames of x_hat of an image as t falls, next to the trade-off curve, and their milliseconds."""
    run = results.columns["PO"][0]
    curve = curve_points(run)
    columns = ((name, *results.columns[name]) for name in ("DO", "PO"))
    stopping_points = {name: (column_run.means()[stop], stop) for name, column_run, stop in columns}
    for k, point in enumerate(curve):
        reached = [name for name, (_, stop) in stopping_points.items() if stop == point["stop"]]
        plot = Image.fromarray(figure_pixels(plane(results, curve, stopping_points, k)))
        image = enlarge(run.images[point["stop"]][i], plot.height - 40)
        canvas = Image.new("RGB", (image.width + plot.width + 10, max(image.height + 40, plot.height)), "white")
        canvas.paste(image, (0, 0))
        canvas.paste(plot, (image.width + 10, 0))
        text = f"t = {point['t']:.2f}{''.join(f'   {name}' for name in reached)}"
        ImageDraw.Draw(canvas).text((image.width / 2, image.height + 20), text, INK, font(20), "mm")
        last = k == len(curve) - 1
        yield canvas, END if last else PAUSE if reached else FRAME


def plane(results: Results, curve: Sequence[Row], stopping_points: dict[str, tuple[Row, str]], k: int) -> Figure:
    """Draw the means of PSNR and LPIPS over t, with the k-th point marked."""
    figure = Figure(figsize=(4.4, 3.4), layout="constrained")
    axis = figure.subplots()
    psnrs, values = [row["psnr"] for row in curve], [row[LPIPS_NAME] for row in curve]
    axis.plot(psnrs, values, "-", color=MUTED, linewidth=1.5)
    axis.plot(psnrs[: k + 1], values[: k + 1], "-", color=DISTORTION, linewidth=2.5)
    axis.plot(psnrs[k], values[k], "o", color=DISTORTION, markersize=9)
    points = [*zip(psnrs, values, strict=True)]
    for (name, (row, _)), colour in zip(stopping_points.items(), (DISTORTION, PERCEPTION), strict=True):
        position = row["psnr"], row[LPIPS_NAME]
        points.append(position)
        axis.plot(*position, "D", color=colour, markersize=7)
        axis.annotate(name, position, (0, 8), textcoords="offset points", color=colour, ha="center", weight="bold")
    spans = [3 * (max(values_) - min(values_)) + 1e-3 for values_ in zip(*points, strict=True)]
    centre = points[-1]
    for name, row in results.points.items():
        position = row["psnr"], row[LPIPS_NAME]
        if all(abs(a - b) < span for a, b, span in zip(position, centre, spans, strict=True)):
            axis.plot(*position, "x", color=INK)
            axis.annotate(name, position, (0, -11), textcoords="offset points", fontsize=7, color=INK, ha="center")
    axis.margins(0.12)
    axis.set_xlabel(PSNR().label, fontsize=9)
    axis.set_ylabel("LPIPS (squeeze), lower is better", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(color=MUTED, alpha=0.2)
    axis.set_title(f"x_hat as t falls, mean of {len(results.images)} test images", fontsize=9, color=INK)
    return figure


def write_animation(results: Results, i: int, path: Path) -> None:
    """Write the animation of an image as WebP."""
    images, times = zip(*frames(results, i), strict=True)
    shared = {"save_all": True, "append_images": images[1:], "duration": times, "loop": 0, "method": 4}
    for options in ({"lossless": True}, *({"quality": quality} for quality in range(95, 20, -10))):
        images[0].save(path, **shared, **options)
        if path.stat().st_size <= ANIMATION_BYTES:
            break


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    """Restore test images, select one per task, and draw figure and animation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoints", nargs="+", required=True, help="a checkpoint for each task, in the order of the rows"
    )
    parser.add_argument("--root", help="folder of images with train, val and test, for tasks without a comparison")
    parser.add_argument("--comparisons", nargs="*", default=[], help="folders of diracdiff compare; -: none")
    parser.add_argument("--best", choices=("psnr", "lpips"), default="lpips", help="metric of the best other method")
    parser.add_argument("--images", type=int, default=32, help="test images, for tasks without a comparison")
    parser.add_argument("--animate", type=int, default=0, help="index of the checkpoint for the animation")
    parser.add_argument("--output", type=Path, default=RUNS / "hero")
    options = parser.parse_args(arguments)
    comparisons = [*options.comparisons, *["-"] * (len(options.checkpoints) - len(options.comparisons))]
    if "-" in comparisons and options.root is None:
        parser.error("--root: must be a folder of images for checkpoints without a comparison.")
    options.output.mkdir(parents=True, exist_ok=True)
    tasks = []
    for k, (path, comparison) in enumerate(zip(options.checkpoints, comparisons, strict=True)):
        if comparison == "-":
            tasks.append(from_checkpoint(path, options.root, options.images, options.output / str(k)))
        else:
            tasks.append(from_comparison(path, Path(comparison), options.best))
    chosen = choose(tasks)
    for path, results, i in zip(options.checkpoints, tasks, chosen, strict=True):
        print(f"{path}: image {results.images.names[i]}")
    print(f"written: {write_figure(draw(tasks, chosen), options.output / 'hero.png')}")
    write_animation(tasks[options.animate], chosen[options.animate], options.output / "hero_path.webp")
    print(f"written: {options.output / 'hero_path.webp'}")


if __name__ == "__main__":
    main()
