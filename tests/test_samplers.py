"""The reverse process with exact denoisers."""

import math
from itertools import pairwise

import pytest
import torch
from conftest import DEGRADATIONS

from diracdiff.degradations import GaussianInpainting, LinearSeverity
from diracdiff.noise import GeometricNoise
from diracdiff.oracles import FiniteDataOracle, GaussianOracle
from diracdiff.process import StochasticDegradation
from diracdiff.samplers import (
    AdaptiveGrid,
    Euler,
    ExactLookBack,
    Exponential,
    Guidance,
    Heun,
    ImageNoise,
    LookAhead,
    LookBack,
    NetworkIncrement,
    PowerGrid,
    ReverseSampler,
    SmallLookAhead,
    SmallLookBack,
)


class Constant:
    """Denoiser that returns a fixed image and records the times of its calls."""

    def __init__(self, image):
        self.image, self.calls = image, []

    def __call__(self, y, t):
        self.calls.append(t.item())
        return self.image.expand_as(y)


def trajectory(process, x, num_steps=10, denoiser=None, stop=0.0, output="x_hat", **options):
    noise = ImageNoise(range(len(x)))
    y = process.measure(x, noise.normal(x.shape[1:]))
    denoiser = denoiser or FiniteDataOracle(process, x)
    return list(ReverseSampler(num_steps, **options).states(process, denoiser, y, noise, stop, output))


def test_grid_and_calls(process):
    x = torch.rand(1, 3, 32, 32)
    denoiser = Constant(x)
    states = trajectory(process, x, num_steps=4, denoiser=denoiser)
    assert [s.t for s in states] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert denoiser.calls == [1.0, 0.75, 0.5, 0.25]
    assert [s.nfe for s in states] == [1, 2, 3, 4, 4]
    assert [s.x_hat_is_current for s in states] == [True] * 4 + [False]
    assert [s.nfe_for("iterate") for s in states] == [0, 1, 2, 3, 4]


def test_an_iterate_needs_no_call_at_its_time(process):
    x = torch.rand(1, 3, 32, 32)
    denoiser = Constant(x)
    last = trajectory(process, x, num_steps=4, stop=0.5, output="iterate", denoiser=denoiser)[-1]
    assert denoiser.calls == [1.0, 0.75] and last.nfe_for("iterate") == 2 and not last.x_hat_is_current


def test_one_step_is_one_shot_reconstruction(process):
    x = torch.rand(3, 3, 32, 32)
    noise = ImageNoise(range(3))
    y = process.measure(x, noise.normal(x.shape[1:]))
    oracle = FiniteDataOracle(process, torch.rand(2, 3, 32, 32))
    for sampler, stop in ((ReverseSampler(1), 0.0), (ReverseSampler(20), 1.0)):
        assert torch.equal(sampler.run(process, oracle, y, noise, stop), oracle(y, torch.tensor(1.0)))


def test_a_step_is_equation_7(process):
    x, t, s = torch.rand(2, 3, 32, 32), 1.0, 0.5
    noise, same = ImageNoise([1, 2]), ImageNoise([1, 2])
    y = process.measure(torch.rand_like(x), noise.normal(x.shape[1:]))
    same.normal(x.shape[1:])
    _, state, _ = ReverseSampler(2).states(process, Constant(x), y, noise)
    sigma_t, sigma_s = (process.noise(torch.tensor(v)) for v in (t, s))
    score = (process.mean(x, t) - y) / sigma_t**2
    variance = sigma_t**2 - sigma_s**2
    expected = y + process.mean(x, s) - process.mean(x, t) + variance * score
    expected = expected + variance.sqrt() * same.normal(x.shape[1:])
    assert torch.allclose(state.y, expected, atol=1e-5)


def test_finite_data_oracle_recovers_the_image(process):
    x = torch.rand(4, 3, 32, 32)
    last = trajectory(process, x, num_steps=100)[-1]
    psnr = -10 * torch.log10((last.x_hat - x).square().flatten(1).mean(1))
    assert psnr.min() > 60
    assert (last.y - x).square().mean().item() == pytest.approx(0.01**2, rel=0.1)


