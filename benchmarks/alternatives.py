"""Other ways to compute the parts of a residual block, against the network's own: `python benchmarks/alternatives.py`.

Each takes the place of the network's own in turn; a training step (forward and backward) of the tiny network is timed,
interleaved, in CPU time of this process with one thread, and compared within a round.
"""

import os
import statistics
import time

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")

import torch
import torch.nn.functional as F
from torch import nn

from diracdiff.models import NCSNpp
from diracdiff.models.layers import FIR, SKIP_SCALE, ResidualBlock
from diracdiff.utils.memory import keep_freed_memory

ROUNDS, BATCH, SIDE = 9, 8, 64
OWN = {cls: cls.forward for cls in (ResidualBlock, nn.Conv2d, FIR)}


def sums_in_place(self, x, embedding):
    h = self.conv_in(self.resample(F.silu(self.norm_in(x))))
    h += self.embed(embedding)[:, :, None, None]
    h = self.conv_out(self.dropout(F.silu(self.norm_out(h))))
    h += self.skip(self.resample(x))
    h *= SKIP_SCALE
    return self.attention(h)


def matrix_product(self, x):
    if self.kernel_size != (1, 1):
        return OWN[nn.Conv2d](self, x)
    return F.linear(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)


def separable(self, x):
    if self.mode != "down":
        return OWN[FIR](self, x)
    channels, taps, padding = x.shape[1], torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8, self.padding
    rows, columns = (taps.reshape(shape).expand(channels, 1, -1, -1) for shape in ((1, 1, 4, 1), (1, 1, 1, 4)))
    x = F.conv2d(x, rows, stride=(2, 1), padding=(padding, 0), groups=channels)
    return F.conv2d(x, columns, stride=(1, 2), padding=(0, padding), groups=channels)


def shifted_sums(self, x):
    if self.mode != "down":
        return OWN[FIR](self, x)
    x = F.pad(x, (self.padding,) * 4)
    x = (x[..., 0:-3:2, :] + x[..., 3::2, :]) / 8 + (x[..., 1:-2:2, :] + x[..., 2:-1:2, :]) * 0.375
    return (x[..., 0:-3:2] + x[..., 3::2]) / 8 + (x[..., 1:-2:2] + x[..., 2:-1:2]) * 0.375


def contiguous(self, x):
    return OWN[FIR](self, x.contiguous()).contiguous(memory_format=torch.channels_last)


ALTERNATIVES = {
    "the network's own": {},
    "the same, measured again": {},
    "sums in place": {ResidualBlock: sums_in_place},
    "1x1 convolution as a matrix product": {nn.Conv2d: matrix_product},
    "FIR separable": {FIR: separable},
    "FIR as sums of shifted images": {FIR: shifted_sums},
    "FIR in the contiguous layout": {FIR: contiguous},
}


def main() -> None:
    """Print the quartiles of the ratios."""
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = NCSNpp(16, [1, 1, 2, 2, 5], 1, [3], 0.0, images=2).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    y, level = torch.rand(BATCH, 6, SIDE, SIDE), torch.rand(BATCH)
    seconds: dict[str, list[float]] = {name: [] for name in ALTERNATIVES}
    outputs = {}
    for number in range(ROUNDS + 1):
        for name, changes in ALTERNATIVES.items():
            for cls, forward in (OWN | changes).items():
                cls.forward = forward
            began = time.process_time()
            network.zero_grad()
            outputs[name] = network(y, level)
            outputs[name].square().mean().backward()
            if number:
                seconds[name].append(time.process_time() - began)
    own = next(iter(ALTERNATIVES))
    for name, values in seconds.items():
        ratios = statistics.quantiles([a / b for a, b in zip(values, seconds[own], strict=True)], n=4)
        same = "the same bits" if torch.equal(outputs[name], outputs[own]) else "other last bits"
        print(f"| {name} | {ratios[1]:.3f} | {ratios[0]:.3f}–{ratios[2]:.3f} | {same} |")


if __name__ == "__main__":
    main()
