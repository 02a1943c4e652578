"""Degradations: Definition 3.1, closed forms, batching and derivatives."""

import math

import pytest
import torch
from conftest import SHARED, needs_shared
from scipy.ndimage import gaussian_filter1d

from diracdiff.degradations import (
    BoxInpainting,
    Degradation,
    GaussianBlur,
    GaussianInpainting,
    Identity,
    LinearSeverity,
    MotionBlur,
    TabulatedSeverity,
)

TIMES = torch.linspace(0, 1, 21, dtype=torch.float64)


def images(batch=3, size=32, dtype=torch.float64):
    return torch.rand(batch, 3, size, size, dtype=dtype)


def test_identity_at_zero(degradation):
    x = images()
    assert torch.allclose(degradation(x, 0.0), x, atol=1e-6)


def test_paper_blur_is_nearly_the_identity_at_zero_at_256_px():
    x = images(1, 256)
    error = (GaussianBlur(LinearSeverity(0.3, 3.0), 256)(x, 0.0) - x).abs().max()
    assert error < 4 * 2 * math.exp(-1 / (2 * 0.3**2))


@pytest.mark.parametrize("size", [31, 32])
def test_masks_hide_nothing_at_zero_for_even_and_odd_sizes(size):
    x = images(1, size)
    for family, start in ((GaussianInpainting, 0.1), (BoxInpainting, 0.0)):
        assert torch.allclose(family(LinearSeverity(start, 50.0), size)(x, 0.0), x, atol=1e-6)


def test_severity_grows_with_time(degradation):
    x = images(1).expand(len(TIMES), -1, -1, -1)
    distance = (degradation(x, TIMES) - x).square().flatten(1).sum(1)
    if isinstance(degradation, Identity):
        assert (distance == 0).all()
    else:
        assert (distance.diff() >= 0).all()
        assert (distance[TIMES >= 0.7].diff() > 0).all()


@pytest.mark.parametrize(("s", "t"), [(0.23, 0.41), (0.41, 0.97), (0.97, 1.0)])
def test_a_transition_maps_to_later_times(degradation, s, t):
    """A_t = G A_s for a matrix G. The norm of G is below 1.5 except for motion blur."""
    if not degradation.linear:
        pytest.skip("has a transition in closed form, which has its test")
    shape = (9, 12)
    units = torch.eye(math.prod(shape), dtype=torch.float64).unflatten(1, (1, *shape))
    early, late = (degradation(units, time).flatten(1).T for time in (s, t))
    transition = late @ torch.linalg.pinv(early, rtol=1e-11)
    assert torch.allclose(transition @ early, late, atol=1e-8)
    assert isinstance(degradation, MotionBlur) or torch.linalg.matrix_norm(transition, 2) < 1.5


def test_batched_times_equal_single_ones(degradation):
    x, t = images(5), torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64)
    singles = torch.cat([degradation(x[i : i + 1], t[i]) for i in range(5)])
    assert torch.allclose(degradation(x, t), singles, atol=1e-12)


def test_linear_with_an_adjoint_by_autograd(degradation):
    if not degradation.linear:
        pytest.skip("not linear")
    (x, v), t = (images().requires_grad_(), images()), torch.rand(3, dtype=torch.float64)
    y = degradation(x, t)
    assert torch.allclose(degradation(2 * x - v, t), 2 * y - degradation(v, t), atol=1e-12)
    (adjoint,) = torch.autograd.grad(y, x, v)
    assert torch.allclose((y * v).sum(), (x * adjoint).sum())


def test_derivative_in_time_matches_finite_differences(degradation):
    x, t, h = images(1), torch.tensor(0.6137, dtype=torch.float64), 1e-6
    _, derivative = torch.func.jvp(lambda s: degradation(x, s), (t,), (torch.ones_like(t),))
    difference = (degradation(x, t + h) - degradation(x, t - h)) / (2 * h)
    assert torch.allclose(derivative, difference, atol=1e-5)


def test_derivatives_are_finite_early_and_late_and_at_both_ends_of_the_range(degradation):
    x = images(2).round()
    x[1] = 0.5
    for time in (0.0, 0.05, 1.0):
        t = torch.full((2,), time, dtype=torch.float64)
        _, in_time = torch.func.jvp(lambda s: degradation(x, s), (t,), (torch.ones_like(t),))
        _, in_space = torch.func.jvp(lambda v, s=t: degradation(v, s), (x,), (torch.ones_like(x),))
        assert in_time.isfinite().all() and in_space.isfinite().all()


def test_any_shape_is_kept(degradation):
    for shape in ((1, 3, 7, 40), (2, 1, 33, 5), (1, 2, 1, 1)):
        x = images(1).new_ones(shape)
        assert degradation(x, torch.rand(shape[0], dtype=torch.float64)).isfinite().all()