def marginal_error(steps, eta):
    """Return the largest relative errors of standard deviation and mean of the iterates.

    The reference is the forward process. Every step is affine in each pixel, so that the variance of an iterate is the
    sum of squared responses to unit impulses. Image 0 of the batch is the mean. Image 1 has an impulse in y_1, and
    image i has an impulse in the noise of step i - 2.
    """
    process = StochasticDegradation(GaussianInpainting(LinearSeverity(0.1, 60), 16), GeometricNoise(0.02, 0.3))
    oracle, ones = GaussianOracle(process, mean=0.5, std=0.2), torch.ones(1, 1, 16, 16, dtype=torch.float64)

    class Impulses:
        device, generators, indices = torch.device("cpu"), range(steps + 2), iter(range(2, steps + 2))

        def normal(self, shape, dtype):
            z = torch.zeros(steps + 2, *shape, dtype=dtype)
            z[next(self.indices)] = 1
            return z

    def forward(t):
        mask = process.mean(ones, t)
        return mask * 0.5, (mask**2 * 0.2**2 + process.sigma(t, ones) ** 2).sqrt()

    mean, std = forward(1.0)
    y = mean.repeat(steps + 2, 1, 1, 1)
    y[1] += std[0]
    worst_std, worst_mean = 0.0, 0.0
    for state in ReverseSampler(steps, eta=eta).states(process, oracle, y, Impulses()):
        mean, std = forward(state.t)
        std_of = (state.y[1:] - state.y[0]).square().sum(0).sqrt()
        worst_std = max(worst_std, (std_of / std - 1).mean().abs().item())
        worst_mean = max(worst_mean, ((state.y[0] - mean) / std).mean().abs().item())
    return worst_std, worst_mean


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_marginals_match_the_forward_process_to_first_order(eta):
    errors = {steps: marginal_error(steps, eta) for steps in (20, 40, 80, 160)}
    stds = [std for std, _ in errors.values()]
    assert stds[-1] < 0.01 and max(mean for _, mean in errors.values()) < 0.01
    for coarse, fine in pairwise(stds):
        assert 1.6 < coarse / fine < 2.6


def test_the_ode_draws_no_noise(process):
    x = torch.rand(2, 3, 32, 32)
    y = process.measure(x, torch.randn_like(x))
    sampler, oracle = ReverseSampler(4, eta=0.0), FiniteDataOracle(process, x)
    a, b = (sampler.run(process, oracle, y, ImageNoise(seeds), output="iterate") for seeds in ([1, 2], [3, 4]))
    assert torch.equal(a, b)


@pytest.mark.parametrize("guidance", [None, Guidance("std", 0.5), Guidance("error", 1.0)])
def test_images_do_not_depend_on_their_batch(process, guidance):
    x, names = torch.rand(5, 3, 32, 32), [11, 12, 13, 14, 15]
    oracle = FiniteDataOracle(process, torch.rand(3, 3, 32, 32))

    def restore(rows):
        noise = ImageNoise([names[i] for i in rows])
        y = process.measure(x[rows], noise.normal(x.shape[1:]))
        return ReverseSampler(5, guidance=guidance).run(process, oracle, y, noise, output="iterate")

    together = restore([0, 1, 2, 3, 4])
    assert torch.allclose(together, torch.cat([restore([i]) for i in range(5)]), atol=1e-5)
    assert torch.allclose(together, restore([4, 2, 0, 1, 3])[[2, 3, 1, 4, 0]], atol=1e-5)


@pytest.mark.parametrize("scaling", ["std", "error"])
def test_guidance_lowers_the_residual_of_every_image(process, scaling):
    x = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    y = process.measure(x, torch.randn_like(x))

    def denoiser(v, t):
        return 0.8 * v + 0.05

    for step in (1e-6, 1e-4):
        variable = y.clone().requires_grad_()
        term = Guidance(scaling, step)(process, variable, denoiser(variable, None), y)
        before, after = process.residual(y, denoiser(y, None)), process.residual(y, denoiser(y + term, None))
        assert (after < before).all()


@pytest.mark.parametrize("start", [1.0, 0.5])
@pytest.mark.parametrize("scaling", ["std", "error"])
def test_guidance_has_the_published_size(process, scaling, start):
    """The operator and the noise level are those at the time of the measurement."""
    x = torch.rand(3, 3, 32, 32)
    y = process.measure(x, torch.randn_like(x), start).requires_grad_()
    x_hat = y * torch.tensor([0.5, 0.7, 0.9]).reshape(3, 1, 1, 1)
    norm2 = (y.detach() - process.mean(x_hat, start)).square().flatten(1).sum(1)
    (gradient,) = torch.autograd.grad(norm2.sum(), y, retain_graph=True)
    sigma = process.noise(torch.tensor(start))
    eta = 0.3 / (2 * sigma**2) if scaling == "std" else (0.3 / norm2.detach().sqrt()).reshape(3, 1, 1, 1)
    term = Guidance(scaling, 0.3)(process, y, x_hat, y.detach(), start)
    assert torch.allclose(term, -eta * gradient, rtol=1e-4)


