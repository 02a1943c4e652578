"""Blur photographs with non-periodic borders and per-image kernels, and restore the files.

Arguments: a folder of photographs and their number.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from diracdiff.data.images import load_image
from diracdiff.degradations import KernelBlur, LinearSeverity
from diracdiff.evaluation.statistics import interval, mean
from diracdiff.utils.files import write_rows
from diracdiff.utils.pixels import from_pixels, to_pixels
from experiments.common import RUNS, run

FOLDER, SIGMA = RUNS / "kernels", 0.02


def psnr(image: torch.Tensor, clean: torch.Tensor) -> float:
    return -10 * (image - clean).square().mean().log10().item()


def main() -> None:
    """Blur and restore photographs, and compute PSNR."""
    source, count = Path(sys.argv[1]), int(sys.argv[2])
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    files = files[:: max(1, len(files) // count)][:count]
    kernels = KernelBlur(LinearSeverity(0.0, 1.0)).sample_params(range(count), torch.zeros(1))
    generator, clean = torch.Generator().manual_seed(0), {}
    for part in ("blurred", "kernels"):
        (FOLDER / part).mkdir(parents=True, exist_ok=True)
    for i, path in enumerate(files):
        deep = (kernels[i, 0] / kernels[i, 0].max() * 65535).round()
        Image.fromarray(deep.numpy().astype(np.uint16)).save(FOLDER / "kernels" / f"{i:02d}.png")
        x, margin = from_pixels(load_image(path)).unsqueeze(1), deep.shape[-1] // 2
        y = F.conv2d(x, (deep / deep.sum()).flip(-2, -1)[None, None])[:, 0]
        y += SIGMA * torch.randn(y.shape, generator=generator)
        clean[f"{i:02d}.png"] = x[:, 0, margin:-margin, margin:-margin]
        Image.fromarray(to_pixels(y).permute(1, 2, 0).numpy()).save(FOLDER / "blurred" / f"{i:02d}.png")
    options = ["checkpoint=builtin:deblur", f"input={FOLDER / 'blurred'}", f"kernel={FOLDER / 'kernels'}"]
    run("restore", *options, f"output={FOLDER / 'restored'}", "if_exists=overwrite")
    rows = []
    for name, x in clean.items():
        before, after = (psnr(from_pixels(load_image(FOLDER / part / name)), x) for part in ("blurred", "restored"))
        rows.append({"image": name, "blurred": before, "restored": after, "gain": after - before})
    write_rows(FOLDER / "results.csv", rows)
    gains = [row["gain"] for row in rows]
    low, high = interval(gains) or (math.nan, math.nan)
    print(
        f"{len(rows)} photographs: {mean([row['blurred'] for row in rows]):.2f} dB, restored "
        f"{mean([row['restored'] for row in rows]):.2f} dB, gain {mean(gains):.2f} [{low:.2f}, {high:.2f}]"
    )


if __name__ == "__main__":
    main()