def test_precision_survives_autocast(degradation):
    x = images(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = degradation(x, 0.7)
    assert inside.dtype == torch.float32 and torch.equal(inside, degradation(x, 0.7))


def test_lengths_scale_with_the_image_size_and_factors_do_not():
    class Fade(Degradation):
        in_pixels = False

        def apply(self, x, severity):
            return x * severity

    for size in (32, 256):
        box = BoxInpainting(LinearSeverity(0, 128), size)(torch.ones(1, 1, size, size), 1.0)
        assert (box == 0).float().mean() == 0.25
        assert Fade(LinearSeverity(1, 5), size)(torch.ones(1, 1, 2, 2), 0.5).unique().item() == 3


def test_an_operator_that_changes_the_shape_is_refused():
    class Halve(Degradation):
        def apply(self, x, severity):
            return x[..., ::2, ::2]

    with pytest.raises(ValueError, match=r"Halve.apply: must keep .* x, \(1, 3, 8, 6\), got \(1, 3, 4, 3\)"):
        Halve(LinearSeverity(0, 1))(torch.rand(1, 3, 8, 6), 0.5)


@pytest.mark.parametrize(("size", "std"), [(64, 0.6), (256, 2.5)])
def test_blur_equals_scipy_with_reflection(size, std):
    x = images(2, size)
    blur = GaussianBlur(LinearSeverity(std * 256 / size, std * 256 / size), size)
    expected = x.numpy()
    for axis in (2, 3):
        expected = gaussian_filter1d(expected, std, axis=axis, mode="mirror", radius=blur.radius)
    assert torch.allclose(blur(x, 1.0), torch.from_numpy(expected), atol=2e-6)


def test_blur_keeps_constants_on_any_shape():
    x = torch.full((2, 3, 20, 37), 0.37, dtype=torch.float64)
    assert torch.allclose(GaussianBlur(LinearSeverity(0.3, 30), 256)(x, torch.tensor([0.2, 1.0])), x)


def test_blur_support_is_61_pixels_at_256():
    x = torch.zeros(1, 1, 256, 256)
    x[..., 128, 128] = 1
    assert len(GaussianBlur(LinearSeverity(30, 30), 256)(x, 1.0)[0, 0, 128].nonzero()) == 61


@pytest.mark.parametrize("family", [GaussianInpainting, BoxInpainting])
def test_masks_lie_between_zero_and_one(family):
    x = torch.ones(len(TIMES), 1, 33, 40, dtype=torch.float64)
    mask = family(LinearSeverity(0.0, 200.0), 33)(x, TIMES)
    assert mask.min() >= 0 and mask.max() <= 1 and mask[-1].min() < 1e-3


def test_gaussian_mask_has_the_published_form():
    mask = GaussianInpainting(LinearSeverity(50, 50), 256)(torch.ones(1, 1, 256, 256, dtype=torch.float64), 1.0)
    u, v = 100 - 127.5, 90 - 127.5
    assert mask[0, 0, 100, 90].item() == pytest.approx((1 - math.exp(-(u**2 + v**2) / (2 * 50**2))) ** 4)


def test_the_mask_can_be_centred_on_a_pixel_as_in_the_authors_code():
    mask = GaussianInpainting(LinearSeverity(50, 50), 256, centre=0.0)(torch.ones(1, 1, 256, 256), 1.0)[0, 0]
    assert mask[128, 128] == 0 and mask[128, 100] == mask[156, 128] and mask[127, 127] > 0
    with pytest.raises(ValueError, match="must lie"):
        GaussianInpainting(LinearSeverity(0, 1), centre=2)


def test_box_is_continuous_in_time():
    x = torch.ones(2001, 1, 32, 32, dtype=torch.float64)
    masks = BoxInpainting(LinearSeverity(0, 128), 32)(x, torch.linspace(0, 1, 2001, dtype=torch.float64))
    assert masks.diff(dim=0).abs().max() < 0.02


def test_tabulated_severity_interpolates_and_is_differentiable():
    severity = TabulatedSeverity([0, 0.5, 1], [0, 1, 4])
    t = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], requires_grad=True)
    severity(t).sum().backward()
    assert severity(t).tolist() == [0, 0.5, 1, 2.5, 4]
    assert t.grad[1] == 2 and t.grad[3] == 6


@needs_shared
def test_bundled_table_is_the_published_one():
    published = TabulatedSeverity.from_csv(SHARED / "data" / "published-blur-schedule.csv")
    assert TabulatedSeverity.from_csv("published_blur").values == published.values


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        ("t,std\n0,1\n0.5,2\n", "increase from 0 to 1"),
        ("t,std\n0,1\n0.5,3\n1,2\n", "must not decrease"),
        ("t,std\n0,1\n0.5,nan\n1,2\n", "must be finite"),
        ("t,std\n0,1\n0.5\n1,2\n", "must be a table"),
        ("t,std\n0,one\n1,2\n", "must be a table"),
    ],
)
def test_bad_tables_are_refused(tmp_path, rows, rule):
    path = tmp_path / "table.csv"
    path.write_text(rows)
    with pytest.raises(ValueError, match=rule):
        TabulatedSeverity.from_csv(path)
