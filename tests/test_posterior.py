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
"""The measurement's sigma: that of the process at t = 1, or less."""


def process_of(name, measurement_sigma=None, size=8):
    return StochasticDegradation(DEGRADATIONS[name](size), GeometricNoise(0.01, 0.05), measurement_sigma)


def pair(process, x, t, count):
    """y_1 and y_t of one trajectory."""
    z, z_1 = torch.randn(2, count, *x.shape[1:], dtype=x.dtype)
    x = x.expand(count, -1, -1, -1)
    return process.measure(x, z_1), process.sample_joint(x, t, z, z_1)


# a basis in which A_t is diagonal


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
    with pytest.raises(ValueError, match=r"diagonal form, which .* use preconditioning none or edm"):
        OperatorPreconditioning().check(process_of(name))


# noise


@pytest.mark.parametrize("sigma", WIDE)
def test_a_pair_has_the_joint_distribution_of_sampling(sigma):
    """Independent increments: Cov(y_t, y_1 + missing noise) = sigma_t^2 given x, and only y_1's part is y_1's."""
    process, x = process_of("inpainting", sigma), torch.full((1, 1, 8, 8), 0.3, dtype=torch.float64)
    of_measurement = 0.05 if sigma is None else sigma
    for t in (0.0, 0.5, 1.0):
        y_1, y = (images - process.mean(x, u) for images, u in zip(pair(process, x, t, 4000), (1.0, t), strict=True))
        sigma_t = process.noise(torch.tensor(t)).item()
        assert y.std().item() == pytest.approx(sigma_t, rel=0.01)
        assert y_1.std().item() == pytest.approx(of_measurement, rel=0.01)
        share, free = process.conditional_noise(t, x)
        assert (y * y_1).mean().item() == pytest.approx(share.item() * of_measurement**2, rel=0.03)
        news = y - share * y_1
        assert news.std().item() == pytest.approx(free.sqrt().item(), rel=0.01, abs=1e-4)
        assert abs((news * y_1).mean()) < 0.01 * news.std() * y_1.std() + 1e-12


def test_a_measurement_has_a_noise_level():
    process, x = process_of("blur", 0.02), torch.rand(1, 3, 8, 8)
    z = torch.randn(1, 3, 8, 8)
    assert torch.allclose(process.measure(x, z), process.mean(x, 1.0) + 0.02 * z, atol=1e-6)
    assert torch.allclose(process.measure(x, z, 0.0), process.mean(x, 0.0) + 0.004 * z, atol=1e-6)
    assert process_of("blur").sigma_of_measurement(x).item() == pytest.approx(0.05)
    for bad in (0, -0.1, 0.06):
        with pytest.raises(ValueError, match=rf"measurement_sigma={bad}: must be above 0 and at most 0.05"):
            process_of("blur", bad)


def test_training_pairs_are_those_of_sampling():
    process, x = process_of("inpainting", 0.02), torch.full((64, 3, 8, 8), 0.5)
    batch = training_batch(process, x, seed=1, measured=True)
    share, free = process.conditional_noise(batch.t, x)
    y_1, y = batch.measurement - process.mean(x, 1.0), batch.y - process.mean(x, batch.t)
    assert y_1.std().item() == pytest.approx(0.02, rel=0.02)
    assert ((y - share * y_1) / free.sqrt()).std().item() == pytest.approx(1, rel=0.02)
    plain = training_batch(process, x, seed=1)
    assert plain.measurement is None and torch.equal(plain.t, batch.t)


# preconditioning


def untrained(given=False, scale=0.0):
    network = NCSNpp(8, [1, 2], 1, [1], 0.0, images=2 if given else 1)
    for parameter in network.parameters():
        parameter.data += scale * torch.randn_like(parameter)
    return Denoiser(network, "log_sigma", preconditioning=OperatorPreconditioning()).eval()


