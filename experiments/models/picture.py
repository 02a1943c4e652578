"""Draw the first figure of the README: test photographs restored by the bundled deblurring model."""

from pathlib import Path

import numpy as np
import skimage
import torch
from matplotlib.figure import Figure

from diracdiff import load
from diracdiff.data.images import load_square
from diracdiff.degradations.kernels import parse_kernel
from diracdiff.evaluation.plots import save_figure
from diracdiff.utils.pixels import from_pixels, to_pixels

CROPS = {"chelsea.png": (60, 70), "coffee.png": (60, 70)}
"""CC0 photographs of scikit-image, downscaled to 300 pixels, and (row, column) of the shown crop of 160 pixels."""

DATA = Path(skimage.__file__).parent / "data"
OUTPUT = Path(__file__).parents[2] / "docs" / "restored.png"


@torch.no_grad()
def main() -> None:
    """Restore the photographs, and write the figure."""
    restorer = load("builtin:deblur").bind(parse_kernel("gaussian:1.5")[None, None])
    figure = Figure(figsize=(9, 4.7), layout="constrained")
    axes = figure.subplots(len(CROPS), 4)
    best = restorer.stopping_point_for("psnr")
    for i, (name, (top, left)) in enumerate(CROPS.items()):
        x = from_pixels(load_square(DATA / name, 300))[:, top : top + 160, left : left + 160]
        y = restorer.measure(x[None], [name]).y[0]
        shown = [restorer.restore(y[None], target, names=[name])[0] for target in ("t:1", "psnr")]
        titles = ["clean", "blurred and noisy", "one step (t = 1)", f"DO (t = {best.t:.2f})"]
        for axis, title, pixels in zip(
            axes[i], titles, [to_pixels(picture) for picture in (x, y, *shown)], strict=True
        ):
            axis.imshow(np.moveaxis(pixels.numpy(), 0, -1), interpolation="nearest")
            axis.set_axis_off()
            if i == 0:
                axis.set_title(title, fontsize=10)
    save_figure(figure, OUTPUT)
    print(OUTPUT)


if __name__ == "__main__":
    main()
