"""Sampling conditioned on the measurement, preconditioning by the operator, and exact steps."""

from itertools import pairwise

import pytest
import torch
from conftest import DEGRADATIONS

from diracdiff.data import Photos
from diracdiff.degradations import BoxInpainting, GaussianBlur, GaussianInpainting, LinearSeverity, MotionBlur
from diracdiff.evaluation.measurement import measure, training_batch
from diracdiff.losses import MatchedLoss
from diracdiff.models import Denoiser, NCSNpp, OperatorPreconditioning
from diracdiff.models.preconditioning import spectrum
from diracdiff.noise import GeometricNoise
from diracdiff.oracles import ConditionalFieldOracle, GaussianBench, GaussianFieldOracle
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer, load
from diracdiff.samplers import Euler, Exponential, ImageNoise, Multistep, ReverseSampler

DIAGONAL = ["blur", "inpainting", "box", "super_resolution", "fourier", "identity"]
WIDE = [None, 0.02]
"""Noise levels of the measurement. None is the noise level of the process at t = 1."""


def process_of(name, measurement_sigma=None, size=8):
    return StochasticDegradation(DEGRADATIONS[name](size), GeometricNoise(0.01, 0.05), measurement_sigma)


def pair(process, x, t, count):
    """Sample (y_1, y_t) from their joint distribution."""
    z, z_1 = torch.randn(2, count, *x.shape[1:], dtype=x.dtype)
    x = x.expand(count, -1, -1, -1)
    return process.measure(x, z_1), process.sample_joint(x, t, z, z_1)


# diagonal form of A_t


@pytest.mark.parametrize("name", DIAGONAL)
@pytest.mark.parametrize("shape", [(32, 32), (17, 24)])
def test_the_diagonal_form_is_the_degradation(name, shape):
    degradation, t = DEGRADATIONS[name](32), torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    x = torch.rand(3, 3, *shape, dtype=torch.float64)
    form = degradation.diagonal(x, t)
    assert torch.allclose(form.u(form.values * form.vt(x)), degradation(x, t), atol=1e-12)
    assert torch.allclose(form.v(form.vt(x)), x, atol=1e-12) and torch.allclose(form.u(form.ut(x)), x, atol=1e-12)
    assert torch.equal(form.vt(x[:1]), degradation.diagonal(x[:1], 0.3).vt(x[:1]))
    white = form.vt(torch.randn(500, 1, *shape, dtype=torch.float64))
    assert white.std(0).median().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["motion_blur", "quantisation"])
def test_other_operators_have_no_diagonal_form(name):
    assert DEGRADATIONS[name](32).diagonal(torch.rand(1, 3, 32, 32), 0.5) is None
    with pytest.raises(ValueError, match=r"diagonal form, which .* Use preconditioning=none or edm"):
        OperatorPreconditioning().check(process_of(name))


# noise


@pytest.mark.parametrize("sigma", WIDE)
def test_a_pair_has_the_joint_distribution_of_sampling(sigma):
    """Given x, the noise of y_t is a multiple of that of y_1 plus independent noise (`conditional_noise`)."""
    process, x = process_of("inpainting", sigma), torch.full((1, 1, 8, 8), 0.3, dtype=torch.float64)
    sigma_1 = 0.05 if sigma is None else sigma
    for t in (0.0, 0.5, 1.0):
        y_1, y = (images - process.mean(x, u) for images, u in zip(pair(process, x, t, 4000), (1.0, t), strict=True))
        sigma_t = process.noise(torch.tensor(t)).item()
        assert y.std().item() == pytest.approx(sigma_t, rel=0.01)
        assert y_1.std().item() == pytest.approx(sigma_1, rel=0.01)
        weight, variance = process.conditional_noise(t, x)
        assert (y * y_1).mean().item() == pytest.approx(weight.item() * sigma_1**2, rel=0.03)
        increment = y - weight * y_1
        assert increment.std().item() == pytest.approx(variance.sqrt().item(), rel=0.01, abs=1e-4)
        assert abs((increment * y_1).mean()) < 0.01 * increment.std() * y_1.std() + 1e-12


