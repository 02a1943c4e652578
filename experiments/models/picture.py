"""Draw the first figure of the README: test photographs restored by the bundled models and by classical methods."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import skimage
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from diracdiff import load
from diracdiff.data.images import load_square
from diracdiff.evaluation.plots import figure_pixels
from diracdiff.metrics import LPIPS, Reference
from diracdiff.restorer import Restorer
from diracdiff.utils.pixels import from_pixels, to_pixels
from experiments.models.measure import (
    WEIGHTS,
    Problem,
    bicubic,
    biharmonic,
    bound,
    deblurring,
    denoising,
    enlarging,
    psnr,
    total_variation,
)

DATA = Path(skimage.__file__).parent / "data"
OUTPUT = Path(__file__).parents[2] / "docs" / "restored.webp"
SIDE, LEFT, TOP = 200, 50, 60
"""Side of the shown crops in pixels, and their position in photographs of 300 pixels."""

ROWS = {
    "deblurring": (deblurring("gaussian:1.5"), "coffee.png"),
    "inpainting": (Problem("inpaint", "scratches"), "chelsea.png"),
    "super-resolution by 2": (enlarging(2), "coffee.png"),
    "denoising": (denoising(25 / 255, "sigma 25"), "chelsea.png"),
}
"""{task: (problem, CC0 photograph of scikit-image)}."""


def scratches(x: Tensor) -> Tensor:
    """Return a mask of scratches and a disc for an image, bool (1, H, W)."""
    rows, columns = (torch.arange(side) for side in x.shape[-2:])
    lines = (rows[:, None] + 2 * columns) % 120 < 10
    return (lines | ((rows[:, None] - 200) ** 2 + (columns - 160) ** 2 < 100))[None]


def classical(restorer: Restorer, problem: Problem, x: Tensor, y: Tensor) -> tuple[str, Tensor]:
    """Return name and result of a classical method. Total variation has the weight of the highest PSNR."""
    if problem.model == "inpaint":
        return "biharmonic", biharmonic(restorer, y, "")
    if problem.model == "super_resolution":
        return "bicubic", bicubic(restorer, y, "")
    scale = 1 if problem.level is None else 10  # denoising needs larger weights
    images = [total_variation(scale * weight)(restorer, y, "") for weight in WEIGHTS]
    return "total variation", max(images, key=lambda image: psnr(image, x))


@torch.no_grad()
def main() -> None:
    """Restore the photographs, and write the figure."""
    figure, lpips = Figure(figsize=(10, 9.3), layout="constrained"), LPIPS()
    axes = figure.subplots(len(ROWS), 5)
    for row, (task, (problem, name)) in zip(axes, ROWS.items(), strict=True):
        x = from_pixels(load_square(DATA / name, 300))[None]
        restorer = load(f"builtin:{problem.model}")
        if problem.model == "inpaint":
            problem = replace(problem, params=restorer.process.degradation.signed_distance(scratches(x)))
        restorer = bound(restorer, problem, x, name)
        y = restorer.measure(x, [name]).y
        method, other = classical(restorer, problem, x, y)
        shown = {"clean": x, "measurement": y, method: other}
        for target, title in (("psnr", "accurate (DO)"), ("lpips", "sharp (PO)")):
            shown[title] = restorer.restore(y, target, names=[name])
        part = slice(TOP, TOP + SIDE), slice(LEFT, LEFT + SIDE)
        shown = {title: image[..., *part] for title, image in shown.items()}
        reference = Reference(shown["clean"], shown["measurement"])
        for axis, (title, image) in zip(row, shown.items(), strict=True):
            axis.imshow(np.moveaxis(to_pixels(image[0]).numpy(), 0, -1), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(title, fontsize=9)
            if title != "clean":
                score = lpips.values(image, reference)[0]
                axis.set_xlabel(f"{psnr(image, shown['clean']):.2f} dB / {score:.3f}", fontsize=9)
        row[0].set_ylabel(task, fontsize=10)
    Image.fromarray(figure_pixels(figure)).save(OUTPUT, quality=90, method=6)
    print(OUTPUT)


if __name__ == "__main__":
    main()
