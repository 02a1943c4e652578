"""Compare the DDRM of diracdiff with that of deepinv: same denoiser, measurements and noise levels.

The default denoiser is exact for Gaussian images with the covariance 1/16 exp(-(|rows| + |columns|) / 16 px), so that
no training is needed. `prior=CHECKPOINT` uses a network of `task=prior` instead.
"""

import sys
from unittest import mock

import deepinv
import torch

from diracdiff.baselines import DDRM, DDPMLevels, load_prior
from diracdiff.data import Photos
from diracdiff.degradations import GaussianBlur, GaussianInpainting, LinearSeverity, Operator
from diracdiff.interop.deepinv import Denoiser, Physics
from diracdiff.noise import ConstantNoise
from diracdiff.oracles import GaussianPrior
from diracdiff.process import StochasticDegradation
from diracdiff.utils.files import write_rows
from experiments.common import RUNS

SIZE, IMAGES, SIGMA, STEPS, START, SEEDS = 64, 16, 0.05, 20, 1.0, range(1, 4)
TASKS = {
    "blur": GaussianBlur(LinearSeverity(0.3, 8.0), SIZE),
    "soft mask": GaussianInpainting(LinearSeverity(0.1, 50.0), SIZE),
}


def gaussian_prior() -> GaussianPrior:
    position = torch.arange(SIZE, dtype=torch.float64)
    return GaussianPrior(0.25 * torch.exp(-(position - position.unsqueeze(-1)).abs() / 16))


def main() -> None:
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    prior = load_prior(options["prior"]) if "prior" in options else gaussian_prior()
    denoiser = Denoiser(prior) if "prior" in options else prior
    images = Photos(SIZE).split("test")
    x = torch.stack([images[i]["x"] for i in range(IMAGES)])
    levels = DDPMLevels(START)
    sigmas = levels(STEPS, prior)
    rows = []
    for task, degradation in TASKS.items():
        torch.manual_seed(0)
        physics = Physics(StochasticDegradation(degradation, ConstantNoise(SIGMA)))
        y = physics(x)

        def psnr(restored, x=x):
            return deepinv.loss.metric.PSNR()(restored.clamp(0, 1).float(), x)

        values = {"measurement": [psnr(y)], "diracdiff": [], "deepinv": [], "deepinv, undivided noise": []}
        with torch.no_grad():
            operator, decomposed = Operator(degradation, y), physics.decompose(x)
            for seed in SEEDS:
                ours, theirs = DDRM(STEPS, levels=levels), deepinv.sampling.DDRM(denoiser, sigmas=sigmas)
                seeds = [seed * IMAGES + i for i in range(IMAGES)]
                values["diracdiff"].append(psnr(ours(y, operator, SIGMA, prior, seeds=seeds).images))
                values["deepinv"].append(psnr(theirs(y, decomposed, seed=seed)))
                with mock.patch("torch.randn_like", lambda like: 2**0.5 * torch.randn(like.shape, dtype=like.dtype)):
                    values["deepinv, undivided noise"].append(psnr(theirs(y, decomposed, seed=seed)))
        means = {name: torch.stack(each).mean(0) for name, each in values.items()}
        for name, mean in means.items():
            difference = mean - means["diracdiff"]
            interval = 1.96 * difference.std() / IMAGES**0.5
            row = {"task": task, "method": name, "psnr": f"{mean.mean():.3f}"}
            rows.append(row | {"difference": f"{difference.mean():.3f}", "interval_95": f"{interval:.3f}"})
            print(rows[-1], flush=True)
    write_rows(RUNS / "deepinv" / "results.csv", rows)


if __name__ == "__main__":
    main()