def test_the_identity_has_the_scales_of_karras():
    process = StochasticDegradation(DEGRADATIONS["identity"](16), GeometricNoise(0.002, 40.0))
    ours = untrained(scale=0.05)
    karras = Denoiser(ours.network, "log_sigma", preconditioning="edm").eval()
    t = torch.linspace(0, 1, 8)
    y = 0.5 + process.noise(t).reshape(-1, 1, 1, 1) * torch.randn(8, 3, 16, 16)
    expected = karras(process, y, t)
    assert (ours(process, y, t) - expected).abs().max() < 4 * torch.finfo(torch.float32).eps * expected.abs().max()


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("sigma", WIDE)
@pytest.mark.parametrize("name", ["inpainting", "box", "super_resolution", "fourier", "identity"])
def test_an_untrained_network_is_the_exact_denoiser_of_white_images(name, sigma, given):
    """x ~ N(1/2, 1/4^2): what a linear filter can know is all there is."""
    process, kind = process_of(name, sigma), ConditionalFieldOracle if given else GaussianFieldOracle
    oracle = kind(process, torch.eye(64) / 16)
    denoiser = untrained(given)
    denoiser.network.head[-1].weight.data.zero_()
    x = 0.5 + torch.randn(1, 3, 8, 8) / 4
    for t in (0.0, 0.3, 0.9, 1.0):
        y_1, y = pair(process, x, t, 1)
        time = torch.tensor(t)
        exact = (oracle.condition_on(process, y_1) if given else oracle)(y, time)
        made = denoiser.condition_on(process, y_1)(y, time)
        assert torch.allclose(made, exact, atol=2e-4), (t, (made - exact).abs().max())


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", DIAGONAL)
def test_inputs_and_targets_of_a_network_have_unit_scale(name, given):
    process = process_of(name, 0.02, 16)
    x = 0.5 + torch.randn(256, 1, 16, 16) / 4
    for t in (0.0, 0.5, 1.0):
        y_1, y = pair(process, x, t, 256)
        images, scaled = OperatorPreconditioning()(process, y, torch.full((256,), t), y_1 if given else None)
        assert images.shape[1] == (2 if given else 1)
        left = (scaled.basis.vt(x - 0.5) - scaled.estimate) * scaled.precision.sqrt()
        for values in (*images.unbind(1), left):
            assert values.std(0).median().item() == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", ["blur", "super_resolution", "fourier"])
def test_targets_for_images_with_a_spectrum_have_unit_scale(name, given):
    process, like = process_of(name, 0.02, 16), torch.empty(512, 1, 16, 16)
    basis = process.degradation.diagonal(like, 1.0)
    variance = spectrum(basis, like, 3.0, 16)
    assert variance.mean().item() == pytest.approx(1 / 16, rel=0.2 if name == "fourier" else 1e-5)
    assert variance[8].max() < variance[0].max() / 50
    x = 0.5 + basis.v(variance.sqrt() * torch.randn_like(like))
    for t in (0.0, 0.5, 1.0):
        y_1, y = pair(process, x, t, 512)
        known, time = y_1 if given else None, torch.full((512,), t)
        scaled, white = (OperatorPreconditioning(*e)(process, y, time, known)[1] for e in ((3.0,), ()))
        left = (scaled.basis.vt(x - 0.5) - scaled.estimate) * scaled.precision.sqrt()
        assert left.std(0).median().item() == pytest.approx(1, abs=0.08)
        errors = [((s.x_hat(torch.zeros_like(y)) - x) ** 2).mean() for s in (scaled, white)]
        assert errors[0] < errors[1]


def test_a_spectrum_is_a_density_and_that_of_pixels_is_white():
    blur, mask = (DEGRADATIONS[name](32) for name in ("blur", "inpainting"))
    small, large = torch.empty(1, 3, 32, 32), torch.empty(1, 3, 64, 32)
    of_small, of_large = (spectrum(blur.diagonal(image, 1.0), image, 3.0, 32) for image in (small, large))
    assert torch.allclose(of_large[::2], of_small, rtol=1e-5)
    for basis, exponent in ((mask.diagonal(small, 1.0), 3.0), (blur.diagonal(small, 1.0), 0.0)):
        assert torch.equal(spectrum(basis, small, exponent, 32), torch.full((32, 32), 1 / 16))
    with pytest.raises(ValueError, match="exponent of the images' spectrum must be at least 0, got -1"):
        OperatorPreconditioning(-1)


