"""Measure the part of group normalisation in the difference between tiled and whole restorations.

The script restores one photograph in one network call: whole, in tiles, in tiles with the normalisation statistics of
the whole image, and in tiles with statistics gathered in one or two passes over the tiles.

Arguments: checkpoint=…, of a network with group normalisation.
"""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from diracdiff.data import load_image
from diracdiff.models.tiled import Tiles
from diracdiff.restorer import load
from diracdiff.utils.files import write_rows
from diracdiff.utils.pixels import from_pixels
from experiments.common import RUNS

SIZE = 512
TILES = [(256, 64), (256, 128), (384, 128)]

arguments = dict(argument.split("=", 1) for argument in sys.argv[1:])
torch.set_num_threads(1)


class Statistics:
    """Replace the group normalisation statistics of a network, and gather the actual ones.

    Attributes:
        fixed: {layer: mean and mean square, (2, B, groups)}. Other layers use their actual statistics.
        gathered: {layer: [(statistics, number of values) of each call]}.
    """

    def __init__(self, network: nn.Module):
        self.fixed: dict[int, Tensor] = {}
        self.gathered: dict[int, list[tuple[Tensor, int]]] = {}
        for i, layer in enumerate(m for m in network.modules() if isinstance(m, nn.GroupNorm)):
            layer.forward = self._normalise(i, layer)  # type: ignore[method-assign]

    def _normalise(self, i: int, layer: nn.GroupNorm) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            groups = x.reshape(len(x), layer.num_groups, -1)
            actual = torch.stack([groups.mean(-1), groups.square().mean(-1)])
            self.gathered.setdefault(i, []).append((actual, groups.shape[-1]))
            mean, square = self.fixed.get(i, actual).unsqueeze(-1)
            normal = (groups - mean) * ((square - mean.square()).clamp_min(0) + layer.eps).rsqrt()
            return normal.reshape(x.shape) * layer.weight[:, None, None] + layer.bias[:, None, None]

        return forward

    def pop(self) -> dict[int, Tensor]:
        """Return the mean of the gathered statistics, and reset them."""
        means = {
            i: sum((actual * n for actual, n in calls), torch.zeros(())) / sum(n for _, n in calls)
            for i, calls in self.gathered.items()
        }
        self.gathered = {}
        return means


restorer = load(arguments["checkpoint"])
package = find_spec("skimage")
assert package is not None and package.origin is not None
clean = from_pixels(load_image(Path(package.origin).parent / "data" / "astronaut.png")[None])[..., :SIZE, :SIZE]
y = restorer.measure(clean, ["astronaut"]).y
statistics = Statistics(restorer.denoiser.network)
if not any(isinstance(layer, nn.GroupNorm) for layer in restorer.denoiser.network.modules()):
    sys.exit(f"error: the network of checkpoint={arguments['checkpoint']} has no group normalisation")


def restored(tiles: Tiles, fixed: dict[int, Tensor]) -> Tensor:
    restorer.tiles, statistics.fixed = tiles, fixed
    return restorer.restore(y, "t=1", names=["astronaut"])


whole = restored(Tiles(None), {})
whole_statistics = statistics.pop()
rows = []
for side, overlap in TILES:
    tiles, gathered = Tiles(side, overlap, max_pixels=0), {}
    images = {"tile's": restored(tiles, gathered)}
    for passes in (1, 2):
        gathered = statistics.pop()
        images[f"{passes} pass{'es' * (passes > 1)} over the tiles"] = restored(tiles, gathered)
    images["whole image's"] = restored(tiles, whole_statistics)
    statistics.pop()
    for name, image in images.items():
        gap = 255 * (image - whole).abs()
        error = (image - clean).square().mean().log10().item() - (whole - clean).square().mean().log10().item()
        values = {
            "tile": side,
            "overlap": overlap,
            "statistics": name,
            "psnr_minus_whole": round(-10 * error, 3),
            "rms": round(gap.square().mean().sqrt().item(), 3),
            "largest": round(gap.max().item(), 2),
            "above_1": round((gap > 1).double().mean().item(), 5),
        }
        rows.append(values)
        print(values, flush=True)
path = RUNS / "tiles" / f"normalisation_{Path(arguments['checkpoint']).name}.csv"
write_rows(path, rows)
print(f"written: {path}")
