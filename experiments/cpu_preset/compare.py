"""Compare small networks and optimiser settings after equal CPU time on one thread.

The script trains every variant on the data set photos for the same CPU seconds, over which the learning rate decays. It
measures the PSNR of x_hat on held-out crops at t = 1 (one-shot), t = 0.5 and t = 0.1.
"""

import argparse
import csv
import math
import time
from pathlib import Path

import torch

from diracdiff import (
    Denoiser,
    GaussianBlur,
    GaussianInpainting,
    GeometricNoise,
    IncrementalReconstructionLoss,
    LinearSeverity,
    NCSNpp,
    Photos,
    StochasticDegradation,
    TabulatedSeverity,
)
from diracdiff.data import ShardSampler

SIZE = 64
NETWORK = dict(channels=16, multipliers=[1, 1, 2, 2, 5], blocks=1, attention_levels=[3], dropout=0.0)
VARIANTS = {
    "default (batch 8, lr 2e-3)": {},
    "batch 16": {"batch": 16},
    "lr 1e-3": {"lr": 1e-3},
    "lr 1e-4, as published": {"lr": 1e-4},
    "patch 2, 32 channels, [1,2,2]": {
        "patch": 2, "channels": 32, "multipliers": [1, 2, 2], "attention_levels": [2],
    },
    "wider below, [1,2,4,4]": {"multipliers": [1, 2, 4, 4]},
    "a level less, [1,1,2,2]": {"multipliers": [1, 1, 2, 2]},
}  # fmt: skip


def process_and_loss(task: str):
    if task == "deblur":
        degradation, look_ahead = GaussianBlur(TabulatedSeverity.from_csv("published_blur"), SIZE), 0.0
    else:
        degradation, look_ahead = GaussianInpainting(LinearSeverity(0.1, 50), SIZE), 1.0
    return StochasticDegradation(degradation, GeometricNoise()), IncrementalReconstructionLoss(look_ahead)


def train(task: str, seconds: float, seed: int, batch: int = 8, lr: float = 2e-3, **network) -> dict:
    torch.manual_seed(seed)
    process, loss = process_and_loss(task)
    net = NCSNpp(**NETWORK | network)
    denoiser = Denoiser(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    photos = Photos(SIZE, seed=seed)
    crops, held_out = photos.split("train"), photos.split("test")
    sampler, keys = ShardSampler(len(crops), seed=seed, shuffle=True), []
    start, step = time.process_time(), 0
    while (progress := (time.process_time() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * progress))
        if len(keys) < batch:
            keys += list(sampler)
            sampler.set_epoch(sampler.epoch + 1)
        x = torch.stack([crops[keys.pop(0)]["x"] for _ in range(batch)])
        t = torch.rand(batch)
        y = process.sample(x, t, torch.randn_like(x))
        optimizer.zero_grad()
        loss(process, denoiser(process, y, t), x, t).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1

    x = torch.stack([held_out[i]["x"] for i in range(len(held_out))])
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))

    def psnr(image):
        return (-10 * torch.log10((image.clamp(0, 1) - x).square().flatten(1).mean(1))).mean().item()

    result = {"steps": step, "parameters": sum(p.numel() for p in net.parameters())}
    result["measurement"] = psnr(process.measure(x, noise))
    for name, t in (("one_shot", 1.0), ("t=0.5", 0.5), ("t=0.1", 0.1)):
        with torch.no_grad():
            result[name] = psnr(denoiser(process, process.sample(x, t, noise), torch.tensor(t)))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="CPU seconds of training per variant and task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("cpu_preset.csv"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with arguments.output.open("w", newline="") as file:
        writer = None
        for name, options in VARIANTS.items():
            for task in ("deblur", "inpaint"):
                result = train(task, arguments.seconds, arguments.seed, **options)
                row = {"variant": name, "task": task} | {
                    k: round(v, 2) if isinstance(v, float) else v for k, v in result.items()
                }
                writer = writer or csv.DictWriter(file, list(row))
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
                file.flush()
                print(*row.values(), sep="\t", flush=True)


if __name__ == "__main__":
    main()