def test_photographs_have_the_spectrum():
    """Without any training: Wiener's filter with it is better than the measurement, with a white one it is worse."""
    process, images = process_of("blur", size=64), Photos(64).split("val")
    x = torch.stack([image["x"] for image in map(images.__getitem__, range(32)) if "chelsea" in image["name"]])
    y, t = process.measure(x, torch.randn_like(x)), torch.ones(16)
    by = {e: OperatorPreconditioning(e)(process, y, t)[1].x_hat(torch.zeros_like(y)) for e in (0.0, 2.0, 3.0, 4.0)}
    mse = {e: (x_hat.clamp(0, 1) - x).square().mean().item() for e, x_hat in by.items()}
    assert min(mse, key=mse.get) == 3.0
    assert mse[3.0] < 0.5 * (y.clamp(0, 1) - x).square().mean().item() < 0.5 * mse[0.0]


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", DIAGONAL)
def test_the_matched_loss_weighs_by_the_precision(name, given):
    process = process_of(name, 0.02, 16)
    x, x_hat = torch.rand(2, 4, 3, 16, 16, dtype=torch.float64)
    t = torch.tensor([0.0, 0.3, 0.8, 0.99], dtype=torch.float64)
    _, scaled = OperatorPreconditioning()(process, x, t, x if given else None)
    expected = (scaled.precision * scaled.basis.vt(x_hat - x) ** 2).mean()
    loss = MatchedLoss(0.25, given)(process, x_hat, x, t)
    near_border = 0.15 if name == "blur" else 1e-6
    assert loss.item() == pytest.approx(expected.item(), rel=near_border)
    assert MatchedLoss(0.25, given)(process, x, x, t) == 0
    with pytest.raises(ValueError, match="data_std=0: must be positive"):
        MatchedLoss(0)


def test_the_matched_loss_takes_operators_that_are_not_linear():
    process, x = process_of("quantisation", size=16), torch.rand(2, 3, 16, 16)
    for given in (False, True):
        assert MatchedLoss(0.25, given)(process, x, x, torch.tensor(0.5)) == 0
        assert MatchedLoss(0.25, given)(process, x + 0.2, x, torch.tensor(0.5)) > 0.2**2 / 0.25**2


def test_a_network_gets_the_measurement_if_it_takes_it():
    process = process_of("blur")
    y, t = torch.rand(2, 3, 8, 8), torch.tensor(0.5)
    with pytest.raises(ValueError, match="needs the measurement"):
        untrained(given=True)(process, y, t)
    with pytest.raises(ValueError, match="does not take the measurement"):
        untrained()(process, y, t, measurement=y)
    with pytest.raises(ValueError, match=r"incremental .* cannot be given the measurement"):
        Denoiser(NCSNpp(8, [1, 2], 1, [1], 0.0, images=2, conditions=2))
    with pytest.raises(ValueError, match="no x_hat for a noise level alone"):
        untrained().denoise(y, 0.05)
    for preconditioning in ("none", "edm"):
        network = NCSNpp(8, [1, 2], 1, [1], 0.0, images=2)
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        denoiser = Denoiser(network, preconditioning=preconditioning).eval()
        assert not torch.allclose(denoiser.condition_on(process, y)(y, t), denoiser.condition_on(process, 1 - y)(y, t))


# exact steps


class Stream:
    """The noise of many images at once."""

    device = torch.device("cpu")

    def __init__(self, count):
        self.generators = range(count)

    def normal(self, shape, dtype=torch.float32):
        return torch.randn(len(self.generators), *shape, dtype=dtype)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("step", [Exponential(), Multistep()])
def test_steps_are_exact_where_the_image_is_known(step, eta):
    process, x = process_of("inpainting"), torch.rand(1, 1, 8, 8)
    y = process.measure(x, torch.randn(3000, 1, 8, 8))
    for steps in (1, 2, 5):
        sampler = ReverseSampler(steps, step, eta=eta)
        last = sampler.run(process, lambda y, t: x.expand_as(y), y, Stream(3000), output="iterate")
        assert (last - process.mean(x, 0.0)).std().item() == pytest.approx(0.01, rel=0.01)
        assert (last - process.mean(x, 0.0)).mean().abs() < 1e-4


def marginal_error(step, steps, eta):
    """Relative error of the iterates' standard deviation, the worst of all times."""
    torch.manual_seed(steps)
    process = StochasticDegradation(GaussianInpainting(LinearSeverity(0.1, 60), 8), GeometricNoise(0.02, 0.3))
    oracle, x = GaussianFieldOracle(process, 0.04 * torch.eye(64)), 0.5 + 0.2 * torch.randn(4000, 1, 8, 8)
    y = process.measure(x, torch.randn_like(x))
    worst = 0.0
    for state in ReverseSampler(steps, step, eta=eta).states(process, oracle, y, Stream(4000)):
        mask = process.mean(torch.ones(1, 1, 8, 8), state.t)[0, 0]
        expected = (mask**2 * 0.04 + process.noise(torch.tensor(state.t)) ** 2).sqrt()
        worst = max(worst, (state.y.std(0)[0] / expected - 1).mean().abs().item())
    return worst


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_marginals_match_the_forward_process(eta):
    errors = [marginal_error(Exponential(), steps, eta) for steps in (30, 60, 120)]
    for coarse, fine in pairwise(errors):
        assert 1.6 < coarse / fine < 2.6
    assert marginal_error(Multistep(), 60, eta) < 0.006


