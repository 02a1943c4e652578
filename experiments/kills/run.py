"""Kill a training at random moments, let it go on, and compare it bit by bit with one that was not killed.

Arguments: how many kills, and how many processes train (1 or 2); overrides of the training may follow.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from diracdiff.utils.files import read_rows
from experiments.common import RUNS

FOLDER = RUNS / "kills"
SHORT = [
    "task=inpaint",
    "lpips=null",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "trainer.check_val_every_n_epoch=1",
    "trainer.limit_train_batches=40",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "loader.val_images=16",
    "loader.test_images=2",
    "sampler.steps=5",
    "callbacks.checkpoints.every_n_steps=5",
    "model.network.dropout=0.1",
    "model.network.channels=8",
]
COMPARED = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step", "epoch")


def begin(folder: Path, overrides: list[str]) -> subprocess.Popen[bytes]:
    """Start the training in a session of its own."""
    command = [sys.executable, "-m", "diracdiff", "train", *overrides, f"hydra.run.dir={folder}", "checkpoint=auto"]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)


def killed(folder: Path, overrides: list[str], delay: float) -> bool:
    """Train, and kill every process `delay` seconds after it has begun; whether it had not ended by then."""
    process, config = begin(folder, overrides), folder / "config.yaml"
    before = config.stat().st_mtime if config.exists() else 0.0
    while process.poll() is None and (config.stat().st_mtime if config.exists() else 0.0) == before:
        time.sleep(0.02)
    time.sleep(delay)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def bits(a: Any, b: Any) -> int:
    """How many bits, or values that are no tensors, differ."""
    if isinstance(a, torch.Tensor):
        one, other = (t.contiguous().view(-1).view(torch.uint8) for t in (a, b))
        return int(sum(((one ^ other) >> i & 1).sum() for i in range(8)))
    if isinstance(a, dict):
        return len(a.keys() ^ b.keys()) + sum(bits(a[key], b[key]) for key in a.keys() & b.keys())
    if isinstance(a, list | tuple):
        return abs(len(a) - len(b)) + sum(map(bits, a, b))
    return int(a != b)


def different(one: Path, other: Path) -> int:
    """Bits and lines in which two trainings differ."""
    count = 0
    for name in ("last.ckpt", "best.ckpt"):
        a, b = (torch.load(folder / name, weights_only=True) for folder in (one, other))
        count += sum(bits(a[key], b[key]) for key in COMPARED)
    curves = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(f / "tradeoff.csv")]
        for f in (one, other)
    ]
    return count + bits(*curves) + bits(*(read_rows(folder / "metrics.csv") for folder in (one, other)))


def main(kills: int, processes: int, more: list[str]) -> None:
    """Train once without kills, then as often as it takes with them."""
    overrides = [*SHORT, *(["trainer.strategy=ddp", "trainer.devices=2"] if processes == 2 else []), *more]
    whole, generator = FOLDER / f"{processes}_whole", random.Random(0)
    for folder in FOLDER.glob(f"{processes}_*"):
        shutil.rmtree(folder)
    start = time.monotonic()
    if begin(whole, overrides).wait():
        raise SystemExit(2)
    duration, done, trainings, differing = time.monotonic() - start, 0, 0, 0
    while done < kills:
        trainings += 1
        parts = FOLDER / f"{processes}_{trainings}"
        while done < kills and killed(parts, overrides, generator.uniform(0, duration / 4)):
            done += 1
            last = parts / "last.ckpt"
            step = torch.load(last, weights_only=True)["global_step"] if last.exists() else 0
            print(f"killed {done} times: last.ckpt of training {trainings} is of step {step}", flush=True)
        if begin(parts, overrides).wait():
            raise SystemExit(2)
        differing += different(whole, parts)
    print(f"{processes} process(es), {done} kills in {trainings} training(s): {differing} bits differ")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
