"""What a training says: what begins, how far it is, what validation finds."""

import os
import re
from types import SimpleNamespace

from conftest import BRIEF, SMALL, run_here
from test_training import make, trainer

from diracdiff.training import Progress, progress


def test_lines_of_a_training(image_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "OFTEN", 0.0)
    monkeypatch.setattr(progress, "SHARE", 0.0)
    module, data = make(image_folder)
    trainer(tmp_path, Progress(tmp_path), epochs=2, limit_train_batches=3, log_every_n_steps=1).fit(module, data)
    lines = capsys.readouterr().out.splitlines()
    weights = sum(p.numel() for p in module.parameters()) / 1e6
    assert lines[:4] == [
        f"training restoration into {os.path.relpath(tmp_path)}",
        f"  network: NCSNpp, {weights:.2f} million weights, on cpu, 1 thread, 32-true",
        "  images: ImageFolder of 32 px, 20 to train on, 2 to validate, 2 to test",
        "  length: 6 steps of 4 images",
    ]
    steps = [line for line in lines if line.startswith("step ")]
    assert len(steps) == 6
    assert re.fullmatch(r"step 2 of 6, [\d.]+ images/s, loss [\d.]+, about \d+ s left", steps[1])
    assert re.fullmatch(r"validation after step 6: best PSNR [\d.]+ at t = [\d.]+", lines[-1])


def test_lines_become_rare(image_folder, tmp_path, monkeypatch, capsys):
    clock = iter(range(0, 10**6, 2))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    module, data = make(image_folder)
    trainer(tmp_path, Progress(tmp_path), epochs=40, limit_train_batches=5, limit_val_batches=0).fit(module, data)
    found = re.findall(r"^step (\d+) of 200", capsys.readouterr().out, re.MULTILINE)
    gaps = [b - a for a, b in zip(map(int, found), map(int, found[1:]), strict=False)]
    assert gaps[0] <= 3  # every five seconds, at two seconds a step
    assert 25 <= gaps[-1] <= 31  # every minute
    assert len(found) < 40


def test_a_log_file_has_whole_lines_and_no_bars(folder, tmp_path, capsys):
    assert run_here(tmp_path, "train", "task=deblur", *folder, *SMALL, *BRIEF, "lpips=null") == 0
    out = capsys.readouterr().out
    assert out.startswith("training deblur into runs/")
    assert "validation after step 4: best PSNR" in out
    assert "it/s" not in out and "\r" not in out
    assert "PSNR, SSIM higher is better" in out
