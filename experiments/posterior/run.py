"""Train networks on equal numbers of images, compare methods, and measure quality over NFE.

Arguments are overrides of the data set and the trainer. Existing results are reused.
"""

import json
import sys
from pathlib import Path
from typing import Any

from diracdiff.utils.files import write_rows
from experiments.common import RUNS, panels, run, save

FOLDER = RUNS / "posterior"
TASKS = ("inpaint", "deblur")
VARIANTS = {
    "posterior": ["method=posterior"],
    "uniform times": ["method=posterior", "task.prob_terminal=0"],
    "not given the measurement": ["method=posterior", "model.condition_on_measurement=false"],
    "not preconditioned": ["method=paper", "model.condition_on_measurement=true", "task.prob_terminal=0.75"],
    "more noise": ["method=posterior", "schedule.noise.sigma_max=0.2", "task.measurement_sigma=0.05"],
    "paper": ["method=paper"],
}
"""Variants of Dirac. The first one is compared with other methods and has a second seed."""
SECOND = "seed 1"
APART = "more noise"
"""Variant whose measurements differ from the others by rounding, so that its rows are not paired."""
OPTIMIZER = "optimizer=adam_cosine"
INPUTS = "model.inputs=whitened"
"""Default of the published results."""
LIMITS = ["data.val_images=64", "data.test_images=16"]
BASELINES = "measurement,ddrm,diffpir,pigdm,regression,pmrf"
SHORTER = ["baseline.diffpir.method.num_steps=50", "baseline.pigdm.method.num_steps=50"]
SAMPLERS = {
    "euler": ["sampler/solver=euler"],
    "exponential": ["sampler/solver=exponential"],
    "multistep": ["sampler/solver=multistep"],
    "fast": ["sampler=fast"],
    "sde": ["sampler/solver=exponential", "sampler.eta=1"],
}
CALLS = (6, 8, 12, 20, 100)
STOPS = {"dirac_do": "DO", "dirac_po": "PO"}
COLUMNS = ("calls", "psnr", "ssim", "lpips_squeeze", "swd", "fid_squeezenet", "consistency")


def trainings(task: str) -> dict[str, list[str]]:
    """Return {name: overrides} of the networks of a task. Networks follow those that they depend on."""
    first = {f"{name} {task}": [f"task={task}", *overrides] for name, overrides in VARIANTS.items()}
    second = {f"posterior {task} {SECOND}": [*first[f"posterior {task}"], "seed=1"]}
    for end, seed in (("", []), (f" {SECOND}", ["seed=1"])):
        regression = f"regression {task}{end}"
        second[regression] = ["experiment=regression", f"task={task}", *seed]
        second[f"pmrf {task}{end}"] = ["task=pmrf", f"regression={checkpoint(regression)}", *seed]
    return first | second


def folder_of(name: str) -> Path:
    """Return the folder of a network."""
    return FOLDER / name.replace(" ", "_")


def checkpoint(name: str) -> Path:
    """Return the checkpoint of a training run."""
    return folder_of(name) / "best.ckpt"


def train(arguments: list[str]) -> None:
    """Train missing networks."""
    runs = {"prior": ["task=prior"]} | {name: o for task in TASKS for name, o in trainings(task).items()}
    for name, overrides in runs.items():
        if not checkpoint(name).exists():
            run("train", OPTIMIZER, INPUTS, *LIMITS, *arguments, *overrides, f"hydra.run.dir={folder_of(name)}")


def exact(name: str, arguments: list[str]) -> Path:
    """Return a checkpoint with the exponential solver and stopping times tuned on validation images."""
    tuned = folder_of(name) / "exponential.ckpt"
    if not tuned.exists():
        options = [
            "split=val",
            "sampler/solver=exponential",
            "data.val_images=64",
            f"output={folder_of(name) / 'tuned'}",
        ]
        options += [f"save_tuned={tuned}", "if_exists=overwrite"]
        run("evaluate", *arguments, f"checkpoint={checkpoint(name)}", *options)
    return tuned


