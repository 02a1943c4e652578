"""Muon: orthogonalised steps for convolutions, Adam for the rest."""

import pytest
import torch
from torch import nn

from diracdiff.training import Optimization
from diracdiff.training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (24, 24)])
def test_orthogonal_keeps_singular_vectors_and_equalises_singular_values(shape):
    matrices = torch.randn(3, *shape, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ orthogonalise(matrices) @ vh.mT  # diagonal for equal singular vectors
    lengths = inner.diagonal(dim1=1, dim2=2)
    assert (inner - torch.diag_embed(lengths)).abs().max() < 1e-9
    assert lengths.min() > 0.3 and lengths.max() < 1.3
    assert torch.allclose(orthogonalise(matrices.float()).double(), orthogonalise(matrices), atol=1e-4)


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 3, 3)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def gradients(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_other_parameters_are_updated_by_adam():
    module_muon, module_adam = network(), network()
    optimizer, adam = (
        Muon(module_muon.parameters(), 0.01, 2e-3),
        torch.optim.Adam(module_adam.parameters(), 2e-3, fused=True),
    )
    for step in range(3):
        for module, stepped in ((module_muon, optimizer), (module_adam, adam)):
            gradients(module, step)
            stepped.step()
    same = {
        name: torch.equal(p, dict(module_adam.named_parameters())[name]) for name, p in module_muon.named_parameters()
    }
    assert [name for name, equal in same.items() if not equal] == ["0.weight", "3.weight"]


def test_a_step_of_a_convolution_has_the_norm_of_the_learning_rate():
    module = network()
    before = module[3].weight.detach().clone()
    optimizer = Muon(module.parameters(), 0.01, 2e-3)
    gradients(module, 0)
    optimizer.step()
    lengths = torch.linalg.svdvals((before - module[3].weight.detach()).flatten(1)) / (0.01 * (16 / 8) ** 0.5)
    assert lengths[0] < 1.3 and lengths[7] > 0.3  # 8 of 16 rows are independent


def test_both_learning_rates_follow_one_schedule():
    module = network()
    optimization = Optimization(2e-3, warmup_steps=1, decay="cosine", muon_lr=0.01)
    built = optimization.build(module.parameters(), lambda: 4)
    optimizer, scheduler = built["optimizer"], built["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(4):
        rates.append([group["lr"] for group in optimizer.param_groups])
        gradients(module, 0)
        optimizer.step()
        scheduler.step()
    assert [adam / muon for adam, muon in rates] == pytest.approx([0.2] * 4)
    assert [muon for _, muon in rates] == pytest.approx([0.005, 0.008536, 0.005, 0.001464], rel=1e-3)
    assert scheduler.get_last_lr() == pytest.approx([0, 0], abs=1e-9)
    endless = Optimization(decay="cosine").build(module.parameters(), lambda: float("inf"))["lr_scheduler"]["scheduler"]
    with pytest.raises(ValueError, match=r"needs a finite run"):
        endless.step()


def test_a_learning_rate_must_be_positive():
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"muon_lr=.*: must be positive"):
            Optimization(muon_lr=rate)
