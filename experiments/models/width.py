"""Restore photographs with Gaussian blur with kernels of the true width and of other widths.

Arguments: a folder of photographs, their number, and the width of the blur in pixels, 1.5.
"""

import math
import sys
from pathlib import Path

import torch
from PIL import Image
from torch.nn import functional as F

from diracdiff.data.images import load_image
from diracdiff.degradations.kernels import parse_kernel
from diracdiff.evaluation.statistics import interval, mean
from diracdiff.utils.files import read_rows, write_rows
from diracdiff.utils.pixels import from_pixels, to_pixels
from experiments.common import RUNS, run
from experiments.models.kernels import SIGMA, psnr

FOLDER = RUNS / "width"
FRACTIONS = (0.5, 0.67, 0.83, 1.0, 1.17, 1.33, 1.67)
"""Widths of the kernel in units of the true width."""


def main() -> None:
    """Blur photographs, restore them with every width, and compute PSNR."""
    source, count, width = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    generator, clean, kernel = torch.Generator().manual_seed(0), {}, parse_kernel(f"gaussian:{width}")
    (FOLDER / "blurred").mkdir(parents=True, exist_ok=True)
    for i, path in enumerate(files[:: max(1, len(files) // count)][:count]):
        x, margin = from_pixels(load_image(path)).unsqueeze(1), len(kernel) // 2
        y = F.conv2d(x, kernel[None, None])[:, 0]
        y += SIGMA * torch.randn(y.shape, generator=generator)
        clean[f"{i:02d}.png"] = x[:, 0, margin:-margin, margin:-margin]
        Image.fromarray(to_pixels(y).permute(1, 2, 0).numpy()).save(FOLDER / "blurred" / f"{i:02d}.png")
    before = {name: psnr(from_pixels(load_image(FOLDER / "blurred" / name)), x) for name, x in clean.items()}
    rows = []
    for fraction in FRACTIONS:
        kernel_width, output = round(fraction * width, 3), FOLDER / f"gaussian_{fraction}"
        options = ["checkpoint=builtin:deblur", f"input={FOLDER / 'blurred'}", f"kernel=gaussian:{kernel_width}"]
        run("restore", *options, f"output={output}", "if_exists=overwrite")
        gains = [psnr(from_pixels(load_image(output / name)), x) - before[name] for name, x in clean.items()]
        table = read_rows(output / "restored.csv", {"residual_over_sigma": float})
        low, high = interval(gains) or (math.nan, math.nan)
        row = {"width": kernel_width, "gain": mean(gains), "low": low, "high": high}
        row["residual_over_sigma"] = mean([line["residual_over_sigma"] for line in table])
        rows.append(row | {"consistent": sum(line["consistent"] == "True" for line in table), "images": len(table)})
        print(rows[-1], flush=True)
    write_rows(FOLDER / "results.csv", rows)


if __name__ == "__main__":
    main()
