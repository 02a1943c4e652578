"""Train variants of the network's inputs and of the training times on photographs, and measure what the eye sees.

`python -m experiments.inputs.run --root FLOWERS --tasks super_resolution --variants whitened estimate --seeds 0`
trains what has not been trained yet, resumes what was interrupted, and writes `runs/experiments/inputs/results.csv`.
"""

import argparse
import json

from diracdiff.utils.files import write_rows
from experiments.common import RUNS, run

FOLDER = RUNS / "inputs"
TASKS = {
    "deblur": ["task=deblur", "schedule=linear", "task.severity=[0.3,8]"],
    "inpaint": ["task=inpaint"],
    "super_resolution": ["task=super_resolution"],
}
ESTIMATE = ["model.inputs=estimate", "model.interpolate=false"]
VARIANTS = {
    "whitened": ["model.interpolate=false"],
    "whitened_uniform": ["model.interpolate=false", "task.share_at_end=0"],
    "interpolated": [],
    "estimate": ESTIMATE,
    "estimate_uniform": [*ESTIMATE, "task.share_at_end=0"],
    "estimate_40": [*ESTIMATE, "task.share_at_end=0.4"],
    "estimate_down": [*ESTIMATE, "task.share_at_end=[0.75,0]"],
    "estimate_up": [*ESTIMATE, "task.share_at_end=[0,0.75]"],
    "regression": [*ESTIMATE, "experiment=regression"],
}
"""The default method with other inputs, and other fractions of the training at t = 1 (0.75 unless given).

A pair of fractions changes linearly from the first step to the last. `regression` is trained at t = 1 alone, and
restores in one step.
"""

LENGTH = ["loader.batch_size=16", "trainer.max_epochs=18", "trainer.check_val_every_n_epoch=18", "threads=1"]
"""Of 2,223 photographs: 2,484 steps of 16."""

MEASURED = ["metrics=[psnr,ssim,lpips,swd,residual_noise,seams,consistency]", "loader.val_images=64"]
STOPS = ("measurement", "one_shot", "do", "po", "swd")


def main() -> None:
    """Train and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of photographs with train, val and test")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--overrides", nargs="*", default=[], help="further overrides of diracdiff train")
    arguments = parser.parse_args()
    data = ["dataset=folder", f"dataset.root={arguments.root}", "dataset.image_size=64", "loader.test_images=96"]
    for seed in arguments.seeds:
        for task in arguments.tasks:
            for variant in arguments.variants:
                folder = FOLDER / f"{task}_{variant}_{seed}"
                if not (folder / "summary.json").exists():
                    words = [*TASKS[task], *data, *LENGTH, *MEASURED, *VARIANTS[variant], *arguments.overrides]
                    run("train", *words, f"seed={seed}", f"hydra.run.dir={folder}", "checkpoint=auto")
    rows = []
    for path in sorted(FOLDER.glob("*/summary.json")):
        summary = json.loads(path.read_text())
        for stop in STOPS:
            if found := summary.get(stop):
                values = {key: value for key, value in found.items() if key != "interval"}
                rows.append({"run": path.parent.name, "stop": stop, "n": summary["n"]} | values)
    write_rows(FOLDER / "results.csv", rows)
    print(f"written: {FOLDER / 'results.csv'}")


if __name__ == "__main__":
    main()
