"""Compare the error of every estimate of R with the bound of Theorem 3.4 of the paper.

||R_est - R_MMSE|| <= (L_x(t) + L_x(s)) sqrt(n) B + 2 L_t dt + 2 eps_t. The prior is a finite set of images with an
exact posterior mean. The denoiser is a trained network, and eps_t = ||A_t(x_hat) - A_t(E[x | y_t])|| is measured. L_x
is the largest singular value of A_t. L_t is the largest ||dA_t/dt (x)|| over [t - 2 dt, t] and images in [0, 1]. For
the blur, it is bounded by sqrt(n) times the largest singular value of dA_t/dt.

Arguments: blur=CHECKPOINT inpaint=CHECKPOINT root=… (a folder of images), images=…, steps=….
"""

import functools
import math
import sys

import torch

from diracdiff.data import ImageFolder
from diracdiff.oracles import FiniteDataOracle
from diracdiff.restorer import load
from diracdiff.samplers import ExactLookBack, LookAhead, LookBack, SmallLookAhead, SmallLookBack
from diracdiff.utils.files import write_rows
from experiments.common import COLOURS, RUNS, panels, save

NAME = "theorem_3_4"
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
count, steps = int(options.get("images", 32)), int(options.get("steps", 20))
dt = 1 / steps
estimates = {
    "look-ahead": LookAhead(),
    "small look-ahead": SmallLookAhead(dt / 5),
    "look-back": LookBack(),
    "small look-back": SmallLookBack(dt / 5),
    "exact look-back": ExactLookBack(),
}


def largest_singular_value(operator, t, like) -> float:
    """Return the largest singular value of x -> operator(x, t), by power iteration with autograd."""
    v = torch.randn(like.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(30):
        v = (v / v.norm()).requires_grad_()
        out = operator(v, t)
        (w,) = torch.autograd.grad(out, v, out.detach())
        value, v = out.detach().norm().item(), w
        if value == 0:
            return 0.0
    return value


def derivative(degradation, x, t):
    """Return dA_t/dt (x) by central differences inside [0, 1]."""
    h = 1e-4
    low, high = max(0.0, t - h), min(1.0, t + h)
    return (degradation(x, high) - degradation(x, low)) / (high - low)


rows = []
for task in ("blur", "inpaint"):
    restorer = load(options[task])
    process, degradation = restorer.process, restorer.process.degradation
    split = ImageFolder(options["root"], degradation.image_size).split("test")
    x = torch.stack([split[i * len(split) // count]["x"] for i in range(count)])
    oracle, one = FiniteDataOracle(process, x), x[:1].double()
    n = x[0].numel()
    for k in range(1, steps):
        t, s = 1 - k * dt, 1 - (k + 1) * dt
        generator = torch.Generator().manual_seed(k)
        with torch.no_grad():
            y = process.sample(x, t, torch.randn(x.shape, generator=generator))
            time = torch.tensor(t)
            x_hat, exact = restorer.denoiser(restorer.process, y, time), oracle(y, time)
            truth = process.mean(exact, max(s, 0.0)) - process.mean(exact, t)
            degraded = process.mean(x_hat, t)
            eps = (degraded - process.mean(exact, t)).flatten(1).norm(dim=1).mean().item()
            errors = {
                name: (estimate(degradation, x_hat, degraded, t, max(s, 0.0), y) - truth).flatten(1).norm(dim=1).mean()
                for name, estimate in estimates.items()
            }
        l_x = sum(largest_singular_value(degradation, u, one) for u in (t, max(s, 0.0)))
        moments = [max(0.0, min(1.0, t + f * dt)) for f in (-1.0, -0.5, 0.0, 0.5, 1.0)]
        if task == "inpaint":
            l_t = max(derivative(degradation, torch.ones_like(one), u).norm().item() for u in moments)
        else:
            slope = functools.partial(derivative, degradation)
            l_t = max(largest_singular_value(slope, u, one) for u in moments) * math.sqrt(n)
        terms = {"term L_x": l_x * math.sqrt(n), "term L_t": 2 * l_t * dt, "term eps": 2 * eps}
        bound = {"bound": sum(terms.values())}
        rows.append({"task": task, "t": round(t, 6)} | {key: e.item() for key, e in errors.items()} | terms | bound)
write_rows(RUNS / NAME / "results.csv", rows)

figure, axes = panels(2, 5.2, 4.4)
for axis, task in zip(axes, ("blur", "inpaint"), strict=True):
    task_rows = [row for row in rows if row["task"] == task]
    times = [row["t"] for row in task_rows]
    for colour, name in zip(COLOURS, estimates, strict=False):
        axis.semilogy(times, [row[name] for row in task_rows], color=colour, label=f"error, {name}")
    for style, name in zip(("-", "--", ":"), ("term L_x", "term L_t", "term eps"), strict=True):
        axis.semilogy(times, [row[name] for row in task_rows], style, color="black", linewidth=1, label=name)
    axis.set(xlim=(1, 0), xlabel="t", ylabel="Euclidean norm over the image", title=f"{task}, dt = {dt:g}")
axes[0].legend(fontsize=7, frameon=False)
save(figure, NAME)
exceeded = [row for row in rows if not max(row[name] for name in estimates) <= row["bound"]]
print(f"{len(rows)} times, bound exceeded at {len(exceeded)}")
for task in ("blur", "inpaint"):
    task_rows = [row for row in rows if row["task"] == task]
    means = {name: sum(row[name] for row in task_rows) / len(task_rows) for name in (*estimates, *terms, "bound")}
    print(task, {name: round(value, 3) for name, value in means.items()})
