"""Compare samples of Dirac and of methods with a prior with an exact posterior.

The prior is Gaussian (`diracdiff.oracles.GaussianBench`), and the denoisers are exact. Three images of 16 x 16 pixels
are measured with a Gaussian blur of 1.5 pixels, a soft mask, or a box of half the side length, and noise of 0.05. The
script compares many samples of one measurement with the mean and covariance of the posterior in closed form.

Arguments: samples=256 (a quarter of them for methods with at least 500 calls).
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
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
samples = int(options.get("samples", 256))
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
SAMPLERS = {
    f"Dirac, {kind}, {steps} steps, eta {eta:g}": (kind, steps, eta)
    for kind in ("geometric", "noise first")
    for steps in (20, 100, 500)
    for eta in (1.0, 0.5, 0.0)
    if kind == "geometric" or (eta == 1.0 and steps > 20)
}


def bench(problem: str, kind: str) -> GaussianBench:
    """Return a problem. "noise first" has another process with the same measurement."""
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


def record(problem: str, setting: str, count: int, calibration, started: float) -> None:
    ok = calibration.bias < 0.5 and 0.85 < calibration.std < 1.15 and 0.85 < calibration.residual < 1.25
    values = {key: round(value, 4) for key, value in calibration._asdict().items()}
    rows.append({"problem": problem, "setting": setting, "samples": count} | values | {"within": ok})
    print(rows[-1], f"{time.time() - started:.1f} s", flush=True)
    write_rows(RUNS / NAME / "results.csv", rows)


for problem in ("blur", "soft mask", "box"):
    started, exact = time.time(), bench(problem, "geometric")
    normal = torch.randn(samples, *exact.y.shape[1:], generator=torch.Generator().manual_seed(SEED))
    record(problem, "posterior", samples, exact.calibration(exact.posterior(normal)), started)
    for setting, method in METHODS.items():
        started, count = time.time(), samples if method.num_steps < 500 else samples // 4
        images = method(exact.measurements(count), exact.operator(count), exact.sigma, exact.prior).images
        record(problem, setting, count, exact.calibration(images), started)
    for setting, (kind, steps, eta) in SAMPLERS.items():
        started, count, current = time.time(), samples // 4 if steps >= 500 else samples, bench(problem, kind)
        sampler = ReverseSampler(num_steps=steps, eta=eta)
        noise, y = ImageNoise(range(count)), current.measurements(count)
        *_, last = sampler.states(current.process, current.oracle, y, noise)
        for output in ("iterate", "x_hat"):
            record(problem, f"{setting}, {output}", count, current.calibration(last.image(output)), started)
        if kind == "geometric" and steps == 100:
            factor, spread = current.trajectory(sampler.times(), eta)
            deviation = (spread.diagonal().mean() / current.covariance.diagonal().mean()).sqrt().item()
            before, after = (current.marginal_covariance(t) for t in (1.0, 0.0))
            off = (factor @ before @ factor.mT + spread - after).norm() / after.norm()
            print(
                f"    exact distribution of iterates: standard deviation {deviation:.4f}, marginal off by {off:.4f}",
                flush=True,
            )