def test_guidance_works_inside_no_grad_and_leaves_no_graph(process):
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        states = trajectory(process, x, num_steps=3, guidance=Guidance("std", 0.5))
    assert not any(s.y.requires_grad or s.x_hat.requires_grad for s in states[1:])
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"num_steps": 0}, "num_steps"),
        ({"eta": 2}, "eta"),
        ({"t_start": 0}, "t_start"),
        ({"noise_scale": math.nan}, "noise_scale"),
        ({"t_restart": 0.5, "t_start": 0.4}, "t_restart"),
        ({"t_restart": 0.5, "num_steps": 1}, "t_restart"),
        ({"sigma": -0.1}, "sigma"),
        ({"solver": Heun()}, "solver=heun: must have eta=0 .* or solver=euler"),
        ({"solver": Heun(), "eta": 0, "increment": LookBack()}, "increment=look_ahead"),
        ({"increment": SmallLookAhead(0.1)}, r"delta=0.1: must not exceed the sampler's smallest step, 0.05\."),
        ({"increment": SmallLookBack(0.04), "grid": PowerGrid(2)}, r"delta=0.04: must not exceed .* step, 0.0025\."),
    ],
)
def test_invalid_samplers_are_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        ReverseSampler(**options)


def test_invalid_arguments_are_refused_before_the_first_network_call(process):
    denoiser = Constant(torch.rand(1, 3, 32, 32))
    for options in ({"t_stop": 1.5}, {"output": "best"}):
        with pytest.raises(ValueError, match=f"{next(iter(options))}=.*must"):
            ReverseSampler(4).run(process, denoiser, denoiser.image, ImageNoise([0]), **options)
    assert denoiser.calls == []


# estimates of R

INCREMENTS = {
    "look_ahead": lambda dt: LookAhead(),
    "small_look_ahead": lambda dt: SmallLookAhead(dt / 2),
    "look_back": lambda dt: LookBack(),
    "small_look_back": lambda dt: SmallLookBack(dt / 2),
    "exact_look_back": lambda dt: ExactLookBack(),
}


def increment_error(name, degradation, x, t, dt):
    s = t - dt
    process = StochasticDegradation(degradation, GeometricNoise())
    estimate = INCREMENTS[name](dt)(process, x, degradation(x, t), t, s, x)
    return (estimate - (degradation(x, s) - degradation(x, t))).abs().max().item()


@pytest.mark.parametrize("family", ["blur", "inpainting"])
@pytest.mark.parametrize("name", INCREMENTS)
def test_error_of_an_increment_falls_with_the_square_of_the_step(family, name):
    degradation, x = DEGRADATIONS[family](256), torch.rand(1, 1, 48, 48, dtype=torch.float64)
    errors = [increment_error(name, degradation, x, 0.5, dt) for dt in (0.08, 0.04, 0.02, 0.01)]
    if name == "look_ahead":
        assert max(errors) < 1e-12
    else:
        for coarse, fine in pairwise(errors):
            assert 3.0 < coarse / fine < 5.0


def test_increments_have_their_published_form(process):
    x, degradation = torch.rand(2, 3, 32, 32, dtype=torch.float64), process.degradation

    def a(t):
        return degradation(x, torch.tensor(t, dtype=torch.float64))

    t, s, delta = 0.6, 0.5, 0.04
    expected = {
        "look_ahead": a(s) - a(t),
        "small_look_ahead": 2.5 * (a(t - delta) - a(t)),
        "look_back": a(t) - a(t + 0.1),
        "small_look_back": 2.5 * (a(t) - a(t + delta)),
        "exact_look_back": -0.1 * (a(t + 1e-6) - a(t - 1e-6)) / 2e-6,
    }
    for name, value in expected.items():
        estimate = INCREMENTS[name](2 * delta)(process, x, a(t), t, s, x)
        assert torch.allclose(estimate, value, atol=1e-5), name
    for name, value in {"look_back": a(0.9) - a(1.0), "small_look_back": 2.5 * (a(1.0 - delta) - a(1.0))}.items():
        first = INCREMENTS[name](2 * delta)(process, x, a(1.0), 1.0, 0.9, x)
        assert torch.allclose(first, value, atol=1e-5), name


