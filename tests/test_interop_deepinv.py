"""Adapters for deepinv: adjoints, noise, denoisers in its algorithms, restorers in its test loop, its operators."""

import sys

import pytest
import torch
from conftest import DEGRADATIONS

from diracdiff import Denoiser, GeometricNoise, LinearSeverity, NCSNpp, Restorer
from diracdiff.baselines import DDRM, NetworkPrior
from diracdiff.degradations import FreeformInpainting, Identity, KernelBlur, MultiScaleSuperResolution, Operator
from diracdiff.degradations.svd import Mask
from diracdiff.metrics import PSNR
from diracdiff.models import OperatorPreconditioning
from diracdiff.oracles import GaussianPrior
from diracdiff.process import StochasticDegradation
from diracdiff.samplers import ImageNoise, ReverseSampler

deepinv = pytest.importorskip("deepinv", reason="needs the extra baselines: pip install 'diracdiff[baselines]'")
from deepinv.physics.functional.blur import gaussian_blur  # noqa: E402

from diracdiff.interop import deepinv as interop  # noqa: E402

SIZE = 32
PER_IMAGE = {
    "freeform_per_image": lambda size: FreeformInpainting(LinearSeverity(0.0, 1.0), size),
    "kernel_per_image": lambda size: KernelBlur(LinearSeverity(0.0, 1.0), size),
    "factor_per_image": lambda size: MultiScaleSuperResolution(LinearSeverity(0.0, 1.0), size),
}
LINEAR = {name: build for name, build in (DEGRADATIONS | PER_IMAGE).items() if build(SIZE).linear}


def process_of(degradation):
    return StochasticDegradation(degradation, GeometricNoise())


@pytest.mark.parametrize("t", [0.4, 1.0])
@pytest.mark.parametrize("name", LINEAR)
def test_physics_has_the_adjoint_of_every_linear_degradation(name, t):
    degradation, x = LINEAR[name](SIZE), torch.rand(2, 3, SIZE, SIZE)
    params = degradation.sample_params([3, 4], x)
    physics = interop.Physics(process_of(degradation), t, params)
    assert physics.adjointness_test(img_size=x.shape[1:], num_samples=2) < 1e-5
    assert torch.equal(physics.A(x), degradation.bind(params)(x, t))


def test_physics_adds_the_noise_of_a_measurement():
    process, x = process_of(DEGRADATIONS["blur"](SIZE)), torch.rand(16, 3, SIZE, SIZE)
    for t in (0.3, 1.0):
        physics = interop.Physics(process, t)
        noise = physics(x) - physics.A(x)
        assert noise.std().item() == pytest.approx(process.sigma(t, x).item(), rel=0.02)


def test_deepinv_changes_the_parameters_of_the_operator():
    degradation, x = PER_IMAGE["freeform_per_image"](SIZE), torch.rand(2, 3, SIZE, SIZE)
    params = degradation.sample_params([3, 4], x)
    physics = interop.Physics(process_of(degradation))
    unbound = physics.A(x)
    assert torch.equal(physics.A(x, params=params), degradation.bind(params)(x, 1.0))
    assert not torch.equal(physics.A(x), unbound)
    physics.update(params=params[:1])
    assert torch.equal(physics.A(x), degradation.bind(params[:1])(x, 1.0))


def test_other_degradations_and_times_are_refused():
    with pytest.raises(ValueError, match="ColourQuantisation is not linear"):
        interop.Physics(process_of(DEGRADATIONS["quantisation"](SIZE)))
    with pytest.raises(ValueError, match=r"t=1\.5: must lie in"):
        interop.Physics(process_of(DEGRADATIONS["blur"](SIZE)), 1.5)
    with pytest.raises(ValueError, match="no SVD in closed form"):
        interop.Physics(process_of(DEGRADATIONS["motion_blur"](SIZE))).decompose(torch.rand(1, 3, SIZE, SIZE))


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    denoiser = Denoiser(NCSNpp(8, [1], 1, [0]), "log_sigma", preconditioning="edm")
    return NetworkPrior(denoiser.requires_grad_(False), 0.005, 20.0)


