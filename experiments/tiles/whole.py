"""Compare tiled and whole restorations of photographs of 512 px at target=psnr.

Arguments: checkpoints; default: bundled models.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from diracdiff.data import load_image
from diracdiff.evaluation.measurement import measure
from diracdiff.models.tiled import Tiles
from diracdiff.restorer import load
from diracdiff.utils.files import write_rows
from diracdiff.utils.pixels import from_pixels
from experiments.common import RUNS

SIZE = 512
PHOTOGRAPHS = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"]
TILES = [(256, 64), (256, 96), (256, 128), (384, 128)]
MODELS = ["builtin:deblur", "builtin:inpaint", "builtin:super_resolution"]

torch.set_num_threads(1)


def photograph(name: str) -> Tensor:
    """Return a photograph of scikit-image, (1, 3, SIZE, SIZE). Small photographs are mirrored."""
    package = find_spec("skimage")
    assert package is not None and package.origin is not None
    x = from_pixels(load_image(Path(package.origin).parent / "data" / name)[None])
    x = torch.cat([x, x.flip(-1)], -1)
    return torch.cat([x, x.flip(-2)], -2)[..., :SIZE, :SIZE]


rows = []
for checkpoint in sys.argv[1:] or MODELS:
    restorer = load(checkpoint)
    gaps: dict[tuple[int, int], list[Tensor]] = {}
    for name in PHOTOGRAPHS:
        x = photograph(name)
        bound = restorer.replace(process=restorer.process.bind_images([0], x))
        y = measure(bound.process, x, [name], bound.seed).y
        whole = bound.replace(tiles=Tiles(None)).restore(y, "psnr", names=[name])
        for side, overlap in TILES:
            tiled = bound.replace(tiles=Tiles(side, overlap, max_pixels=0))
            gap = 255 * (tiled.restore(y, "psnr", names=[name]) - whole).abs()
            gaps.setdefault((side, overlap), []).append(gap)
    for (side, overlap), parts in gaps.items():
        gap = torch.cat(parts)
        row = {
            "checkpoint": Path(checkpoint).name,
            "tile": side,
            "overlap": overlap,
            "rms": round(gap.square().mean().sqrt().item(), 4),
            "largest": round(gap.max().item(), 3),
            "above_1": round((gap > 1).double().mean().item(), 7),
        }
        rows.append(row)
        print(row, flush=True)
write_rows(RUNS / "tiles" / "whole.csv", rows)
print(f"written: {RUNS / 'tiles' / 'whole.csv'}")