@pytest.mark.parametrize("variable", ["time", "log_sigma"])
@pytest.mark.parametrize(("kind", "order"), [("exponential", 1), ("multistep", 2)])
def test_order_of_convergence_against_the_closed_form_ode(kind, order, variable):
    """White images under a mask: the ODE maps y_1 - m_1 / 2 to that of y_0 times the ratio of the marginals."""
    process = StochasticDegradation(GaussianInpainting(LinearSeverity(0.1, 60), 8), GeometricNoise(0.02, 0.3))
    oracle = GaussianFieldOracle(process, 0.04 * torch.eye(64))
    y = process.measure(0.5 + 0.2 * torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8)).double()
    mask = {t: process.mean(torch.ones(1, 1, 8, 8).double(), t) for t in (0.0, 1.0)}
    spread = {t: (mask[t] ** 2 * 0.04 + process.noise(torch.tensor(t).double()) ** 2).sqrt() for t in (0.0, 1.0)}
    exact = 0.5 * mask[0.0] + (y - 0.5 * mask[1.0]) * spread[0.0] / spread[1.0]
    errors = []
    for steps in (40, 80, 160, 320):
        step = Exponential() if kind == "exponential" else Multistep(variable)
        sampler = ReverseSampler(steps, step, eta=0.0)
        last = sampler.run(process, oracle, y, ImageNoise(range(4)), output="iterate")
        errors.append((last - exact).square().mean().sqrt().item())
    for coarse, fine in pairwise(errors[1:]):
        assert 2**order * 0.75 < coarse / fine < 2**order * 1.4


def test_a_second_order_step_takes_one_call_and_names_its_variables():
    process, calls = process_of("blur"), []

    def denoiser(y, t):
        calls.append(t.item())
        return y

    ReverseSampler(4, Multistep()).run(process, denoiser, torch.rand(1, 3, 8, 8), ImageNoise([0]))
    assert calls == [1.0, 0.75, 0.5, 0.25]
    with pytest.raises(ValueError, match="variable=steps: must be one of"):
        Multistep("steps")


# the posterior


def bench(problem, sigma_max):
    degradation = {
        "blur": lambda: GaussianBlur(LinearSeverity(0.3, 1.5), 256),
        "soft": lambda: GaussianInpainting(LinearSeverity(0.1, 50.0), 10),
        "box": lambda: BoxInpainting(LinearSeverity(0.0, 128.0), 10),
    }[problem]()
    return GaussianBench(StochasticDegradation(degradation, GeometricNoise(0.01, sigma_max), 0.05), side=10)


def calibration(of, denoiser, count=64, **sampler):
    reverse = ReverseSampler(**sampler)
    return of.calibration(
        reverse.run(of.process, denoiser, of.measurements(count), ImageNoise(range(count)), output="iterate")
    )


@pytest.mark.parametrize("problem", ["blur", "soft", "box"])
@pytest.mark.parametrize(("sigma_max", "eta"), [(0.05, 1.0), (0.5, 1.0), (0.5, 0.0)])
def test_sampling_conditioned_on_the_measurement_samples_the_posterior(problem, sigma_max, eta):
    of = bench(problem, sigma_max)
    found = calibration(of, of.conditional, num_steps=100, solver=Multistep(), eta=eta)
    assert found.bias < 0.15 and 0.95 < found.std < 1.05
    few = calibration(of, of.conditional, num_steps=20, solver=Multistep(), eta=eta)
    assert few.bias < 0.15 and 0.9 < few.std < 1.1


@pytest.mark.parametrize("problem", ["blur", "soft", "box"])
def test_sampling_without_the_measurement_does_not(problem):
    of, with_extra = bench(problem, 0.05), bench(problem, 0.5)
    assert calibration(of, of.oracle, num_steps=100, solver=Multistep()).std < 0.9
    blind = calibration(with_extra, with_extra.oracle, num_steps=100, solver=Multistep())
    assert not (blind.bias < 0.15 and 0.95 < blind.std < 1.05)


