"""Train variants of network inputs and training times on photographs, and evaluate them.

`python -m experiments.inputs.run --root FLOWERS --tasks super_resolution --variants whitened estimate --seeds 0`
trains missing networks, resumes interrupted runs, and writes `runs/experiments/inputs/results.csv`. `--samplers` also
evaluates every network with other samplers, after tuning their stopping times on validation images.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from diracdiff.utils.files import write_rows
from experiments.common import RUNS, run

FOLDER = RUNS / "inputs"
TASKS = {
    "deblur": ["task=deblur", "schedule=linear", "task.severity=[0.3,8]"],
    "inpaint": ["task=inpaint"],
    "super_resolution": ["task=super_resolution"],
}
VARIANTS = {
    "whitened": ["model.inputs=whitened"],
    "whitened_uniform": ["model.inputs=whitened", "task.prob_terminal=0"],
    "estimate": [],
    "estimate_uniform": ["task.prob_terminal=0"],
    "estimate_40": ["task.prob_terminal=0.4"],
    "estimate_down": ["task.prob_terminal=[0.75,0]"],
    "estimate_up": ["task.prob_terminal=[0,0.75]"],
    "regression": ["experiment=regression"],
}
"""The default method with other inputs, and other fractions of training images at t = 1 (default: 0.75).

A pair of fractions changes linearly from the first step to the last. `regression` is trained at t = 1 only and restores
in one step.
"""

LENGTH = ["data.batch_size=16", "trainer.max_epochs=18", "trainer.check_val_every_n_epoch=18", "threads=1"]
"""18 epochs of 2,223 photographs: 2,484 steps of 16 images."""

MEASURED = ["metrics=[psnr,ssim,lpips,swd,residual_noise,seams,consistency]", "data.val_images=64"]
STOPS = ("measurement", "one_shot", "do", "po")
SAMPLERS = {
    "exponential": ["sampler/solver=exponential"],
    "exponential_sde": ["sampler/solver=exponential", "sampler.eta=1"],
    "euler_sde": ["sampler.eta=1"],
    "fast": ["sampler=fast"],
}
"""Alternatives to the default, 20 Euler steps of the ODE."""


def measure_sampler(folder: Path, sampler: str, data: list[str]) -> None:
    """Tune the stopping times of a trained network for another sampler, and evaluate it in a subfolder."""
    output, arguments = folder / sampler, [*data, MEASURED[0], *SAMPLERS[sampler]]
    tuned = output / "tuned.ckpt"
    if not tuned.exists():
        validation = [f"output={output / 'val'}", "if_exists=overwrite", "split=val", "data.val_images=64"]
        run("evaluate", f"checkpoint={folder / 'best.ckpt'}", f"save_tuned={tuned}", *validation, *arguments)
    if not (output / "evaluation.json").exists():
        run("evaluate", f"checkpoint={tuned}", f"output={output}", "if_exists=overwrite", "times=stopping", *arguments)


def rows_of(summary: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a row of results for each stopping time of a summary."""
    rows = []
    for stop in STOPS:
        if entry := summary.get(stop):
            values = {key: value for key, value in entry.items() if key != "interval"}
            intervals = {f"{key}_95": f"{low:.4g} {high:.4g}" for key, (low, high) in entry.get("interval", {}).items()}
            rows.append({"run": name, "stop": stop, "n": summary["n"]} | values | intervals)
    return rows


def read(path: Path) -> dict[str, Any]:
    """Read a JSON file."""
    return dict(json.loads(path.read_text()))


def main() -> None:
    """Train and evaluate all variants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of photographs with train, val and test")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--samplers", nargs="+", default=[], choices=SAMPLERS)
    parser.add_argument("--overrides", nargs="*", default=[], help="further overrides of diracdiff train")
    arguments = parser.parse_args()
    data = ["data=folder", f"data.root={arguments.root}", "data.image_size=64", "data.test_images=96"]
    for seed in arguments.seeds:
        for task in arguments.tasks:
            for variant in arguments.variants:
                folder = FOLDER / f"{task}_{variant}_{seed}"
                if not (folder / "summary.json").exists():
                    overrides = [*TASKS[task], *data, *LENGTH, *MEASURED, *VARIANTS[variant], *arguments.overrides]
                    run("train", *overrides, f"seed={seed}", f"hydra.run.dir={folder}", "ckpt_path=auto")
                for sampler in arguments.samplers if (folder / "best.ckpt").exists() else ():
                    measure_sampler(folder, sampler, data)
    rows = [row for path in sorted(FOLDER.glob("*/summary.json")) for row in rows_of(read(path), path.parent.name)]
    for path in sorted(FOLDER.glob("*/*/evaluation.json")):
        if path.parent.name in SAMPLERS:
            rows += rows_of(read(path), f"{path.parent.parent.name}/{path.parent.name}")
    write_rows(FOLDER / "results.csv", rows)
    print(f"written: {FOLDER / 'results.csv'}")


if __name__ == "__main__":
    main()
