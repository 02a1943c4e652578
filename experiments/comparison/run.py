"""Train all methods with networks of equal size, equal data and an equal number of steps, and compare them.

`python -m experiments.comparison.run --root FLOWERS --tasks deblur --seeds 0` trains missing networks, resumes
interrupted runs, and writes `runs/experiments/comparison/results.csv`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from diracdiff.utils.files import write_rows
from experiments.common import RUNS, run

FOLDER = RUNS / "comparison"
TASKS = {
    "deblur": ["task=deblur", "schedule=linear", "task.severity=[0.3,8]"],
    "inpaint": ["task=inpaint"],
    "super_resolution": ["task=super_resolution"],
}
OT_ODE = ["sampler.bridge.beta_max=1", "sampler.bridge.ot_ode=true"]
I2SB = {"deblur": OT_ODE, "inpaint": OT_ODE, "super_resolution": ["sampler.bridge.beta_max=0.3"]}
"""Published settings of I2SB for each task."""

WITH_PRIOR = ("pnp_admm", "ddrm", "dps", "diffpir", "pigdm")
TRAINED = ("regression", "pmrf", "i2sb", "indi", "palette")
METHODS = ("measurement", "admm_tv", *WITH_PRIOR, *TRAINED)
"""Methods of the table. Dirac is always included."""

LENGTH = ["data.batch_size=16", "trainer.max_epochs=18", "trainer.check_val_every_n_epoch=18", "threads=1"]
"""18 epochs of 2,223 photographs: 2,484 steps of 16 images."""

MEASURED = ["metrics=[psnr,ssim,lpips,swd,residual_noise,consistency]"]
COMPARED = ["tune_for=[psnr,lpips]", "tune_images=32", "test_images=96"]


def run_folder(task: str, method: str, seed: int) -> Path:
    """Return the folder of a training run; the prior does not depend on the task."""
    return FOLDER / (f"prior_{seed}" if method == "prior" else f"{task}_{method}_{seed}")


def settings(task: str, method: str, seed: int) -> list[str]:
    """Return the overrides of a training run, except data and length."""
    return {
        "ours": TASKS[task],
        "prior": ["task=prior"],
        "pmrf": ["task=pmrf", f"regression={run_folder(task, 'regression', seed) / 'best.ckpt'}"],
        "i2sb": ["experiment=i2sb", *TASKS[task], *I2SB[task]],
    }.get(method, [f"experiment={method}", *TASKS[task]])


def networks(methods: list[str]) -> list[str]:
    """Return the networks that Dirac and the methods need, in the order of their training."""
    needed = {"ours"} | ({"prior"} if set(methods) & set(WITH_PRIOR) else set()) | (set(methods) & set(TRAINED))
    needed |= {"regression"} if "pmrf" in methods else set()
    return [name for name in ("ours", "prior", *TRAINED) if name in needed]


def compare(task: str, seed: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare the methods on a task, and return the rows of the table with intervals."""
    checkpoints = {name: run_folder(task, name, seed) / "best.ckpt" for name in networks(arguments.methods)}
    keys = {"ours": "checkpoint", "prior": "prior", "regression": "regression", "pmrf": "flow"}
    options = [f"{keys.get(name, f'baseline.{name}.method.checkpoint')}={path}" for name, path in checkpoints.items()]
    methods = [*arguments.methods, "pnp_admm_dncnn"] if arguments.scico else arguments.methods
    output, rows = FOLDER / f"table_{task}_{seed}", f"baseline=[{','.join(methods)}]"
    data = ["data=folder", f"data.root={arguments.root}"]
    options += [f"dncnn={arguments.scico}"] if arguments.scico else []
    run("compare", *options, rows, *data, *MEASURED, *COMPARED, f"output={output}", *arguments.compare)
    return [cells(task, seed, row) for row in json.loads((output / "comparison.json").read_text())["rows"]]


def cells(task: str, seed: int, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of results: values and the ends of their 95 % intervals, or None for too few images."""
    intervals = row.pop("interval")
    values = {"task": task, "seed": seed} | row | {"setting": json.dumps(row["setting"])}
    for key, ends in intervals.items():
        values[f"{key}_low"], values[f"{key}_high"] = ends or (None, None)
    return values


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of photographs with train, val and test")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--scico", help="SCICO's dncnn17M.mpk, which adds the row pnp_admm_dncnn")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of the training runs")
    names = ("ours", "prior", *TRAINED)
    parser.add_argument("--train", nargs="+", choices=names, help="train only these networks, and do not compare")
    parser.add_argument("--overrides", nargs="*", default=[], help="further overrides of diracdiff train")
    parser.add_argument("--compare", nargs="*", default=[], help="further overrides of diracdiff compare")
    arguments = parser.parse_args()
    data = ["data=folder", f"data.root={arguments.root}", f"data.image_size={arguments.size}"]
    data += ["data.val_images=64", "data.test_images=96"]
    rows = []
    for seed in arguments.seeds:
        for task in arguments.tasks:
            for name in arguments.train or networks(arguments.methods):
                folder = run_folder(task, name, seed)
                if not (folder / "summary.json").exists():
                    overrides = [*settings(task, name, seed), *data, *LENGTH, *MEASURED, *arguments.overrides]
                    run("train", *overrides, f"seed={seed}", f"hydra.run.dir={folder}", "ckpt_path=auto")
            if not arguments.train:
                rows += compare(task, seed, arguments)
                write_rows(FOLDER / "results.csv", rows)
                print(f"written: {FOLDER / 'results.csv'}")


if __name__ == "__main__":
    main()