def test_measurement_sigma_is_the_noise_level_of_measurements():
    process, x = process_of("blur", 0.02), torch.rand(1, 3, 8, 8)
    z = torch.randn(1, 3, 8, 8)
    assert torch.allclose(process.measure(x, z), process.mean(x, 1.0) + 0.02 * z, atol=1e-6)
    assert torch.allclose(process.measure(x, z, 0.0), process.mean(x, 0.0) + 0.004 * z, atol=1e-6)
    assert process_of("blur").sigma_of_measurement(x).item() == pytest.approx(0.05)
    for bad in (0, -0.1, 0.06):
        with pytest.raises(ValueError, match=rf"measurement_sigma={bad}: must be above 0 and at most 0.05"):
            process_of("blur", bad)


def test_training_pairs_have_the_distribution_of_sampling():
    process, x = process_of("inpainting", 0.02), torch.full((64, 3, 8, 8), 0.5)
    batch = training_batch(process, x, seed=1, with_measurement=True)
    weight, variance = process.conditional_noise(batch.t, x)
    y_1, y = batch.measurement - process.mean(x, 1.0), batch.y - process.mean(x, batch.t)
    assert y_1.std().item() == pytest.approx(0.02, rel=0.02)
    assert ((y - weight * y_1) / variance.sqrt()).std().item() == pytest.approx(1, rel=0.02)
    plain = training_batch(process, x, seed=1)
    assert plain.measurement is None and torch.equal(plain.t, batch.t)


# preconditioning


def untrained(conditioned=False, scale=0.0):
    network = NCSNpp(8, [1, 2], 1, [1], 0.0, images=2 if conditioned else 1)
    for parameter in network.parameters():
        parameter.data += scale * torch.randn_like(parameter)
    return Denoiser(network, "log_sigma", preconditioning=OperatorPreconditioning()).eval()


def test_operator_preconditioning_equals_edm_for_the_identity():
    process = StochasticDegradation(DEGRADATIONS["identity"](16), GeometricNoise(0.002, 40.0))
    denoiser = untrained(scale=0.05)
    karras = Denoiser(denoiser.network, "log_sigma", preconditioning="edm").eval()
    t = torch.linspace(0, 1, 8)
    y = 0.5 + process.noise(t).reshape(-1, 1, 1, 1) * torch.randn(8, 3, 16, 16)
    expected = karras(process, y, t)
    assert (denoiser(process, y, t) - expected).abs().max() < 4 * torch.finfo(torch.float32).eps * expected.abs().max()


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("sigma", WIDE)
@pytest.mark.parametrize("name", ["inpainting", "box", "super_resolution", "fourier", "identity"])
def test_an_untrained_network_is_the_exact_denoiser_of_white_images(name, sigma, conditioned):
    """For x ~ N(1/2, 1/4^2), the exact denoiser is linear."""
    process, kind = process_of(name, sigma), ConditionalFieldOracle if conditioned else GaussianFieldOracle
    oracle = kind(process, torch.eye(64) / 16)
    denoiser = untrained(conditioned)
    denoiser.network.head[-1].weight.data.zero_()
    x = 0.5 + torch.randn(1, 3, 8, 8) / 4
    for t in (0.0, 0.3, 0.9, 1.0):
        y_1, y = pair(process, x, t, 1)
        time = torch.tensor(t)
        exact = (oracle.condition_on(process, y_1) if conditioned else oracle)(y, time)
        actual = denoiser.condition_on(process, y_1)(y, time)
        assert torch.allclose(actual, exact, atol=2e-4), (t, (actual - exact).abs().max())


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("name", DIAGONAL)
def test_inputs_and_targets_of_a_network_have_unit_scale(name, conditioned):
    process = process_of(name, 0.02, 16)
    x = 0.5 + torch.randn(256, 1, 16, 16) / 4
    for t in (0.0, 0.5, 1.0):
        y_1, y = pair(process, x, t, 256)
        images, scaled = OperatorPreconditioning()(process, y, torch.full((256,), t), y_1 if conditioned else None)
        assert images.shape[1] == (2 if conditioned else 1)
        target = (scaled.basis.vt(x - 0.5) - scaled.estimate) * scaled.precision.sqrt()
        for values in (*images.unbind(1), target):
            assert values.std(0).median().item() == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("name", ["blur", "super_resolution", "fourier"])
