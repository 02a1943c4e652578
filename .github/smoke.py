"""Restore, save and load with a small untrained network. The workflow runs it where the tests were not run."""

import tempfile
from pathlib import Path

import torch

import diracdiff as dd

process = dd.StochasticDegradation(dd.GaussianBlur(dd.LinearSeverity(0.3, 3.0), image_size=32), dd.GeometricNoise())
network = dd.NCSNpp(channels=4, multipliers=[1, 2], blocks=1, attention_levels=[], dropout=0.0)
restorer = dd.Restorer(process, dd.Denoiser(network), dd.ReverseSampler(num_steps=4))
y = restorer.measure(torch.rand(2, 3, 32, 32)).y
with tempfile.TemporaryDirectory() as folder:
    restorer.save(Path(folder) / "restorer.ckpt")
    loaded = dd.load(Path(folder) / "restorer.ckpt")
restored = restorer.restore(y, target="t:0.5")
assert restored.shape == y.shape and restored.isfinite().all()
assert torch.equal(restored, loaded.restore(y, target="t:0.5"))