def test_denoiser_takes_every_form_of_sigma(prior):
    denoiser, y = interop.Denoiser(prior), torch.rand(2, 3, SIZE, SIZE)
    expected = prior.denoiser.denoise(y, 0.2)
    levels = torch.tensor([0.2, 0.2])
    for sigma in (0.2, torch.tensor(0.2), levels, levels.reshape(2, 1, 1, 1), levels[:1], levels.double().numpy()):
        assert torch.equal(denoiser(y, sigma), expected)
    levels[1] = 0.7
    assert torch.equal(denoiser(y, levels)[1:], prior.denoiser.denoise(y[1:], 0.7))
    assert denoiser(y.double(), 0.2).dtype == torch.float64
    assert denoiser(y, 0.0).isfinite().all()


@pytest.mark.parametrize("method", ["DPIR", "DiffPIR", "DDRM", "DPS"])
def test_denoiser_works_in_algorithms_of_deepinv(prior, method):
    denoiser, x = interop.Denoiser(prior), torch.rand(2, 3, SIZE, SIZE)
    physics = interop.Physics(process_of(DEGRADATIONS["inpainting"](SIZE)))
    model = {
        "DPIR": lambda: deepinv.optim.DPIR(sigma=0.05, denoiser=denoiser),
        "DiffPIR": lambda: deepinv.sampling.DiffPIR(denoiser, deepinv.optim.L2(), sigma=0.05, max_iter=3),
        "DDRM": lambda: deepinv.sampling.DDRM(denoiser, sigmas=[1.0, 0.1, 0.0]),
        "DPS": lambda: deepinv.sampling.DPS(denoiser, num_steps=3),
    }[method]()
    y = physics(x)
    before = y.clone()
    restored = model(y, physics.decompose(x) if method == "DDRM" else physics)
    assert restored.shape == x.shape and restored.isfinite().all()
    assert torch.equal(y, before)


@pytest.mark.parametrize("name", ["blur", "freeform_per_image"])
def test_psnr_in_the_test_loop_of_deepinv_is_ours(name):
    torch.manual_seed(0)
    process = process_of(LINEAR[name](SIZE))
    restorer = Restorer(process, Denoiser(NCSNpp(8, [1], 1, [0])), ReverseSampler(3))
    x = torch.rand(4, 3, SIZE, SIZE)
    params = process.degradation.sample_params(range(4), x)
    physics = interop.Physics(process, params=params)
    y = physics(x)
    loader = torch.utils.data.DataLoader([{"x": a, "y": b} for a, b in zip(x, y, strict=True)], batch_size=4)
    model = interop.Reconstructor(restorer, "t:0.3")
    measured = deepinv.test(model, loader, physics, metrics=deepinv.loss.metric.PSNR(), verbose=False)
    bound = restorer.bind(params)
    ours = PSNR()(bound.restore(y, "t:0.3"), bound.reference(x, y)).mean().item()
    assert measured["PSNR"] == pytest.approx(ours, abs=1e-3)
    with pytest.raises(ValueError, match="must be the start time of the sampler"):
        model(y, interop.Physics(process, 0.5, params))