def test_targets_for_images_with_a_spectrum_have_unit_scale(name, conditioned):
    process, like = process_of(name, 0.02, 16), torch.empty(512, 1, 16, 16)
    basis = process.degradation.diagonal(like, 1.0)
    variance = spectrum(basis, like, 3.0, 16)
    assert variance.mean().item() == pytest.approx(1 / 16, rel=0.2 if name == "fourier" else 1e-5)
    assert variance[8].max() < variance[0].max() / 50
    x = 0.5 + basis.v(variance.sqrt() * torch.randn_like(like))
    for t in (0.0, 0.5, 1.0):
        y_1, y = pair(process, x, t, 512)
        measurement, time = y_1 if conditioned else None, torch.full((512,), t)
        scaled, white = (OperatorPreconditioning(*e)(process, y, time, measurement)[1] for e in ((3.0,), ()))
        target = (scaled.basis.vt(x - 0.5) - scaled.estimate) * scaled.precision.sqrt()
        assert target.std(0).median().item() == pytest.approx(1, abs=0.08)
        errors = [((s.x_hat(torch.zeros_like(y)) - x) ** 2).mean() for s in (scaled, white)]
        assert errors[0] < errors[1]


def test_a_spectrum_is_a_density_and_that_of_pixels_is_white():
    blur, mask = (DEGRADATIONS[name](32) for name in ("blur", "inpainting"))
    small, large = torch.empty(1, 3, 32, 32), torch.empty(1, 3, 64, 32)
    small_spectrum, large_spectrum = (spectrum(blur.diagonal(image, 1.0), image, 3.0, 32) for image in (small, large))
    assert torch.allclose(large_spectrum[::2], small_spectrum, rtol=1e-5)
    for basis, exponent in ((mask.diagonal(small, 1.0), 3.0), (blur.diagonal(small, 1.0), 0.0)):
        assert torch.equal(spectrum(basis, small, exponent, 32), torch.full((32, 32), 1 / 16))
    with pytest.raises(ValueError, match="exponent=-1: must be at least 0"):
        OperatorPreconditioning(-1)


def test_the_spectrum_fits_photographs():
    """The Wiener filter with exponent 3 improves on the measurement. The filter with a white spectrum does not."""
    process, images = process_of("blur", size=64), Photos(64).split("val")
    x = torch.stack([image["x"] for image in map(images.__getitem__, range(32)) if "chelsea" in image["name"]])
    y, t = process.measure(x, torch.randn_like(x)), torch.ones(16)
    x_hats = {e: OperatorPreconditioning(e)(process, y, t)[1].x_hat(torch.zeros_like(y)) for e in (0.0, 2.0, 3.0, 4.0)}
    mse = {e: (x_hat.clamp(0, 1) - x).square().mean().item() for e, x_hat in x_hats.items()}
    assert min(mse, key=mse.get) == 3.0
    assert mse[3.0] < 0.5 * (y.clamp(0, 1) - x).square().mean().item() < 0.5 * mse[0.0]


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("name", DIAGONAL)
def test_the_matched_loss_is_weighted_by_the_precision(name, conditioned):
    process = process_of(name, 0.02, 16)
    x, x_hat = torch.rand(2, 4, 3, 16, 16, dtype=torch.float64)
    t = torch.tensor([0.0, 0.3, 0.8, 0.99], dtype=torch.float64)
    _, scaled = OperatorPreconditioning()(process, x, t, x if conditioned else None)
    expected = (scaled.precision * scaled.basis.vt(x_hat - x) ** 2).mean()
    loss = MatchedLoss(0.25, conditioned)(process, x_hat, x, t)
    tolerance = 0.15 if name == "blur" else 1e-6
    assert loss.item() == pytest.approx(expected.item(), rel=tolerance)
    assert MatchedLoss(0.25, conditioned)(process, x, x, t) == 0
    with pytest.raises(ValueError, match="data_std=0: must be positive"):
        MatchedLoss(0)


def test_the_matched_loss_supports_nonlinear_operators():
    process, x = process_of("quantisation", size=16), torch.rand(2, 3, 16, 16)
    for conditioned in (False, True):
        assert MatchedLoss(0.25, conditioned)(process, x, x, torch.tensor(0.5)) == 0
        assert MatchedLoss(0.25, conditioned)(process, x + 0.2, x, torch.tensor(0.5)) > 0.2**2 / 0.25**2