def test_the_oracle_of_both_is_the_regression_on_both():
    of = bench("soft", 0.2)
    x = of.prior.sample(torch.randn(6000, 1, 10, 10))
    z, z_1 = torch.randn(2, *x.shape)
    y_1, y = of.process.measure(x, z_1), of.process.sample_joint(x, 0.6, z, z_1)
    both = torch.cat([y, y_1], 1).flatten(1).double()
    error = (of.conditional.condition_on(of.process, y_1)(y, torch.tensor(0.6)).double() - x).flatten(1)
    alone = (of.oracle(y, torch.tensor(0.6)).double() - x).flatten(1)
    assert error.square().mean() < 0.9 * alone.square().mean()
    correlation = error.mT @ (both - both.mean(0)) / len(x) / error.std() / both.std()
    assert correlation.abs().max() < 6 / len(x) ** 0.5


def test_x_hat_at_the_start_is_the_regression():
    """At t = 1 only the measurement is known, however much noise sampling starts with."""
    for sigma_max in (0.05, 0.5):
        of = bench("blur", sigma_max)
        first = next(ReverseSampler(5).states(of.process, of.conditional, of.measurements(2), ImageNoise([0, 1])))
        assert torch.allclose(first.x_hat, of.mean.expand(2, -1, -1, -1), atol=1e-4)


# the sampler


def test_missing_noise_is_added_and_the_measurement_stays():
    process, seen = process_of("inpainting", 0.02), []

    class Given:
        condition_on_measurement = True

        def condition_on(self, process, measurement):
            seen.append(measurement)
            return lambda y, t: y

    x = torch.full((400, 1, 8, 8), 0.5)
    measured = measure(process, x, [str(i) for i in range(400)], seed=0)
    sampler = ReverseSampler(2, Euler(), eta=0.0)
    first = next(sampler.states(process, Given(), measured.y, measured.noise))
    assert torch.equal(seen[0], measured.y)
    assert (first.y - process.mean(x, 1.0)).std().item() == pytest.approx(0.05, rel=0.02)
    cleaner = process.mean(x, 1.0)
    first = next(sampler.replace(sigma=0.0).states(process, Given(), cleaner, ImageNoise(range(400))))
    assert (seen[1] - cleaner).std().item() == pytest.approx(0.02, rel=0.02)
    assert (first.y - cleaner).std().item() == pytest.approx(0.05, rel=0.02)
    with pytest.raises(ValueError, match=r"sigma=0.03 is more noise than this model knows .* 0.02"):
        next(sampler.replace(sigma=0.03).states(process, Given(), cleaner, ImageNoise(range(400))))
    with pytest.raises(
        ValueError, match=r"t_start=0.5: must be 1 for a network that is conditioned on the measurement"
    ):
        next(sampler.replace(t_start=0.5).states(process, Given(), cleaner, ImageNoise(range(400))))


def test_samples_of_the_ode_differ_where_noise_is_added():
    plain, wide = process_of("inpainting"), process_of("inpainting", 0.02)
    sampler = ReverseSampler(2, eta=0.0)
    assert not sampler.is_stochastic(plain) and sampler.is_stochastic(wide) and ReverseSampler(2).is_stochastic(plain)


def test_motion_blur_is_given_its_measurement_without_a_basis():
    process = StochasticDegradation(MotionBlur(LinearSeverity(0.0, 40.0), 32), GeometricNoise())
    denoiser = Denoiser(NCSNpp(8, [1, 2], 1, [1], 0.0, images=2)).eval()
    y = process.measure(torch.rand(2, 3, 32, 32), torch.randn(2, 3, 32, 32))
    restored = ReverseSampler(3, Multistep()).run(process, denoiser, y, ImageNoise([1, 2]))
    assert restored.shape == y.shape and torch.isfinite(restored).all()


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("name", ["blur", "super_resolution", "box", "inpainting"])
def test_a_network_may_see_the_linear_estimate_and_its_standard_deviation(name, conditioned, tmp_path):
    process, x = process_of(name, 0.02, 16), torch.rand(2, 3, 16, 16)
    y_1, y = pair(process, x, 0.7, 2)
    t, given = torch.full((2,), 0.7), y_1 if conditioned else None
    whitened, expected = OperatorPreconditioning(3.0)(process, y, t, given)
    scales = OperatorPreconditioning(3.0, inputs="estimate")
    images, linear = scales(process, y, t, given)
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
    x_hat = denoiser.eval()(process, y, t, measurement=given)
    assert torch.equal(loaded.denoiser.eval()(loaded.process, y, t, measurement=given), x_hat)


def test_unknown_inputs_are_refused():
    with pytest.raises(ValueError, match="inputs=pixels: must be one of whitened, estimate"):
        OperatorPreconditioning(inputs="pixels")
