"""Adapters to torchmetrics return the values of the evaluation, also over several processes."""

import subprocess
import sys

import pytest
import torch
from conftest import DEGRADATIONS, clean_environment, needs_lpips
from torchmetrics import MetricCollection

from diracdiff.evaluation import Evaluation
from diracdiff.interop.torchmetrics import MetricAdapter
from diracdiff.metrics import LPIPS, PSNR, SSIM, SWD, Consistency, Reference, ResidualNoise
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.samplers import State


def batches():
    """Batches of (clean, restored, reference). One image has no flat patch, and no residual noise."""
    process = StochasticDegradation(DEGRADATIONS["blur"](32), GeometricNoise(0.02, 0.1))
    for size in (3, 2):
        clean = torch.rand(size, 3, 32, 32)
        clean[1:] = clean[1:].mean((2, 3), keepdim=True)
        restored = clean + 0.1 * torch.randn(clean.shape)
        yield clean, restored, Reference(clean, process.measure(clean, torch.randn(clean.shape)), process)


@needs_lpips
def test_values_equal_the_evaluation(torch_home):
    metrics = [PSNR(), SSIM(), LPIPS(), SWD(), ResidualNoise(), Consistency()]
    evaluation = Evaluation(metrics)
    collection = MetricCollection({metric.name: MetricAdapter(metric) for metric in metrics})
    for i, (clean, restored, reference) in enumerate(batches()):
        state = State(0.0, restored, restored, 1, True)
        evaluation.add([f"{i}/{j}" for j in range(len(clean))], [0] * len(clean), [state], reference)
        collection.update(restored, reference)
    row = next(row for row in evaluation.finish() if row["output"] == "x_hat")
    computed = collection.compute()
    assert {metric.name: computed[metric.name].item() for metric in metrics} == pytest.approx(
        {metric.name: row[metric.name] for metric in metrics}, rel=1e-6
    )
    collection.reset()
    assert collection["psnr"].higher_is_better and not collection["swd"].higher_is_better


def test_metrics_with_equal_values_are_not_merged_by_a_collection():
    collection = MetricCollection({"a": MetricAdapter(ResidualNoise()), "b": MetricAdapter(Consistency())})
    clean, restored, reference = next(batches())
    flat = clean[1:]
    zero = Reference(flat, reference.process.mean(flat, 1.0), reference.process)
    collection.update(flat, zero)  # both metrics are zero
    collection.update(restored, reference)
    single = MetricAdapter(Consistency())
    single.update(flat, zero)
    single.update(restored, reference)
    assert collection.compute()["b"] == single.compute() > 0


def test_images_without_a_value_are_ignored():
    metric = MetricAdapter(ResidualNoise())
    clean, restored, reference = next(batches())
    metric.update(restored[:1], Reference(clean[:1], reference.measurement[:1], reference.process))
    assert metric.compute().isnan()
    metric.update(restored, reference)
    expected = ResidualNoise()(restored, reference)
    assert expected[0].isnan() and metric.compute().item() == pytest.approx(expected[1:].mean().item())


WORKER = """
import sys, torch, torch.distributed as dist
from diracdiff.interop.torchmetrics import MetricAdapter
from diracdiff.metrics import PSNR, SWD
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
generator = torch.Generator().manual_seed(0)
clean = torch.rand(5, 3, 16, 16, generator=generator)
restored = clean + 0.1 * torch.randn(clean.shape, generator=generator)
part = slice(0, 3) if rank == 0 else slice(3, 5)
for metric in (PSNR(), SWD()):
    whole, divided = (MetricAdapter(metric, sync_on_compute=sync) for sync in (False, True))
    whole.update(restored, clean)
    divided.update(restored[part], clean[part])
    assert torch.allclose(divided.compute(), whole.compute(), rtol=1e-6), metric.name
print("equal")
"""


def test_two_processes_compute_the_value_of_all_images(tmp_path):
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(tmp_path / "store")],
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for worker in workers:
        out, err = worker.communicate(timeout=240)
        assert worker.returncode == 0 and out == "equal\n", err