def test_only_conditioned_networks_receive_the_measurement():
    process = process_of("blur")
    y, t = torch.rand(2, 3, 8, 8), torch.tensor(0.5)
    with pytest.raises(ValueError, match="measurement: must be given"):
        untrained(conditioned=True)(process, y, t)
    with pytest.raises(ValueError, match="measurement: must be None"):
        untrained()(process, y, t, measurement=y)
    with pytest.raises(ValueError, match=r"condition_on_measurement=true: must be false for an incremental"):
        Denoiser(NCSNpp(8, [1, 2], 1, [1], 0.0, images=2, conditions=2))
    with pytest.raises(ValueError, match="must depend on y and sigma alone"):
        untrained().denoise(y, 0.05)
    for preconditioning in ("none", "edm"):
        network = NCSNpp(8, [1, 2], 1, [1], 0.0, images=2)
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        denoiser = Denoiser(network, preconditioning=preconditioning).eval()
        assert not torch.allclose(denoiser.condition_on(process, y)(y, t), denoiser.condition_on(process, 1 - y)(y, t))


# exact steps


class Stream:
    """Noise source for many images from one generator."""

    device = torch.device("cpu")

    def __init__(self, count):
        self.generators = range(count)

    def normal(self, shape, dtype=torch.float32):
        return torch.randn(len(self.generators), *shape, dtype=dtype)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("step", [Exponential(), Multistep()])
def test_steps_are_exact_for_a_known_image(step, eta):
    process, x = process_of("inpainting"), torch.rand(1, 1, 8, 8)
    y = process.measure(x, torch.randn(3000, 1, 8, 8))
    for steps in (1, 2, 5):
        sampler = ReverseSampler(steps, step, eta=eta)
        last = sampler.run(process, lambda y, t: x.expand_as(y), y, Stream(3000), output="iterate")
        assert (last - process.mean(x, 0.0)).std().item() == pytest.approx(0.01, rel=0.01)
        assert (last - process.mean(x, 0.0)).mean().abs() < 1e-4


def marginal_error(step, steps, eta):
    """Largest relative error of the standard deviation of iterates over all times."""
    torch.manual_seed(steps)
    process = StochasticDegradation(GaussianInpainting(LinearSeverity(0.1, 60), 8), GeometricNoise(0.02, 0.3))
    oracle, x = GaussianFieldOracle(process, 0.04 * torch.eye(64)), 0.5 + 0.2 * torch.randn(4000, 1, 8, 8)
    y = process.measure(x, torch.randn_like(x))
    largest = 0.0
    for state in ReverseSampler(steps, step, eta=eta).states(process, oracle, y, Stream(4000)):
        mask = process.mean(torch.ones(1, 1, 8, 8), state.t)[0, 0]
        expected = (mask**2 * 0.04 + process.noise(torch.tensor(state.t)) ** 2).sqrt()
        largest = max(largest, (state.y.std(0)[0] / expected - 1).mean().abs().item())
    return largest


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_marginals_match_the_forward_process(eta):
    errors = [marginal_error(Exponential(), steps, eta) for steps in (30, 60, 120)]
    for coarse, fine in pairwise(errors):
        assert 1.6 < coarse / fine < 2.6
    assert marginal_error(Multistep(), 60, eta) < 0.006


@pytest.mark.parametrize(("kind", "order"), [("exponential", 1), ("multistep", 2)])
def test_order_of_convergence_against_the_closed_form_ode(kind, order):
    """For white images and a mask, the ODE scales y_t - m_t / 2 by the ratio of the marginal standard deviations."""
    process = StochasticDegradation(GaussianInpainting(LinearSeverity(0.1, 60), 8), GeometricNoise(0.02, 0.3))
    oracle = GaussianFieldOracle(process, 0.04 * torch.eye(64))
    y = process.measure(0.5 + 0.2 * torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8)).double()
    mask = {t: process.mean(torch.ones(1, 1, 8, 8).double(), t) for t in (0.0, 1.0)}
    spread = {t: (mask[t] ** 2 * 0.04 + process.noise(torch.tensor(t).double()) ** 2).sqrt() for t in (0.0, 1.0)}
    exact = 0.5 * mask[0.0] + (y - 0.5 * mask[1.0]) * spread[0.0] / spread[1.0]
    errors = []
    for steps in (40, 80, 160, 320):
        step = Exponential() if kind == "exponential" else Multistep()
        sampler = ReverseSampler(steps, step, eta=0.0)
        last = sampler.run(process, oracle, y, ImageNoise(range(4)), output="iterate")
        errors.append((last - exact).square().mean().sqrt().item())
    for coarse, fine in pairwise(errors[1:]):
        assert 2**order * 0.75 < coarse / fine < 2**order * 1.4


