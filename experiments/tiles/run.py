"""Compare tiled restorations of a large photograph with the whole restoration.

Arguments: checkpoint=… steps=5 repeat=2 (copies of the photograph per side).
"""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from diracdiff.data import load_image
from diracdiff.models.tiled import Tiles
from diracdiff.restorer import load
from diracdiff.utils.files import write_rows
from diracdiff.utils.pixels import from_pixels
from experiments.common import RUNS

TILES = [(None, 0), (512, 0), (512, 32), (512, 64), (512, 96), (512, 128), (256, 64), (128, 32)]

arguments = dict(argument.split("=", 1) for argument in sys.argv[1:])
restorer = load(arguments["checkpoint"])
restorer.sampler = restorer.sampler.replace(num_steps=int(arguments.get("steps", 5)))
repeat = int(arguments.get("repeat", 2))
torch.set_num_threads(1)


def psnr(image: Tensor, clean: Tensor) -> float:
    return -10 * (image - clean).square().mean().log10().item()


def grey_levels(image: Tensor) -> float:
    return 255 * image.abs().max().item()


def steps(difference: Tensor) -> Tensor:
    """Return the mean differences of adjacent rows and of adjacent columns, in grey levels.

    A visible seam is an outlier of these values.
    """
    across = [difference.diff(dim=axis).mean([i for i in range(4) if i != 4 + axis]) for axis in (-1, -2)]
    return 255 * torch.cat(across).abs()


package = find_spec("skimage")
assert package is not None and package.origin is not None
photograph = from_pixels(load_image(Path(package.origin).parent / "data" / "coffee.png")[None])
row = torch.cat([photograph, photograph.flip(-1)] * repeat, -1)[..., : repeat * photograph.shape[-1]]
clean = torch.cat([row, row.flip(-2)] * repeat, -2)[..., : repeat * photograph.shape[-2], :]
y = restorer.measure(clean, ["coffee"]).y
print(f"{y.shape[-1]} x {y.shape[-2]} pixels, measurement {psnr(y, clean):.2f} dB")
rows = []
for target in ("t=1", "t=0"):
    whole = None
    for side, overlap in TILES:
        restorer.tiles = Tiles(side, overlap, max_pixels=0)
        start = time.process_time()
        image = restorer.restore(y, f"{target}", names=["coffee"])
        seconds = time.process_time() - start
        whole = image if whole is None else whole
        gap = image - whole
        values = {
            "target": target,
            "tile": side or "whole",
            "overlap": overlap if side else "",
            "psnr": round(psnr(image, clean), 3),
            "rms": round(255 * gap.square().mean().sqrt().item(), 3),
            "largest": round(grey_levels(gap), 1),
            "step": round(steps(gap).max().item(), 3),
            "usual_step": round(steps(gap).quantile(0.99).item(), 3),
            "cpu_seconds": round(seconds, 1),
        }
        rows.append(values)
        print(values, flush=True)
write_rows(RUNS / "tiles" / "results.csv", rows)
print(f"written: {RUNS / 'tiles' / 'results.csv'}")
