"""Measure the correlation of the standard deviation of samples with the error of their mean.

Arguments: checkpoint=…, root=… (a folder of images), images=…, samples=…, target=….
"""

import sys

import numpy as np
import torch

from diracdiff.data import ImageFolder
from diracdiff.evaluation.plots import heat_map
from diracdiff.restorer import load
from diracdiff.samplers import ImageNoise
from diracdiff.utils.files import write_rows
from diracdiff.utils.seeds import image_seed
from experiments.common import RUNS, panels, save

NAME = "uncertainty"
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
count, samples, target = int(options.get("images", 100)), int(options.get("samples", 8)), options.get("target", "t=0")
if samples < 3:
    sys.exit(f"error: samples must be an integer of at least 3, which the picture shows, got {samples}")

restorer = load(options["checkpoint"])
restorer.sampler = restorer.sampler.replace(eta=1.0)
split = ImageFolder(options["root"], restorer.process.degradation.image_size).split("test")
items = [split[i * len(split) // count] for i in range(count)]
rows, pictures = [], []
with torch.no_grad():
    for start in range(0, count, 16):
        part = items[start : start + 16]
        names, x = [item["name"] for item in part], torch.stack([item["x"] for item in part])
        noise = ImageNoise([image_seed(0, f"measurement/{name}") for name in names])
        y = restorer.process.measure(x, noise.normal(x.shape[1:]))
        images = restorer.sample(y, samples, target, names=names).images
        spread, error = images.std(0).mean(1), (images.mean(0) - x).abs().mean(1)
        for i, name in enumerate(names):
            pixels = np.corrcoef(spread[i].flatten(), error[i].flatten())[0, 1]
            rows.append({"image": name, "std": spread[i].mean().item(), "error": error[i].mean().item(), "r": pixels})
        if not pictures:
            pictures = [(x[i], y[i], *images[:3, i], images[:, i].mean(0), spread[i]) for i in range(min(4, len(part)))]
std, error, r = (np.array([row[key] for row in rows]) for key in ("std", "error", "r"))
write_rows(RUNS / NAME / "results.csv", rows)
print(f"{count} images, {samples} samples at {target}: mean std {std.mean():.4f}, mean |error| {error.mean():.4f}")
print(f"correlation of std and |error|: over the pixels of an image {r.mean():.2f} (mean), over images", end=" ")
print(f"{np.corrcoef(std, error)[0, 1]:.2f}")

figure, axes = panels(7, 1.7, 7.0)
titles = ("clean", "measurement", "sample", "sample", "sample", "mean of samples", "uncertainty")
for j, (axis, title) in enumerate(zip(axes, titles, strict=True)):
    column = [heat_map(row[j]) if j == 6 else row[j].clamp(0, 1).permute(1, 2, 0).numpy() for row in pictures]
    axis.imshow(np.concatenate([c / 255 if c.dtype == np.uint8 else c for c in column]))
    axis.set_title(title, fontsize=9)
    axis.axis("off")
save(figure, NAME)
