"""Samples of every method against the exact posterior of a Gaussian problem.

Bounds: |bias| < 0.5 posterior standard deviations, standard deviation within 0.85 … 1.15 of the posterior standard
deviation, residual within 0.85 … 1.25 sigma. Tests of published settings outside these bounds explain the deviation.
"""

import math

import pytest
import torch

from diracdiff.baselines import DDRM, DPS, DDPMLevels, DiffPIR, PiGDM
from diracdiff.degradations import (
    BoxInpainting,
    GaussianBlur,
    GaussianInpainting,
    Identity,
    LinearSeverity,
    TabulatedSeverity,
)
from diracdiff.noise import ConstantNoise, GeometricNoise
from diracdiff.oracles import GaussianBench, GaussianFieldOracle, GaussianOracle, LateNoise
from diracdiff.process import StochasticDegradation
from diracdiff.samplers import ImageNoise, ReverseSampler

PROBLEMS = ("blur", "soft", "box")


def process(name, side=16, late=False):
    """Blur of 1.5 pixels, a soft mask, or a box of half the side length at t = 1.

    With `late`, the operator is constant for t > 0.5, where the noise level falls.
    """

    def severity(start, end):
        return TabulatedSeverity([0.0, 0.5, 1.0], [start, end, end]) if late else LinearSeverity(start, end)

    degradation = {
        "blur": lambda: GaussianBlur(severity(0.3, 1.5), 256),
        "soft": lambda: GaussianInpainting(severity(0.1, 50.0), side),
        "box": lambda: BoxInpainting(severity(0.0, 128.0), side),
    }[name]()
    return StochasticDegradation(degradation, LateNoise(0.01, 0.05) if late else GeometricNoise(0.01, 0.05))


@pytest.fixture(scope="module")
def benches():
    return {name: GaussianBench(process(name)) for name in PROBLEMS}


def measured(method, bench, count=48):
    y = bench.measurements(count)
    return bench.calibration(method(y, bench.operator(count), bench.sigma, bench.prior).images)


def within(calibration):
    return calibration.bias < 0.5 and 0.85 < calibration.std < 1.15 and 0.85 < calibration.residual < 1.25


# the oracle


def test_the_oracle_is_the_denoiser_of_the_prior():
    bench = GaussianBench(StochasticDegradation(Identity(), ConstantNoise(0.1)), side=8)
    assert torch.allclose(bench.mean, bench.prior(bench.y, 0.1), atol=1e-6)


def test_field_oracle_equals_pixel_oracle_for_independent_pixels():
    masked = process("soft", 8)
    y = torch.rand(2, 3, 8, 8)
    dense = GaussianFieldOracle(masked, 0.04 * torch.eye(64))
    for t in (0.0, 0.4, 1.0):
        assert torch.allclose(dense(y, torch.tensor(t)), GaussianOracle(masked)(y, torch.tensor(t)), atol=1e-6)


def test_the_oracle_minimises_the_error():
    """The posterior mean minimises the squared error, and the posterior variance is this error."""
    bench = GaussianBench(process("blur", 8), side=8)
    x = bench.prior.sample(torch.randn(4000, 1, 8, 8))
    y = bench.process.measure(x, torch.randn_like(x))
    mean = bench.oracle(y, torch.tensor(1.0))
    error = (x - mean).square().mean()
    assert error.item() == pytest.approx(bench.covariance.diagonal().mean().item(), rel=0.02)
    for wrong in (1.05 * (mean - 0.5) + 0.5, mean + 0.01 * (y - mean)):
        assert (x - wrong).square().mean() > error


@pytest.mark.parametrize("problem", PROBLEMS)
def test_posterior_samples_are_calibrated_and_others_are_not(benches, problem):
    bench = benches[problem]
    samples = bench.posterior(torch.randn(256, 3, 16, 16))
    expected = bench.calibration(samples)
    assert expected.bias < 0.05 and 0.98 < expected.std < 1.02 and 0.95 < expected.residual < 1.05
    deviation = bench.covariance.diagonal().sqrt().reshape(16, 16).float()
    assert bench.calibration(samples + 0.7 * deviation).bias == pytest.approx(0.7, abs=0.07)
    assert bench.calibration(bench.mean + 1.3 * (samples - bench.mean)).std == pytest.approx(1.3 * expected.std)
    assert bench.calibration(bench.x.repeat(2, 1, 1, 1)).residual == pytest.approx(1.0, abs=0.05)


