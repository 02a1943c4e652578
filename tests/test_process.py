"""The stochastic degradation process and its losses."""

import math

import pytest
import torch

from diracdiff.degradations import Degradation, GaussianBlur, LinearSeverity
from diracdiff.losses import IncrementalReconstructionLoss
from diracdiff.noise import ConstantNoise, GeometricNoise, LinearNoise, LogLogisticNoise
from diracdiff.process import StochasticDegradation


def test_geometric_noise_has_the_published_levels():
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert GeometricNoise(0.01, 0.05)(t).tolist() == pytest.approx([0.01, math.sqrt(0.01 * 0.05), 0.05])
    assert ConstantNoise(0.03)(t).tolist() == pytest.approx([0.03] * 3)


def test_log_logistic_noise_has_its_quantiles():
    noise = LogLogisticNoise(0.001, 40.0, 0.15, 0.8)
    assert noise(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist() == pytest.approx([0.001, 40.0])
    levels = noise(torch.rand(100000, dtype=torch.float64))
    assert (noise(torch.linspace(0, 1, 999)).diff() > 0).all()
    for quantile in (0.1, 0.5, 0.9):  # the truncated tails contain less than 0.3 %
        expected = 0.15 * (quantile / (1 - quantile)) ** 0.8
        assert levels.quantile(quantile).item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: GeometricNoise(0.1, 0.05),
        lambda: GeometricNoise(0.01, math.nan),
        lambda: GeometricNoise("0.01"),
        lambda: ConstantNoise(12.75),
        lambda: LinearNoise(0),
        lambda: LogLogisticNoise(2.55, 40),
        lambda: StochasticDegradation(GaussianBlur(LinearSeverity(0.3, 3.0)), GeometricNoise(0.5, 12.75)),
    ],
)
def test_invalid_noise_is_refused_and_the_unit_is_named(bad):
    with pytest.raises(ValueError, match=r"\[0, 1\] image range"):
        bad()


def test_moments(process):
    x, count = torch.rand(1, 1, 12, 12), 4000
    for t in (0.0, 0.4, 1.0):
        y = process.sample(x.expand(count, -1, -1, -1), t, torch.randn(count, 1, 12, 12))
        sigma = process.noise(torch.tensor(t)).item()
        assert (y.mean(0) - process.mean(x, t)[0]).abs().max() < 6 * sigma / math.sqrt(count)
        assert y.var(0).mean().item() == pytest.approx(sigma**2, rel=1e-2)


def test_residual_of_the_true_image_is_the_noise_variance(process):
    x = torch.rand(4, 3, 32, 32)
    y = process.measure(x, torch.randn_like(x))
    assert process.residual(y, x).tolist() == pytest.approx([0.05**2] * 4, rel=0.1)


@pytest.mark.parametrize("look_ahead", [0.0, 0.25, 1.0])
def test_the_loss_is_equation_14(process, look_ahead):
    """The loss is score matching (Eq. 12) for D = 0, and the loss of clean images (Eq. 28) for D = 1."""
    x, x_hat, t = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32), torch.rand(4)
    tau, loss = (t - look_ahead).clamp(min=0), IncrementalReconstructionLoss(look_ahead)
    expected = ((process.mean(x_hat, tau) - process.mean(x, tau)) ** 2 / process.sigma(t, x) ** 2).mean()
    assert loss(process, x_hat, x, t).item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss(process, x, x, t) == 0


def test_batched_loss_is_the_mean_of_single_ones(process):
    x, x_hat, t = torch.rand(5, 3, 32, 32), torch.rand(5, 3, 32, 32), torch.rand(5)
    loss = IncrementalReconstructionLoss(0.2)
    singles = [loss(process, x_hat[i : i + 1], x[i : i + 1], t[i : i + 1]) for i in range(5)]
    assert loss(process, x_hat, x, t).item() == pytest.approx(torch.stack(singles).mean().item(), rel=1e-5)


def test_gradient_matches_finite_differences(degradation):
    process = StochasticDegradation(degradation, GeometricNoise())
    x, t = torch.rand(1, 1, 12, 12, dtype=torch.float64), torch.tensor([0.6], dtype=torch.float64)
    x_hat = torch.rand_like(x).requires_grad_()
    loss = IncrementalReconstructionLoss(0.3)
    assert torch.autograd.gradcheck(lambda v: loss(process, v, x, t), (x_hat,), eps=1e-6, atol=1e-3)


def test_the_loss_compares_nonlinearly_degraded_images():
    class Square(Degradation):
        linear = False

        def apply(self, x, severity):
            return x**2

    process = StochasticDegradation(Square(LinearSeverity(0, 1)), ConstantNoise(1.0))
    x, x_hat = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    loss = IncrementalReconstructionLoss(0.0)(process, x_hat, x, torch.rand(2))
    assert loss.item() == pytest.approx(((x_hat**2 - x**2) ** 2).mean().item())


@pytest.mark.parametrize("target", ["degradation", "loss"])
def test_batches_are_vectorised(process, target):
    """The number of tensor operations does not depend on the batch size."""
    loss = IncrementalReconstructionLoss(0.5)

    def operations(batch):
        x, t = torch.rand(batch, 3, 32, 32), torch.rand(batch)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            process.mean(x, t) if target == "degradation" else loss(process, x * 0.9, x, t)
        return sum(event.count for event in profile.key_averages())

    operations(2)
    assert operations(16) == operations(2)
