"""Kill a training run at random times, resume it, and compare it bitwise with an uninterrupted run.

Arguments: number of kills, number of processes (1 or 2), overrides of the training run.
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
    "data.val_images=16",
    "data.test_images=2",
    "sampler.num_steps=5",
    "callbacks.last.every_n_steps=5",
    "model.network.dropout=0.1",
    "model.network.channels=8",
]
COMPARED = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step", "epoch")


def begin(folder: Path, overrides: list[str]) -> subprocess.Popen[bytes]:
    """Start or resume the run in a new session."""
    arguments = [*SHORT, *overrides, f"hydra.run.dir={folder}", "ckpt_path=auto"]
    command = [sys.executable, "-m", "diracdiff", "train", *arguments]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)


def killed(folder: Path, overrides: list[str], delay: float) -> bool:
    """Kill a training run `delay` seconds after it wrote its configuration. Return False if it finished before."""
    process, config = begin(folder, overrides), folder / "config.yaml"
    before = config.stat().st_mtime if config.exists() else 0.0
    while process.poll() is None and (config.stat().st_mtime if config.exists() else 0.0) == before:
        time.sleep(0.02)
    time.sleep(delay)
    if alive := process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def bits(a: Any, b: Any) -> int:
    """Count the differing bits of tensors and the differing other values."""
    if isinstance(a, torch.Tensor):
        one, other = (t.contiguous().view(-1).view(torch.uint8) for t in (a, b))
        return int(sum(((one ^ other) >> i & 1).sum() for i in range(8)))
    if isinstance(a, dict):
        return len(a.keys() ^ b.keys()) + sum(bits(a[key], b[key]) for key in a.keys() & b.keys())
    if isinstance(a, list | tuple):
        return abs(len(a) - len(b)) + sum(map(bits, a, b))
    return int(a != b)


def differing(one: Path, other: Path) -> int:
    """Count the differing bits and cells in checkpoints and logs of two runs, without times."""
    count = 0
    for name in ("last.ckpt", "best.ckpt"):
        a, b = (torch.load(folder / name, weights_only=True) for folder in (one, other))
        count += sum(bits(a[key], b[key]) for key in COMPARED)
    for name in ("metrics.csv", "tradeoff.csv"):
        a, b = ([row | {"seconds": ""} for row in read_rows(folder / name)] for folder in (one, other))
        count += bits(a, b)
    return count


def main(kills: int, processes: int, overrides: list[str]) -> None:
    """Train once without kills, then train with kills, and compare all runs with the first one."""
    overrides += ["trainer=ddp", "trainer.devices=2"] if processes == 2 else []
    for folder in FOLDER.glob(f"{processes}_*"):
        shutil.rmtree(folder)
    whole, generator, start = FOLDER / f"{processes}_whole", random.Random(0), time.monotonic()
    if begin(whole, overrides).wait():
        raise SystemExit("the run without kills failed")
    duration, kill_count, runs, count = time.monotonic() - start, 0, 0, 0
    while kill_count < kills:
        runs += 1
        parts = FOLDER / f"{processes}_{runs}"
        while kill_count < kills and killed(parts, overrides, generator.uniform(0, duration / 4)):
            kill_count += 1
            last = parts / "last.ckpt"  # must be loadable if it exists
            step = torch.load(last, weights_only=True)["global_step"] if last.exists() else 0
            print(f"kill {kill_count}: last.ckpt of run {runs} is of step {step}", flush=True)
        if begin(parts, overrides).wait():
            raise SystemExit("a resumed run failed")
        count += differing(whole, parts)
    print(f"{processes} process(es), {kill_count} kills in {runs} run(s): {count} bits differ")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