# methods with a prior


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(
    "method",
    [
        pytest.param(PiGDM(), id="PiGDM"),
        pytest.param(DPS(guidance="posterior", num_steps=300), id="DPS_posterior"),
        pytest.param(DiffPIR(weight=2.0, zeta=0.5), id="DiffPIR_2_0.5"),
    ],
)
def test_methods_sample_the_posterior(benches, problem, method):
    assert within(measured(method, benches[problem], 24 if isinstance(method, DPS) else 48))


@pytest.mark.parametrize(
    "method",
    [
        PiGDM(num_steps=600, spread=0.2, levels=DDPMLevels(40.0)),
        DPS(num_steps=600, guidance="posterior", spread=0.2, levels=DDPMLevels(40.0)),
    ],
    ids=["PiGDM", "DPS_posterior"],
)
def test_guidance_is_exact_for_white_images(method):
    """If A is the identity and C = spread^2, the variance r^2 of both methods is exact."""
    bench = GaussianBench(StochasticDegradation(Identity(), ConstantNoise(0.2)), length=1e-3)
    result = measured(method, bench, 96)
    assert result.bias < 0.05
    assert result.std == pytest.approx(1, abs=0.02)


def test_published_diffpir_overweights_the_measurement(benches):
    """lambda = 1 assumes the variance sigma^2 of x given x_sigma, which is too large for large sigma.

    The measurement and its noise get too much weight, and the residual is too small. lambda = 2 meets the bounds.
    """
    for problem in ("soft", "box"):
        result = measured(DiffPIR(), benches[problem])
        assert result.residual < 0.85 < measured(DiffPIR(weight=2.0), benches[problem]).residual


@pytest.mark.parametrize("problem", PROBLEMS)
def test_diffpir_with_independent_noise_loses_variance(benches, problem):
    """With zeta = 1, steps depend on x_sigma only through x_hat, which has less variance than x."""
    result = measured(DiffPIR(weight=2.0, zeta=1.0), benches[problem])
    assert result.std < 0.85 and result.bias < 0.5


def test_published_dps_overfits_at_small_noise(benches):
    """The step size does not decrease with sigma_i^2 - sigma_{i-1}^2, so that y is used several times at small noise.

    A smaller constant step size leaves a bias and a large residual for the soft mask.
    """
    for problem in ("soft", "box"):
        assert measured(DPS(zeta=0.3), benches[problem], 8).residual < 0.75
    small = measured(DPS(zeta=0.1), benches["soft"], 16)
    assert small.bias > 0.5 and small.std > 1.15


def test_ddrm_samples_unmeasured_coefficients(benches):
    """For a box, all singular values are 0 or 1, and unmeasured coefficients follow DDIM."""
    assert within(measured(DDRM(num_steps=50), benches["box"], 96))


@pytest.mark.parametrize("steps", [20, 100])
def test_ddrm_underestimates_the_variance_of_weakly_measured_coefficients(benches, steps):
    """Below sigma_y / s, a fraction 1 - eta^2 of the noise is that of y and equal for all samples.

    The standard deviation is too small if many singular values lie between 0 and 1. It decreases with eta and almost
    vanishes at eta = 0. With eta = 1 the rule ignores y below sigma_y / s.
    """
    for problem in ("blur", "soft"):
        ode, published, independent = (measured(DDRM(steps, eta), benches[problem]) for eta in (0.0, 0.85, 1.0))
        assert ode.std < 0.35
        assert ode.std < published.std < independent.std
        assert published.std < 0.75
        assert not within(independent)
    assert measured(DDRM(steps, 0.0), benches["box"]).std > 0.85


# Dirac


def times(steps):
    return ReverseSampler(num_steps=steps).times()


def sampled(bench, count=64, output="x_hat", **arguments):
    sampler, noise = ReverseSampler(**arguments), ImageNoise(range(count))
    return sampler.run(bench.process, bench.oracle, bench.measurements(count), noise, output=output)


