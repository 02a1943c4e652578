"""Compare the CPU time of ADMMTV and of solvers of deepinv to the same objective.

The objective is 1/2 ||A x - y||^2 + weight TV(x) with a TV per channel, as in deepinv. The script first counts the
steps of each solver until all objectives are at most (1 + GAP) times the minimum. Then all solvers run these steps
repeatedly on one thread, and every repetition gives a ratio of CPU times. The solvers of deepinv use the singular value
decomposition, which avoids conjugate gradients. They run with several step sizes.
"""

import statistics
import time

import torch
from deepinv.models import TVDenoiser
from deepinv.optim import ADMM, PDCP, L12Prior, TVPrior
from deepinv.optim.data_fidelity import L2
from deepinv.physics import DecomposablePhysics

from diracdiff.baselines import ADMMTV
from diracdiff.data import Photos
from diracdiff.degradations import GaussianBlur, GaussianInpainting, LinearSeverity, Operator
from diracdiff.utils.files import write_rows
from experiments.common import RUNS

SIZE, IMAGES, SIGMA, WEIGHT, GAP, REPETITIONS = 64, 4, 0.05, 0.02, 1e-3, 7
TASKS = {
    "blur": GaussianBlur(LinearSeverity(0.3, 3.0), SIZE),
    "soft mask": GaussianInpainting(LinearSeverity(0.1, 50.0), SIZE),
}
MAX_STEPS = {"ADMMTV": 512, "deepinv PDCP": 2048, "deepinv ADMM": 128}


class Physics(DecomposablePhysics):
    """Operator of diracdiff with the interface of deepinv."""

    def __init__(self, operator):
        super().__init__(mask=operator.svd.values.expand_as(operator.like[:1]))
        self.svd = operator.svd

    def U(self, x):
        return self.svd.u(x)

    def U_adjoint(self, x):
        return self.svd.ut(x)

    def V(self, x, **_):
        return self.svd.v(x)

    def V_adjoint(self, x, **_):
        return self.svd.vt(x)


def primal_dual(y, physics, steps, stepsize):
    tv = TVDenoiser()
    solver = PDCP(
        K=tv.nabla,
        K_adjoint=tv.nabla_adjoint,
        data_fidelity=L2(),
        prior=L12Prior(l2_axis=-1),
        lambda_reg=WEIGHT,
        stepsize=stepsize,
        stepsize_dual=0.124 / stepsize,
        max_iter=steps,
        g_first=True,
    )
    x = physics.A_adjoint(y)
    return solver(y, physics, init=(x, x, torch.zeros_like(tv.nabla(x))))


def admm(y, physics, steps, stepsize):
    prior = TVPrior(n_it_max=20)
    solver = ADMM(data_fidelity=L2(), prior=prior, lambda_reg=WEIGHT, stepsize=stepsize, max_iter=steps)
    x = physics.A_adjoint(y)
    return solver(y, physics, init=(x, torch.zeros_like(x)))


def min_steps(enough, max_steps: int) -> int | None:
    """Return the smallest sufficient number of steps, or None if it exceeds `max_steps`."""
    high = 8
    while not enough(high):
        high *= 2
        if high > max_steps:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


torch.set_num_threads(1)
torch.set_grad_enabled(False)
photos = Photos(SIZE).split("test")
x = torch.stack([photos[i * len(photos) // IMAGES]["x"] for i in range(IMAGES)])
rows = []
for task, degradation in TASKS.items():
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    y = degradation(x, 1.0) + SIGMA * noise
    operator, double = Operator(degradation, y), Operator(degradation, y.double())
    physics, tv = Physics(operator), ADMMTV(WEIGHT, coupled=False)

    def objective(image, y=y, double=double, tv=tv):
        return tv.objective(image.double(), y.double(), double)

    minimum = objective(ADMMTV(WEIGHT, 5000, coupled=False)(y.double(), double, SIGMA).images)
    solvers = {"ADMMTV": lambda n, y=y, o=operator: ADMMTV(WEIGHT, n, coupled=False)(y, o, SIGMA).images}
    for stepsize in (0.35, 1.0, 2.0, 4.0):
        solvers[f"deepinv PDCP, step {stepsize}"] = lambda n, y=y, p=physics, s=stepsize: primal_dual(y, p, n, s)
    for stepsize in (4.0, 10.0, 30.0):
        solvers[f"deepinv ADMM, step {stepsize:g}"] = lambda n, y=y, p=physics, s=stepsize: admm(y, p, n, s)
    max_steps = {name: MAX_STEPS[name.split(",")[0]] for name in solvers}
    steps = {
        name: min_steps(
            lambda n, solve=solve, minimum=minimum: (objective(solve(n)) <= (1 + GAP) * minimum).all(), max_steps[name]
        )
        for name, solve in solvers.items()
    }
    spent = {name: [] for name, count in steps.items() if count}
    for _ in range(REPETITIONS):
        for name in spent:
            start = time.process_time()
            solvers[name](steps[name])
            spent[name].append(time.process_time() - start)
    for name, count in steps.items():
        ratios = [other / admm_tv for other, admm_tv in zip(spent.get(name, []), spent["ADMMTV"], strict=False)]
        gap = (objective(solvers[name](count or max_steps[name])) / minimum - 1).max().item()
        cells = {"ratio": "", "lowest": "", "highest": ""}
        if ratios:
            cells = {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
            cells = {key: f"{value:.3g}" for key, value in cells.items()}
        rows.append(
            {"task": task, "solver": name, "steps": count or f"> {max_steps[name]}", "gap": f"{gap:.1e}"} | cells
        )
        print(rows[-1], flush=True)
write_rows(RUNS / "admm_tv" / "results.csv", rows)