def compare(task: str, data: list[str]) -> list[dict[str, Any]]:
    """Return the rows of the table of a task: Dirac, ablations, other methods, and the second seed."""
    first, *ablations = VARIANTS
    tables = [_table(f"{name} {task}", data, "measurement") for name in ablations if name != APART]
    end = f"{task} {SECOND}"
    others = [f"regression={checkpoint(f'regression {end}')}", f"flow={checkpoint(f'pmrf {end}')}"]
    tables.append(_table(f"{first} {end}", data, "measurement,regression,pmrf", *others))
    others = [f"prior={checkpoint('prior')}", f"regression={checkpoint(f'regression {task}')}"]
    others += [f"flow={checkpoint(f'pmrf {task}')}", *SHORTER]
    rows = json.loads((_table(f"{first} {task}", data, BASELINES, *others) / "comparison.json").read_text())["rows"]
    for folder in [*tables, _table(f"{APART} {task}", data, "measurement")]:
        for row in json.loads((folder / "comparison.json").read_text())["rows"]:
            rows.append(row | {"method": f"{row['method']} ({folder.name})"})
    return [row for row in rows if not row["method"].startswith("measurement (")]


def _table(name: str, data: list[str], baselines: str, *more: str) -> Path:
    """Compare a Dirac network with other methods, and return the folder of results."""
    folder = FOLDER / f"table_{name.replace(' ', '_')}"
    common = [*data, "tune_for=[psnr,lpips]", "tune_images=32", "test_images=200", "fid=squeezenet"]
    options = [f"checkpoint={exact(name, data)}", f"baseline=[{baselines}]", f"output={folder}"]
    run("compare", *common, *options, *more)
    return folder


def over_calls(task: str, data: list[str]) -> list[dict[str, Any]]:
    """Return metrics at DO and PO for all samplers and numbers of steps, with stopping times of validation images."""
    rows = []
    for sampler, overrides in SAMPLERS.items():
        for steps in CALLS:
            folder = FOLDER / f"calls_{task}" / f"{sampler}_{steps}"
            options = [*data, *overrides, f"sampler.num_steps={steps}", "if_exists=overwrite", "data.val_images=64"]
            summary = folder / "test" / "evaluation.json"
            if not summary.exists():
                network, tuned = f"checkpoint={checkpoint(f'posterior {task}')}", folder / "tuned.ckpt"
                run("evaluate", *options, network, "split=val", f"save_tuned={tuned}", f"output={folder / 'val'}")
                more = ["data.test_images=200", f"output={folder / 'test'}"]
                run("evaluate", *options, f"checkpoint={tuned}", *more)
            results = json.loads(summary.read_text())
            for stop in ("one_shot", "do", "po"):
                entry = results[stop]
                cells = {key: entry[key] for key in COLUMNS if key in entry}
                rows.append({"task": task, "sampler": sampler, "steps": steps, "stop": stop, "t": entry["t"]})
                rows[-1] |= {"calls": entry["nfe"], **cells}
    return rows


def named(method: str, task: str) -> str:
    """Return the name of a row, which may belong to another comparison."""
    base, _, table = method.partition(" (table_")
    origin = table.removesuffix(")").replace("_", " ").replace(f" {task}", "") or next(iter(VARIANTS))
    if base in STOPS:
        return f"{origin}, {STOPS[base]}"
    return f"{base}, {SECOND}" if table else base


def cells(task: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of results.csv: metrics and their intervals."""
    values = {"task": task, "method": named(row["method"], task)} | {key: row.get(key) for key in COLUMNS}
    for key, bounds in (row.get("interval") or {}).items():
        low, high = bounds or (None, None)
        values |= {f"{key}_low": low, f"{key}_high": high}
    return values


def draw(rows: list[dict[str, Any]]) -> None:
    """Plot LPIPS at PO over the number of steps."""
    figure, axes = panels(len(TASKS))
    for axis, task in zip(axes, TASKS, strict=True):
        for sampler in SAMPLERS:
            selected = [row for row in rows if (row["task"], row["sampler"], row["stop"]) == (task, sampler, "po")]
            axis.plot(
                [row["steps"] for row in selected], [row["lpips_squeeze"] for row in selected], "o-", label=sampler
            )
        axis.set(title=task, xlabel="number of sampling steps", ylabel="LPIPS (squeeze) at PO", xscale="log")
        axis.legend()
    save(figure, "posterior")


def main(arguments: list[str]) -> None:
    """Train networks, compare methods, and evaluate samplers."""
    train(arguments)
    data = [argument for argument in arguments if argument.startswith(("data=", "data.root="))]
    write_rows(FOLDER / "results.csv", [cells(task, row) for task in TASKS for row in compare(task, data)])
    rows = [row for task in TASKS for row in over_calls(task, data)]
    write_rows(FOLDER / "calls.csv", rows)
    draw(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