def ode_error(steps, **options):
    """Return the largest error of the iterates of the ODE for Gaussian pixels and a mask.

    In the closed-form solution, (y_t - m_t mean) / std_t is constant over t.
    """
    process = StochasticDegradation(GaussianInpainting(LinearSeverity(20, 60), 16), GeometricNoise(0.05, 0.3))
    oracle, mean, std = GaussianOracle(process, 0.5, 0.2), 0.5, 0.2
    generator = torch.Generator().manual_seed(1)
    quantiles = torch.randn(8, 1, 16, 16, dtype=torch.float64, generator=generator)

    def quantile(t):
        mask = process.mean(torch.ones(1, 1, 16, 16, dtype=torch.float64), t)
        return mask * mean + quantiles * (mask**2 * std**2 + process.sigma(t, mask) ** 2).sqrt()

    start = options.get("t_start", 1.0)
    if "increment" in options:
        options["increment"] = INCREMENTS[options["increment"]](1 / steps)
    sampler = ReverseSampler(steps, eta=0.0, **options)
    states = list(sampler.states(process, oracle, quantile(start), ImageNoise(range(8)), output="iterate"))
    assert states[-1].t == 0
    return max((state.y - quantile(state.t)).abs().max().item() for state in states)


ORDERS = [
    *(({"increment": name}, 1) for name in INCREMENTS),
    ({"t_start": 0.7}, 1),
    ({"solver": Heun()}, 2),
    ({"solver": Heun(), "t_start": 0.7}, 2),
    ({"solver": Heun(), "grid": PowerGrid(1.5)}, 2),
    ({"solver": Heun(), "grid": AdaptiveGrid([0, 0.4, 0.7, 1])}, 2),
]


@pytest.mark.parametrize(
    ("options", "order"), ORDERS, ids=[f"{i}_order_{order}" for i, (_, order) in enumerate(ORDERS)]
)
def test_order_of_convergence_on_the_ode(options, order):
    errors = [ode_error(steps, **options) for steps in (24, 48, 96)]
    observed = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert errors[-1] < (0.03 if order == 1 else 1e-3)
    assert abs(observed[-1] - order) < 0.3


def test_an_exact_increment_network_equals_look_ahead_for_linear_degradations():
    process = StochasticDegradation(DEGRADATIONS["inpainting"](32), GeometricNoise())
    x = torch.rand(3, 3, 32, 32)
    oracle = FiniteDataOracle(process, x)

    def network(process, y, t, s):
        assert t.shape == s.shape == () and s < t
        return process.mean(oracle(y, t), s)

    a = trajectory(process, x, num_steps=5, increment=NetworkIncrement(network))[-1].y
    assert torch.allclose(a, trajectory(process, x, num_steps=5)[-1].y, atol=1e-5)


def test_heun_needs_two_calls_per_step(process):
    x = torch.rand(1, 3, 32, 32)
    denoiser = Constant(x)
    states = trajectory(process, x, num_steps=2, solver=Heun(), eta=0.0, denoiser=denoiser)
    assert denoiser.calls == [1.0, 0.5, 0.5, 0.0] and [s.nfe for s in states] == [1, 3, 4]
    assert [s.nfe_for("iterate") for s in states] == [0, 2, 4]


# times and measurements


def test_grids():
    assert ReverseSampler(4, grid=PowerGrid(2.0)).times() == [1.0, 0.5625, 0.25, 0.0625, 0.0]
    assert ReverseSampler(4).times(t_stop=0.5) == [1.0, 0.75, 0.5]
    assert ReverseSampler(4).times(t_stop=0.4) == [1.0, 0.75, 0.5]
    assert ReverseSampler(4, t_start=0.5).times() == [0.5, 0.375, 0.25, 0.125, 0.0]
    adaptive = AdaptiveGrid([0, 0.1, 0.8, 1])
    assert ReverseSampler(3, grid=adaptive).times() == pytest.approx([1.0, 0.8, 0.1, 0.0])
    assert ReverseSampler(6, grid=adaptive).times() == pytest.approx([1.0, 0.9, 0.8, 0.45, 0.1, 0.05, 0.0])
    assert ReverseSampler(4, t_start=0.5).times(t_stop=0.9) == [0.5]


