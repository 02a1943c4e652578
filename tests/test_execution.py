"""Execution of networks: compilation, bfloat16, activation checkpointing, accumulation and caching."""

import copy
import shutil

import numpy as np
import pytest
import torch
from conftest import run_here
from PIL import Image
from pytorch_lightning.callbacks import Callback
from test_training import make, trainer

from diracdiff.degradations import GaussianBlur, LinearSeverity
from diracdiff.evaluation.measurement import training_batch
from diracdiff.models import Denoiser, DnCNN, NCSNpp, OperatorPreconditioning
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.utils.seeds import DEGRADATION, step_seed

DEEP = dict(channels=8, multipliers=[1, 1, 2], blocks=2, attention_levels=[1], dropout=0.2)


def gradients(network, y, level):
    torch.manual_seed(3)
    network.zero_grad()
    network(y, level).square().mean().backward()
    return [p.grad.clone() for p in network.parameters()]


def test_checkpointed_activations_save_fewer_tensors_and_give_the_same_gradient():
    plain, y, level = NCSNpp(**DEEP), torch.rand(2, 3, 32, 32), torch.tensor([0.01, 0.05])
    other = copy.deepcopy(plain)
    other.checkpoint_activations = True
    saved = []
    for network in (plain, other):
        tensors = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=tensors: kept.append(t) or t, lambda t: t):
            network(y, level)
        saved.append(sum(tensor.nbytes for tensor in tensors))
    assert saved[1] < 0.6 * saved[0]
    assert all(torch.equal(a, b) for a, b in zip(gradients(plain, y, level), gradients(other, y, level), strict=True))
    with torch.no_grad():
        assert torch.equal(plain.eval()(y, level), other.eval()(y, level))


def test_images_are_restored_in_bfloat16(tmp_path, run, image_folder):
    options = [f"checkpoint={run[1]}/best.ckpt", f"input={image_folder}/05.png", "degrade=true", "target=t:0.5"]
    for precision in ("32-true", "bf16-mixed"):
        assert run_here(tmp_path, "restore", *options, f"precision={precision}", f"output={precision}") == 0
    files = [tmp_path / precision / "05.png" for precision in ("32-true", "bf16-mixed")]
    full, half = (torch.from_numpy(np.asarray(Image.open(file), dtype=np.float32)) for file in files)
    assert full.shape == half.shape and (full - half).abs().max() <= 8


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_network_agrees_up_to_rounding():
    network = DnCNN(3, 4).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
        y, level, names = torch.rand(2, 3, 8, 8), torch.tensor([0.01, 0.05]), list(network.state_dict())
        plain = network(y, level)
        network.compile()
        assert torch.allclose(network(y, level), plain, atol=1e-5) and list(network.state_dict()) == names


class Seen(torch.nn.Module):
    """Network that records its input and the output of its convolution."""

    image_channels, multiple, conditions, images = 3, 1, 1, 2

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(6, 3, 1)

    def forward(self, y, level):
        self.inputs, self.output = y.detach().clone(), self.convolution(y)
        return self.output


def conditional(size=32):
    process = StochasticDegradation(GaussianBlur(LinearSeverity(0.3, 8.0), size), GeometricNoise(0.01, 0.05))
    denoiser = Denoiser(Seen(), preconditioning=OperatorPreconditioning(3.0))
    x = torch.rand(2, 3, size, size)
    y_1 = process.measure(x, torch.randn_like(x))
    return process, denoiser, y_1, process.sample(x, 0.5, torch.randn_like(x))


def test_scales_are_computed_in_full_precision_under_autocast():
    process, denoiser, y_1, y = conditional()
    t = torch.tensor(0.5)
    plain, inputs = denoiser(process, y, t, measurement=y_1), denoiser.network.inputs
    with torch.autocast("cpu", torch.bfloat16):
        mixed = denoiser(process, y, t, measurement=y_1)
        assert torch.equal(denoiser.condition_on(process, y_1)(y, t), mixed)
    assert denoiser.network.output.dtype == torch.bfloat16 and mixed.dtype == torch.float32
    assert torch.equal(denoiser.network.inputs, inputs)
    assert 0 < (mixed - plain).abs().max() < 0.02
    denoiser.autocast = torch.bfloat16
    assert torch.equal(denoiser(process, y, t, measurement=y_1), mixed)


@pytest.mark.parametrize("t", [torch.tensor(0.7), torch.tensor([1.0, 0.2])])
def test_conditioning_once_gives_bitwise_equal_results(t):
    process, denoiser, y_1, y = conditional()
    expected, conditioned = denoiser(process, y, t, measurement=y_1), denoiser.condition_on(process, y_1)
    assert torch.equal(conditioned(y, t), expected) and torch.equal(conditioned(y, t), expected)
    assert not torch.equal(denoiser.condition_on(process, 1 - y_1)(y, t), expected)


class Steps(Callback):
    """Record the images of every batch and the gradients before every optimiser step."""

    def __init__(self):
        self.images, self.gradients = [], []

    def on_train_batch_start(self, trainer, module, batch, index):
        self.images.append(batch["x"].clone())

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.gradients.append([p.grad.clone() for p in module.denoiser.parameters()])


def test_accumulated_gradients_are_the_mean_over_batches(tmp_path, image_folder):
    module, data = make(image_folder, dropout=0.0)
    denoiser, steps = copy.deepcopy(module.denoiser), Steps()
    options = {"accumulate_grad_batches": 2, "limit_train_batches": 4, "limit_val_batches": 0}
    short = trainer(tmp_path, steps, epochs=1, **options)
    short.fit(module, data)
    assert short.global_step == len(steps.gradients) == 2 and len(steps.images) == 4
    process = module.restorer.process
    for part, x in enumerate(steps.images[:2]):
        batch = training_batch(process, x, step_seed(0, DEGRADATION, 0, part, 0))
        (module.loss(process, denoiser(process, batch.y, batch.t), batch.x, batch.t) / 2).backward()
    for parameter, gradient in zip(denoiser.parameters(), steps.gradients[0], strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-7)