@pytest.fixture(scope="module")
def small():
    return {name: GaussianBench(process(name, 8), side=8) for name in PROBLEMS}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_samples_have_the_predicted_distribution(small, problem, eta):
    bench = small[problem]
    factor, spread = bench.trajectory(times(20), eta)
    samples = sampled(bench, 400, num_steps=20, eta=eta, output="iterate").double().flatten(2)
    deviation = (bench.y - bench.process.mean(torch.full_like(bench.y, 0.5), 1.0)).double().flatten(2)
    mean = bench.process.mean(torch.full_like(bench.y, 0.5), 0.0).flatten(2) + deviation @ factor.mT
    variance = spread.diagonal()
    z = (samples.mean(0) - mean[0]) / (variance / 400).sqrt()
    assert z.square().mean().sqrt().item() == pytest.approx(1, abs=0.3)
    assert (samples.var(0).mean(0) / variance).mean().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("eta", [1.0, 0.0])
def test_dirac_has_the_right_distribution_over_all_measurements(small, problem, eta):
    """Eq. 6 reverses a Markov process with the marginals of y_t.

    Over the measurements of many images, y_0 has the covariance C + sigma_0^2 for every eta.
    """
    bench = small[problem]
    factor, spread = bench.trajectory(times(400), eta)
    result, expected = factor @ bench.marginal_covariance(1.0) @ factor.mT + spread, bench.marginal_covariance(0.0)
    assert (result - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("eta", [1.0, 0.5, 0.0])
def test_dirac_correlates_hidden_pixels_with_the_measurement_noise(eta):
    """Conditional on y_1, the distribution of y_0 differs from the posterior of x.

    The noise of y_1 in a hidden pixel does not depend on x, but Eq. 6 maps it to x. For one pixel with the variance
    V_t = m_t^2 std^2 + sigma_t^2, the start and end of the reverse process have the correlation
    exp(-(eta^2 / 2) int (d sigma_t^2 / dt) / V_t dt). It is about (sigma_{t_h} / sigma_1)^(eta^2) for a pixel that
    becomes visible at t_h, and 1 for the ODE. The true correlation of y_0 and y_1 is almost 0. In units of the
    posterior, samples have the variance 1 - correlation^2, and their mean is off by the correlation.
    """
    bench = GaussianBench(process("box", 8), side=8, length=1e-3)
    factor, spread = bench.trajectory(times(1000), eta)
    pixel = 3 * 8 + 3
    moments = torch.linspace(0, 1, 1001, dtype=torch.float64)
    image = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    mask = torch.cat([bench.process.mean(image, t)[..., 3, 3].flatten() for t in moments])
    sigma = bench.process.noise(moments)
    marginal = mask**2 * 0.04 + sigma**2
    slope = 2 * math.log(5) * sigma**2
    correlation = torch.exp(-(eta**2) / 2 * torch.trapezoid(slope / marginal, moments)).item()
    ends = factor[pixel, pixel] * (marginal[-1] / marginal[0]).sqrt()
    assert ends.item() == pytest.approx(correlation, rel=0.05)
    assert (spread[pixel, pixel] / marginal[0]).item() == pytest.approx(1 - correlation**2, abs=0.03)
    assert correlation > 0.15


@pytest.mark.parametrize("problem", PROBLEMS)
def test_dirac_is_no_posterior_sampler_with_a_geometric_schedule(benches, problem):
    """Samples of one measurement vary too little, and are all equal for the ODE (see the test above).

    The number of steps is not the cause: 20 and 60 steps give almost the same distribution. The residual is correct.
    """
    bench = benches[problem]
    result = bench.calibration(sampled(bench, 48, num_steps=20, output="iterate"))
    assert result.std < 0.87 and result.bias < 0.5 and 0.85 < result.residual < 1.25
    finer = (bench.trajectory(times(60))[1].diagonal().mean() / bench.covariance.diagonal().mean()).sqrt().item()
    assert abs(finer - result.std) < 0.1 and finer < 0.87
    assert bench.calibration(sampled(bench, 4, num_steps=10, eta=0.0, output="iterate")).std < 1e-4


@pytest.mark.parametrize("output", ["iterate", "x_hat"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_dirac_samples_the_posterior_if_noise_falls_first(problem, output):
    """While A is constant, y_t is a Markov process, and its reverse samples y_t given y_1 with new noise."""
    bench = GaussianBench(process(problem, 8, late=True), side=8)
    assert within(bench.calibration(sampled(bench, num_steps=300, output=output)))
