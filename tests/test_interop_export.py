"""Exported networks equal the network in eager mode, alone and in the sampler."""

import pytest
import torch
from test_export import random_restorer

from diracdiff.interop.export import export_network, with_program


def images(count, height, width):
    return torch.rand(count, 3, height, width), torch.rand(count)


@pytest.fixture(scope="module")
def restorer():
    torch.manual_seed(0)
    return random_restorer()


@pytest.fixture(scope="module")
def program(restorer):
    return export_network(restorer.denoiser.train())


@torch.no_grad()
def test_a_dynamic_program_equals_the_network_at_all_sizes(restorer, program):
    assert restorer.denoiser.network.training, "the mode of the network must be restored"
    network, module = restorer.denoiser.network.eval(), program.module()
    for shape in ((1, 4, 8), (2, 16, 16), (3, 22, 12)):
        y, level = images(*shape)
        expected = network(y, level)
        assert expected.std() > 0.01
        torch.testing.assert_close(module(y, level), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_fixed_program_accepts_one_size(restorer):
    network, module = restorer.denoiser.network.eval(), export_network(restorer.denoiser, 8, 1).module()
    y, level = images(1, 8, 8)
    torch.testing.assert_close(module(y, level), network(y, level), rtol=0, atol=1e-5)
    for shape in ((2, 8, 8), (1, 16, 8)):
        with pytest.raises(AssertionError, match="Guard failed"):
            module(*images(*shape))


def test_the_sampler_runs_a_saved_program(restorer, program, tmp_path):
    torch.export.save(program, tmp_path / "network.pt2")
    denoiser = with_program(restorer.denoiser, torch.export.load(tmp_path / "network.pt2"))
    y = torch.rand(2, 3, 17, 20)  # sides that are not multiples of the network's
    expected = restorer.restore(y, "t=0")
    torch.testing.assert_close(restorer.replace(denoiser=denoiser).restore(y, "t=0"), expected, rtol=0, atol=1e-5)


def test_invalid_sizes_are_refused(restorer):
    for sizes, message in (((9,), "image_size=9: must be a multiple of 2"), ((8, 0), "batch_size")):
        with pytest.raises(ValueError, match=message):
            export_network(restorer.denoiser, *sizes)


@torch.no_grad()
def test_onnx(restorer, program, tmp_path):
    pytest.importorskip("onnxscript", reason="needs pip install onnxscript onnxruntime")
    runtime = pytest.importorskip("onnxruntime")
    torch.onnx.export(program.run_decompositions(), f=tmp_path / "network.onnx", verbose=False)
    session = runtime.InferenceSession(tmp_path / "network.onnx")
    for shape in ((1, 4, 8), (3, 22, 12)):
        y, level = images(*shape)
        (output,) = session.run(None, {"y": y.numpy(), "level": level.numpy()})
        expected = restorer.denoiser.network.eval()(y, level)
        torch.testing.assert_close(torch.from_numpy(output), expected, rtol=0, atol=1e-5)
