"""CRPS, coverage and energy distance of samples, compared with closed forms and exact posteriors."""

import math

import pytest
import torch
from test_checkpoints import restorer

from diracdiff.baselines import Baseline, Measurement
from diracdiff.comparison import Runner, load_or_measure
from diracdiff.comparison.methods import BaselineMethod, DiracMethod
from diracdiff.comparison.table import Table
from diracdiff.evaluation.posterior import SAMPLE_METRICS, coverage, crps, energy_distance
from diracdiff.metrics import PSNR
from diracdiff.utils.pixels import from_pixels

NORMAL = torch.distributions.Normal(0.0, 1.0)


def test_crps_of_gaussian_samples_has_the_closed_form():
    """Gneiting and Raftery 2007, Eq. 21, for clean values at z standard deviations s from the mean."""
    s, z = 0.2, torch.tensor([0.0, 0.7, -2.0])
    clean = (0.5 + s * z).reshape(3, 1, 1, 1).expand(3, 1, 150, 150)
    exact = s * (z * (2 * NORMAL.cdf(z) - 1) + 2 * NORMAL.log_prob(z).exp() - 1 / math.sqrt(math.pi))
    for count in (2, 3, 9):  # the fair estimator does not depend on the number of samples
        assert torch.allclose(crps(0.5 + s * torch.randn(count, *clean.shape), clean), exact, atol=0.003)


def posterior(images, count, scale=1.0, shift=0.0, pixels=40):
    """Return posterior samples of Gaussian pixels with scaled standard deviation and shifted mean."""
    prior, sigma = 0.25, 0.2
    clean = 0.5 + prior * torch.randn(images, 1, pixels, pixels)
    y = clean + sigma * torch.randn_like(clean)
    gain = prior**2 / (prior**2 + sigma**2)
    std = sigma * math.sqrt(gain)
    mean = 0.5 + gain * (y - 0.5)
    return mean + shift * std + scale * std * torch.randn(count, *clean.shape), clean, std


def test_the_posterior_has_the_smallest_crps_and_nominal_coverage():
    samples, clean, std = posterior(20, 8)
    best = crps(samples, clean).mean().item()
    assert best == pytest.approx(std / math.sqrt(math.pi), rel=0.01)
    assert coverage(samples, clean).mean().item() == pytest.approx(0.9, abs=0.005)
    for scale, shift in ((0.5, 0.0), (2.0, 0.0), (1.0, 0.7), (0.0, 0.0)):
        samples, clean, _ = posterior(20, 8, scale, shift)
        assert crps(samples, clean).mean().item() > 1.05 * best
        assert abs(coverage(samples, clean).mean().item() - 0.9) > 0.01


def test_crps_of_equal_samples_is_the_absolute_error():
    images, clean = torch.rand(2, 2, 3, 8, 8)
    assert torch.allclose(crps(images.expand(5, *images.shape), clean), (images - clean).abs().mean((1, 2, 3)))


def test_energy_distance_of_gaussians_has_the_closed_form():
    """The closed form uses E |N(m, 2)|. Equal channels do not change the distance."""
    shift = 1.5
    x, s = torch.randn(2000, 1, 1, 1), shift + torch.randn(2, 2000, 1, 1, 1)
    m = torch.tensor(shift / math.sqrt(2))
    between = math.sqrt(2) * (2 * NORMAL.log_prob(m).exp() + m * (2 * NORMAL.cdf(m) - 1)).item()
    exact = 2 * (between - 2 / math.sqrt(math.pi))
    assert energy_distance(s, x) == pytest.approx(exact, rel=0.1)
    assert energy_distance(s.expand(2, 2000, 3, 1, 1), x.expand(2000, 3, 1, 1)) == pytest.approx(exact, rel=0.1)