def inpainting(size=SIZE, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return deepinv.physics.Inpainting((3, size, size), mask=0.5, rng=rng)


def blur():
    return deepinv.physics.Blur(gaussian_blur(sigma=(2.0, 2.0)), padding="reflect")


@pytest.mark.parametrize("make", [inpainting, blur])
def test_a_physics_is_the_end_of_a_degradation(make):
    degradation, x = interop.PhysicsDegradation(LinearSeverity(0.0, 1.0), SIZE, make()), torch.rand(2, 3, SIZE, SIZE)
    target = make().A(x)
    assert torch.equal(degradation(x, 0.0), x) and torch.equal(degradation(x, 1.0), target)
    between = degradation(x, torch.tensor([0.25, 0.5]))
    assert torch.allclose(between[0], 0.75 * x[0] + 0.25 * target[0], atol=1e-6)
    assert torch.allclose(between[1], 0.5 * (x[1] + target[1]), atol=1e-6)
    assert interop.Physics(process_of(degradation), 0.6).adjointness_test(img_size=x.shape[1:]) < 1e-5
    svd = degradation.svd(x, torch.tensor([0.25, 0.5]))
    assert (svd is not None) == (make is inpainting)
    assert svd is None or torch.allclose(svd.u(svd.values * svd.vt(x)), between, atol=1e-6)


def test_inpainting_of_deepinv_can_be_preconditioned():
    process = process_of(interop.PhysicsDegradation(LinearSeverity(0.0, 1.0), SIZE, inpainting()))
    preconditioning = OperatorPreconditioning(3.0, "estimate")
    network = NCSNpp(8, [1], 1, [0], images=preconditioning.num_images(process, True))
    denoiser = Denoiser(network, "log_sigma", preconditioning=preconditioning, condition_on_measurement=True)
    restorer = Restorer(process, denoiser, ReverseSampler(2))
    x = torch.rand(2, 3, SIZE, SIZE)
    restored = restorer.restore(restorer.measure(x).y, "t:0")
    assert (restored - x).square().mean() < (restorer.measure(x).y - x).square().mean()


REFUSED = {
    "tomography": lambda: deepinv.physics.Tomography(angles=8, img_width=SIZE, normalize=True),
    "downsampling": lambda: deepinv.physics.Downsampling(img_size=(3, SIZE, SIZE), factor=2, filter=None),
    "k-space": lambda: deepinv.physics.MRI(img_size=(SIZE, SIZE)),
    "not normalised": lambda: deepinv.physics.Blur(2 * gaussian_blur(sigma=(2.0, 2.0)), padding="reflect"),
    "not linear": lambda: deepinv.physics.Haze(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_physics_are_refused_in_one_line(name):
    with pytest.raises(ValueError, match=r"^physics: ") as refused:
        interop.PhysicsDegradation(LinearSeverity(0.0, 1.0), SIZE, REFUSED[name]())
    assert "\n" not in str(refused.value)


def test_images_of_another_size_than_the_physics_are_refused():
    degradation = interop.PhysicsDegradation(LinearSeverity(0.0, 1.0), SIZE, inpainting())
    with pytest.raises(ValueError, match=r"is for images of \(3, 32, 32\), got \(3, 16, 16\)"):
        degradation(torch.rand(1, 3, 16, 16), 1.0)


def test_ddrm_is_that_of_deepinv_for_equal_noise(monkeypatch):
    """deepinv divides its noise by sqrt(2). With singular values above the noise level, the rules are equal."""
    sigmas, sigma, eta = [1.0, 0.4, 0.15, 0.06, 0.02], 0.05, 0.7
    x, values = torch.rand(2, 3, SIZE, SIZE).double(), 0.1 + 0.9 * torch.rand(1, 3, SIZE, SIZE).double()
    y = values * x + sigma * torch.randn_like(x)
    gaussian = GaussianPrior(0.2 * torch.eye(SIZE).double())
    gaussian.sigma_min, gaussian.sigma_max = 0.01, 1.0
    operator = Operator(Identity(), y)
    operator.svd = Mask(values)
    ours = DDRM(len(sigmas), eta, levels=lambda *_: sigmas)(y, operator, sigma, gaussian).images
    noise = ImageNoise(range(len(y)))
    draw = noise.normal
    monkeypatch.setattr(torch, "randn_like", lambda like: 2**0.5 * draw(like.shape[1:], like.dtype))
    physics = deepinv.physics.DecomposablePhysics(mask=values, noise_model=deepinv.physics.GaussianNoise(sigma))
    theirs = deepinv.sampling.DDRM(gaussian, sigmas=sigmas, eta=eta)(y.clone(), physics)
    assert (theirs - ours).abs().max() < 1e-4


def test_a_missing_deepinv_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepinv", None)
    monkeypatch.delitem(sys.modules, "diracdiff.interop.deepinv")
    with pytest.raises(ImportError, match=r"^deepinv: is not installed. Run pip install 'diracdiff\[baselines\]'.$"):
        import diracdiff.interop.deepinv  # noqa: F401