def test_a_multistep_solver_needs_one_call_per_step():
    process, calls = process_of("blur"), []

    def denoiser(y, t):
        calls.append(t.item())
        return y

    ReverseSampler(4, Multistep()).run(process, denoiser, torch.rand(1, 3, 8, 8), ImageNoise([0]))
    assert calls == [1.0, 0.75, 0.5, 0.25]


# the posterior


def bench(problem, sigma_max):
    degradation = {
        "blur": lambda: GaussianBlur(LinearSeverity(0.3, 1.5), 256),
        "soft": lambda: GaussianInpainting(LinearSeverity(0.1, 50.0), 10),
        "box": lambda: BoxInpainting(LinearSeverity(0.0, 128.0), 10),
    }[problem]()
    return GaussianBench(StochasticDegradation(degradation, GeometricNoise(0.01, sigma_max), 0.05), side=10)


def calibration(gaussian, denoiser, count=64, **sampler):
    reverse = ReverseSampler(**sampler)
    return gaussian.calibration(
        reverse.run(
            gaussian.process, denoiser, gaussian.measurements(count), ImageNoise(range(count)), output="iterate"
        )
    )


@pytest.mark.parametrize("problem", ["blur", "soft", "box"])
@pytest.mark.parametrize(("sigma_max", "eta"), [(0.05, 1.0), (0.5, 1.0), (0.5, 0.0)])
def test_sampling_conditioned_on_the_measurement_samples_the_posterior(problem, sigma_max, eta):
    gaussian = bench(problem, sigma_max)
    result = calibration(gaussian, gaussian.conditional, num_steps=100, solver=Multistep(), eta=eta)
    assert result.bias < 0.15 and 0.95 < result.std < 1.05
    coarse_result = calibration(gaussian, gaussian.conditional, num_steps=20, solver=Multistep(), eta=eta)
    assert coarse_result.bias < 0.15 and 0.9 < coarse_result.std < 1.1


@pytest.mark.parametrize("problem", ["blur", "soft", "box"])
def test_unconditional_sampling_does_not_sample_the_posterior(problem):
    gaussian, noisier = bench(problem, 0.05), bench(problem, 0.5)
    assert calibration(gaussian, gaussian.oracle, num_steps=100, solver=Multistep()).std < 0.9
    unconditional = calibration(noisier, noisier.oracle, num_steps=100, solver=Multistep())
    assert not (unconditional.bias < 0.15 and 0.95 < unconditional.std < 1.05)


def test_the_conditional_oracle_is_the_regression_on_both_inputs():
    gaussian = bench("soft", 0.2)
    x = gaussian.prior.sample(torch.randn(6000, 1, 10, 10))
    z, z_1 = torch.randn(2, *x.shape)
    y_1, y = gaussian.process.measure(x, z_1), gaussian.process.sample_joint(x, 0.6, z, z_1)
    both = torch.cat([y, y_1], 1).flatten(1).double()
    error = (gaussian.conditional.condition_on(gaussian.process, y_1)(y, torch.tensor(0.6)).double() - x).flatten(1)
    alone = (gaussian.oracle(y, torch.tensor(0.6)).double() - x).flatten(1)
    assert error.square().mean() < 0.9 * alone.square().mean()
    correlation = error.mT @ (both - both.mean(0)) / len(x) / error.std() / both.std()
    assert correlation.abs().max() < 6 / len(x) ** 0.5


def test_x_hat_at_t_1_is_the_regression():
    """At t = 1, only the measurement is known, for every noise level of y_1."""
    for sigma_max in (0.05, 0.5):
        gaussian = bench("blur", sigma_max)
        first = next(
            ReverseSampler(5).states(
                gaussian.process, gaussian.conditional, gaussian.measurements(2), ImageNoise([0, 1])
            )
        )
        assert torch.allclose(first.x_hat, gaussian.mean.expand(2, -1, -1, -1), atol=1e-4)


# the sampler


