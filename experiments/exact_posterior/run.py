"""Samples of Dirac and of the comparison methods with a prior against an exact posterior.

The prior is Gaussian, see `diracdiff.oracles.GaussianBench`: three draws of 16 x 16 pixels, their measurements with a
Gaussian blur of 1.5 pixels, the soft mask and a box of half the side, noise 0.05, and the denoisers are exact. Many
samples of the same measurement are compared with the posterior's mean and covariance in closed form.

Arguments: samples=256 (a quarter of them for methods of 500 and more calls).
"""

import sys
import time

import torch

from diracdiff.baselines import DDRM, DPS, DiffPIR, PiGDM
from diracdiff.degradations import (
    BoxInpainting,
    GaussianBlur,
    GaussianInpainting,
    LinearSeverity,
    TabulatedSeverity,
)
from diracdiff.noise import GeometricNoise
from diracdiff.oracles import GaussianBench, LateNoise
from diracdiff.process import StochasticDegradation
from diracdiff.samplers import ImageNoise, ReverseSampler
from diracdiff.utils.files import write_rows
from experiments.common import RUNS

NAME, SIDE, SEED = "exact_posterior", 16, 0
given = dict(argument.split("=", 1) for argument in sys.argv[1:])
samples = int(given.get("samples", 256))
torch.set_num_threads(1)

METHODS = {
    "PiGDM, 100 steps": PiGDM(),
    "PiGDM, 20 steps": PiGDM(num_steps=20),
    "PiGDM, 200 steps": PiGDM(num_steps=200),
    "PiGDM, ODE": PiGDM(eta=0.0),
    "PiGDM, spread 0.2": PiGDM(spread=0.2),
    "DPS, norm, zeta 0.3": DPS(zeta=0.3),
    "DPS, norm, zeta 0.1": DPS(zeta=0.1),
    "DPS, norm, zeta 0.02": DPS(zeta=0.02),
    "DPS, posterior": DPS(guidance="posterior"),
    "DPS, posterior, spread 0.2": DPS(guidance="posterior", spread=0.2),
    "DPS, posterior, 100 steps": DPS(num_steps=100, guidance="posterior"),
    "DiffPIR, lambda 1, zeta 0.1": DiffPIR(),
    "DiffPIR, lambda 1, zeta 1": DiffPIR(zeta=1.0),
    "DiffPIR, lambda 2, zeta 0.5": DiffPIR(weight=2.0, zeta=0.5),
    "DiffPIR, lambda 2, zeta 0.3": DiffPIR(weight=2.0, zeta=0.3),
    "DiffPIR, lambda 2, zeta 0.5, 20 steps": DiffPIR(num_steps=20, weight=2.0, zeta=0.5),
    "DDRM, 20 steps, eta 0.85": DDRM(),
    "DDRM, 20 steps, eta 0": DDRM(eta=0.0),
    "DDRM, 20 steps, eta 1": DDRM(eta=1.0),
    "DDRM, 50 steps, eta 0.85": DDRM(num_steps=50),
    "DDRM, 200 steps, eta 0.85": DDRM(num_steps=200),
    "DDRM, 200 steps, eta 1": DDRM(num_steps=200, eta=1.0),
}
WALKS = {
    f"Dirac, {kind}, {steps} steps, eta {eta:g}": (kind, steps, eta)
    for kind in ("geometric", "noise first")
    for steps in (20, 100, 500)
    for eta in (1.0, 0.5, 0.0)
    if kind == "geometric" or (eta == 1.0 and steps > 20)
}


def bench(problem: str, kind: str) -> GaussianBench:
    """A problem; "noise first" has another way to the same measurement."""
    late = kind == "noise first"

    def severity(start: float, end: float):
        return TabulatedSeverity([0, 0.5, 1], [start, end, end]) if late else LinearSeverity(start, end)

    degradation = {
        "blur": lambda: GaussianBlur(severity(0.3, 1.5), 256),
        "soft mask": lambda: GaussianInpainting(severity(0.1, 50.0), SIDE),
        "box": lambda: BoxInpainting(severity(0.0, 128.0), SIDE),
    }[problem]()
    noise = LateNoise(0.01, 0.05, 0.5) if late else GeometricNoise(0.01, 0.05)
    return GaussianBench(StochasticDegradation(degradation, noise), side=SIDE, seed=SEED)


rows = []


def note(problem: str, setting: str, count: int, found, started: float) -> None:
    ok = found.bias < 0.5 and 0.85 < found.std < 1.15 and 0.85 < found.residual < 1.25
    values = {key: round(value, 4) for key, value in found._asdict().items()}
    rows.append({"problem": problem, "setting": setting, "samples": count} | values | {"within": ok})
    print(rows[-1], f"{time.time() - started:.1f} s", flush=True)
    write_rows(RUNS / NAME / "results.csv", rows)


for problem in ("blur", "soft mask", "box"):
    started, exact = time.time(), bench(problem, "geometric")
    normal = torch.randn(samples, *exact.y.shape[1:], generator=torch.Generator().manual_seed(SEED))
    note(problem, "posterior", samples, exact.calibration(exact.posterior(normal)), started)
    for setting, method in METHODS.items():
        started, count = time.time(), samples if method.num_steps < 500 else samples // 4
        found = method(exact.measurements(count), exact.operator(count), exact.sigma, exact.prior).images
        note(problem, setting, count, exact.calibration(found), started)
    for setting, (kind, steps, eta) in WALKS.items():
        started, count, of_kind = time.time(), samples // 4 if steps >= 500 else samples, bench(problem, kind)
        sampler = ReverseSampler(num_steps=steps, eta=eta)
        noise, y = ImageNoise(range(count)), of_kind.measurements(count)
        *_, last = sampler.states(of_kind.process, of_kind.oracle, y, noise)
        for output in ("iterate", "x_hat"):
            note(problem, f"{setting}, {output}", count, of_kind.calibration(last.image(output)), started)
        if kind == "geometric" and steps == 100:
            factor, spread = of_kind.trajectory(sampler.times(), eta)
            law = (spread.diagonal().mean() / of_kind.covariance.diagonal().mean()).sqrt().item()
            before, after = (of_kind.marginal_covariance(t) for t in (1.0, 0.0))
            off = (factor @ before @ factor.mT + spread - after).norm() / after.norm()
            print(f"    the law of the walk: standard deviation {law:.4f}, marginal off by {off:.4f}", flush=True)