def test_energy_distance_is_zero_only_for_the_posterior():
    """The expectation is zero for any number of images."""
    values = torch.tensor([energy_distance(*posterior(5, 3, pixels=2)[:2]) for _ in range(500)])
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean()) < 3 * error < 0.01
    means = torch.tensor([energy_distance(*posterior(5, 3, 0.0, pixels=2)[:2]) for _ in range(500)])
    assert means.mean() > 5 * error
    assert math.isnan(energy_distance(*posterior(1, 2)[:2]))


def test_bad_shapes_and_too_few_samples_are_refused():
    clean = torch.rand(2, 3, 8, 8)
    for measure in (crps, coverage):
        with pytest.raises(ValueError, match=r"samples: must be at least 2 per image, got 1"):
            measure(clean[None], clean)
    for measure in (crps, coverage, energy_distance):
        with pytest.raises(ValueError, match=r"samples: must be \(K, B, C, H, W\).*got \(2, 3, 8, 8\)"):
            measure(clean, clean)


class Drawing(Baseline):
    """Method that adds white noise to the measurement."""

    def restore(self, y, operator, sigma, prior, noise):
        return y + 0.1 * noise.normal(y.shape[1:], y.dtype)


STOP = "x_hat t=0.5"


@pytest.mark.parametrize("stop", [STOP, ""])
def test_samples_do_not_depend_on_the_batch(tmp_path, stop):
    """The first sample is the restoration in the table."""
    module = restorer()
    module.sampler = module.sampler.replace(num_steps=2, eta=1.0)
    frozen = load_or_measure(tmp_path / "y.pt", [{"x": torch.rand(3, 3, 16, 16), "name": [*"abc"]}], module.process, 0)
    contender = (
        DiracMethod("dirac", {}, 0, module) if stop else BaselineMethod("m", {}, 0, lambda _: Drawing(), module.process)
    )

    def run(size, samples):
        runner = Runner(tmp_path / "parts", module.process, [PSNR()], size, samples=samples)
        return runner.run(contender, {}, frozen, "", {stop})

    single, batch, plain = run(1, 3), run(3, 3), run(3, 0)
    for name in ("crps", "coverage_90"):
        values = [[row[name] for row in result.rows_at(stop)] for result in (single, batch)]
        assert values[0] == pytest.approx(values[1], abs=1e-5) and len(set(values[0])) == 3
    distances = [result.score(SAMPLE_METRICS[2], stop, 0) for result in (single, batch)]
    assert distances[0] == pytest.approx(distances[1], abs=1e-4)
    pixels = batch.features["energy_distance"][stop]
    assert (pixels.float().std(1).mean((1, 2, 3)) > 0.01).all()
    assert [row["psnr"] for row in plain.rows] == [row["psnr"] for row in batch.rows]
    assert "crps" not in plain.rows[0] and all(row["crps"] is None for row in batch.rows if row["stop"] != stop)


def test_samples_of_a_method_without_randomness_are_equal(tmp_path):
    """Their row in the table has intervals."""
    module = restorer()
    clean = [{"x": torch.rand(8, 3, 16, 16), "name": [*"abcdefgh"]}]
    frozen = load_or_measure(tmp_path / "y.pt", clean, module.process, 0)
    runner = Runner(tmp_path / "parts", module.process, [PSNR()], 5, samples=4)
    result = runner.run(BaselineMethod("m", {}, 0, lambda _: Measurement(), module.process), {}, frozen, "", {""})
    errors = (frozen.y.clamp(0, 1) - from_pixels(frozen.clean)).abs().mean((1, 2, 3))
    assert [row["crps"] for row in result.rows] == pytest.approx(errors.tolist(), abs=1e-6)
    row = Table([PSNR(), *SAMPLE_METRICS]).add("m", None, {}, "", result, 0)
    low, high = row["interval"]["crps"]
    assert low < row["crps"] < high and row["interval"].keys() == {"psnr", "crps", "coverage_90"}
    expected = energy_distance(frozen.y.clamp(0, 1)[None], from_pixels(frozen.clean))
    assert row["energy_distance"] == pytest.approx(expected, abs=1e-3)