def test_missing_noise_is_added_and_the_measurement_is_unchanged():
    process, seen = process_of("inpainting", 0.02), []

    class Conditioned:
        condition_on_measurement = True

        def condition_on(self, process, measurement):
            seen.append(measurement)
            return lambda y, t: y

    x = torch.full((400, 1, 8, 8), 0.5)
    measured = measure(process, x, [str(i) for i in range(400)], seed=0)
    sampler = ReverseSampler(2, Euler(), eta=0.0)
    first = next(sampler.states(process, Conditioned(), measured.y, measured.noise))
    assert torch.equal(seen[0], measured.y)
    assert (first.y - process.mean(x, 1.0)).std().item() == pytest.approx(0.05, rel=0.02)
    clean = process.mean(x, 1.0)
    first = next(sampler.replace(sigma=0.0).states(process, Conditioned(), clean, ImageNoise(range(400))))
    assert (seen[1] - clean).std().item() == pytest.approx(0.02, rel=0.02)
    assert (first.y - clean).std().item() == pytest.approx(0.05, rel=0.02)
    with pytest.raises(ValueError, match=r"sigma=0.03: must be at most the noise of the model .* 0.02"):
        next(sampler.replace(sigma=0.03).states(process, Conditioned(), clean, ImageNoise(range(400))))
    with pytest.raises(
        ValueError, match=r"t_start=0.5: must be 1 for a network that is conditioned on the measurement"
    ):
        next(sampler.replace(t_start=0.5).states(process, Conditioned(), clean, ImageNoise(range(400))))


def test_samples_of_the_ode_differ_if_noise_is_added():
    plain, wide = process_of("inpainting"), process_of("inpainting", 0.02)
    sampler = ReverseSampler(2, eta=0.0)
    assert not sampler.is_stochastic(plain) and sampler.is_stochastic(wide) and ReverseSampler(2).is_stochastic(plain)
    assert not ReverseSampler(2).is_stochastic(plain, t_stop=1.0)
    assert not sampler.replace(sigma=0.05).is_stochastic(plain)


def test_conditioning_works_without_a_diagonal_form():
    process = StochasticDegradation(MotionBlur(LinearSeverity(0.0, 40.0), 32), GeometricNoise())
    denoiser = Denoiser(NCSNpp(8, [1, 2], 1, [1], 0.0, images=2)).eval()
    y = process.measure(torch.rand(2, 3, 32, 32), torch.randn(2, 3, 32, 32))
    restored = ReverseSampler(3, Multistep()).run(process, denoiser, y, ImageNoise([1, 2]))
    assert restored.shape == y.shape and torch.isfinite(restored).all()


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("name", ["blur", "super_resolution", "box", "inpainting"])
def test_inputs_contain_the_linear_estimate_and_its_standard_deviation(name, conditioned, tmp_path):
    process, x = process_of(name, 0.02, 16), torch.rand(2, 3, 16, 16)
    y_1, y = pair(process, x, 0.7, 2)
    t, measurement = torch.full((2,), 0.7), y_1 if conditioned else None
    whitened, expected = OperatorPreconditioning(3.0)(process, y, t, measurement)
    scales = OperatorPreconditioning(3.0, inputs="estimate")
    images, linear = scales(process, y, t, measurement)
    assert torch.equal(linear.estimate, expected.estimate) and torch.equal(linear.precision, expected.precision)
    assert images.shape[1] == 3 * scales.num_images(process, conditioned)
    estimate, rest = images[:, :3], images[:, 3:]
    assert torch.allclose(0.5 + 0.25 * estimate, linear.x_hat(torch.zeros_like(x)), atol=1e-5)
    assert torch.equal(rest[:, : whitened.shape[1]], whitened)
    if name in ("box", "inpainting"):
        std = rest[:, whitened.shape[1] :]
        assert torch.allclose(std, 4 * linear.precision.rsqrt().expand_as(std)) and std.min() > 0 and std.max() <= 1
    network = NCSNpp(8, [1, 2], 1, [1], 0.0, images=scales.num_images(process, conditioned))
    denoiser = Denoiser(network, "log_sigma", preconditioning=scales, condition_on_measurement=conditioned)
    Restorer(process, denoiser).save(tmp_path / "model.ckpt")
    loaded = load(tmp_path / "model.ckpt")
    x_hat = denoiser.eval()(process, y, t, measurement=measurement)
    assert torch.equal(loaded.denoiser.eval()(loaded.process, y, t, measurement=measurement), x_hat)


def test_unknown_inputs_are_refused():
    with pytest.raises(ValueError, match="inputs=pixels: must be one of whitened, estimate"):
        OperatorPreconditioning(inputs="pixels")