def test_a_measurement_of_an_earlier_time_is_restored_from_t_start(process):
    x, noise = torch.rand(4, 3, 32, 32), ImageNoise(range(4))
    y = process.measure(x, noise.normal(x.shape[1:]), 0.6)
    states = list(ReverseSampler(50, t_start=0.6).states(process, FiniteDataOracle(process, x), y, noise))
    assert states[0].t == 0.6 and torch.equal(states[0].y, y)
    assert (states[-1].x_hat - x).abs().max() < 1e-2
    assert (states[-1].y - x).square().mean().item() == pytest.approx(0.01**2, rel=0.1)


def test_missing_noise_of_a_measurement_is_added():
    process = StochasticDegradation(DEGRADATIONS["inpainting"](32), GeometricNoise(0.01, 0.05))
    x, noise = torch.rand(32, 3, 32, 32), ImageNoise(range(32))
    clean = process.mean(x, 1.0)
    y = clean + 0.02 * torch.randn_like(x)
    sampler = ReverseSampler(3, sigma=0.02)
    first = next(sampler.states(process, Constant(x), y, noise))
    assert (first.y - clean).std().item() == pytest.approx(0.05, rel=0.02)
    assert ((first.y - y) * (y - clean)).mean().abs() < 1e-5
    with pytest.raises(ValueError, match=r"sigma=0\.1: must be at most the noise of the model at t = 1, 0\.05 "):
        ReverseSampler(3, sigma=0.1).run(process, Constant(x), y, noise)


@pytest.mark.parametrize("step", [Euler(), Exponential()])
def test_noise_scale_does_not_change_the_drift(process, step):
    x = torch.rand(1, 3, 32, 32)
    without, half, whole, plain = (
        trajectory(process, x, denoiser=Constant(x), solver=step, **({} if scale is None else {"noise_scale": scale}))
        for scale in (0, 0.5, 1, None)
    )
    for a, b, c, d in zip(without, half, whole, plain, strict=True):
        assert torch.equal(c.y, d.y)
        assert torch.allclose(b.y - a.y, (c.y - a.y) / 2, atol=1e-6)
    assert (whole[5].y - without[5].y).std() > 0.01
    assert not ReverseSampler(noise_scale=0).is_stochastic(process) and ReverseSampler().is_stochastic(process)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_sampling_restarts_from_the_first_x_hat(process, eta):
    x, denoiser = torch.rand(1, 3, 32, 32), Constant(torch.rand(1, 3, 32, 32))
    first, second, *_ = states = trajectory(process, x, num_steps=5, denoiser=denoiser, t_restart=0.6, eta=eta)
    assert [s.t for s in states] == pytest.approx([1.0, 0.6, 0.45, 0.3, 0.15, 0.0])
    assert denoiser.calls == pytest.approx([1.0, 0.6, 0.45, 0.3, 0.15])
    noise = ImageNoise([0])
    assert torch.equal(first.y, process.measure(x, noise.normal(x.shape[1:])))
    assert torch.equal(second.y, process.sample(denoiser.image, 0.6, noise.normal(x.shape[1:])))
    assert ReverseSampler(5, eta=0, t_restart=0.6).is_stochastic(process)
    assert [s.t for s in trajectory(process, x, num_steps=5, denoiser=denoiser, t_restart=0.6, stop=0.7)] == [1.0]


def test_a_restart_is_conditioned_on_the_measurement(process):
    """The joint distribution of iterate and y_1 is that of training."""

    class ConditionedConstant(Constant):
        condition_on_measurement = True

        def condition_on(self, process, measurement):
            return self

    x, t = torch.full((1, 3, 32, 32), 0.3), 0.6
    wide = StochasticDegradation(process.degradation, process.noise, process.sigma(1.0, x).item() / 2)
    for current in (process, wide):
        states = ReverseSampler(5, t_restart=t, eta=0).states(
            current, ConditionedConstant(x), y_1 := current.measure(x, torch.randn_like(x)), ImageNoise([7])
        )
        y = [state.y for state in states][1]
        trained = current.sample_joint(x, t, torch.randn_like(x), z := torch.randn_like(x))
        noise, expected = (y - current.mean(x, t)), (trained - current.mean(x, t))
        assert noise.std().item() == pytest.approx(expected.std().item(), rel=0.1)
        weight = (noise * (y_1 - current.mean(x, 1.0))).mean() / (y_1 - current.mean(x, 1.0)).square().mean()
        sigma_y = current.sigma_of_measurement(x)
        assert weight.item() == pytest.approx((expected * sigma_y * z).mean().item() / sigma_y.item() ** 2, abs=0.05)
