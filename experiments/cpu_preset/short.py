"""Compare training settings at equal CPU seconds, by PSNR on validation images.

The benchmark measures the CPU time of a training step of every variant. Each variant then runs as many steps as fit
into the given seconds. Load on the machine affects the duration, but not the number of steps.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from diracdiff.checkpoints import Checkpoint
from diracdiff.utils.files import append_rows
from experiments.common import RUNS, run

ADAM, MUON = "optimizer=adam_cosine", "optimizer=muon_cosine"
VARIANTS = {
    "Adam": [ADAM],
    "batch 4": [ADAM, "data.batch_size=4"],
    "batch 16": [ADAM, "data.batch_size=16"],
    "lr 1e-3": [ADAM, "optimizer.lr=1e-3"],
    "lr 4e-3": [ADAM, "optimizer.lr=4e-3"],
    "12 channels": [ADAM, "model.network.channels=12"],
    "a level less": [ADAM, "model.network.multipliers=[1,1,2,2]"],
    "Muon, lr 0.01": [MUON, "optimizer.muon_lr=0.01"],
    "Muon, lr 0.02": [MUON, "optimizer.muon_lr=0.02"],
    "Muon, lr 0.03": [MUON, "optimizer.muon_lr=0.03"],
}
FOLDER = RUNS / "cpu_preset"


def costs(rounds: int = 3) -> dict[str, float]:
    """Return the CPU seconds of a training step of every variant: the minimum over several rounds.

    Stored costs are reused. New costs are scaled by the cost of the first variant, which is measured again.
    """
    file, stored = FOLDER / "costs.json", {}
    if file.exists():
        stored = json.loads(file.read_text())
    if missing := {name: shape(overrides) for name, overrides in VARIANTS.items() if name not in stored}:
        first, table, minimum = next(iter(VARIANTS)), FOLDER / "cost.json", {}
        for _ in range(rounds):
            for arguments in dict.fromkeys([shape(VARIANTS[first]), *missing.values()]):
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.run",
                    "--measure",
                    "training",
                    "--output",
                    str(table),
                    *arguments,
                ]
                subprocess.run(command, check=True)
                rows = json.loads(table.read_text())["rows"]
                step = next(row["seconds"][1] for row in rows if row["name"] == "training, whole step")
                minimum[arguments] = min(step, minimum.get(arguments, step))
        unit = stored.get(first, minimum[shape(VARIANTS[first])]) / minimum[shape(VARIANTS[first])]
        stored |= {name: unit * minimum[arguments] for name, arguments in missing.items()}
        file.write_text(json.dumps(stored, indent=1))
    return stored


def shape(overrides: list[str]) -> tuple[str, ...]:
    """Return the benchmark arguments that affect the cost of a step."""
    return tuple(
        o.replace("data.batch_size", "--batch") for o in overrides if o.startswith(("data", "model", "optimizer="))
    )


def train(name: str, task: str, seed: int, steps: int, overrides: list[str]) -> dict[str, float]:
    """Train for a number of steps, and return metrics of validation and test."""
    folder = FOLDER / f"{name.replace(',', '').replace(' ', '_')}_{task}_{seed}_{steps}"
    if not (folder / "summary.json").exists():
        batch = next((int(o.split("=")[1]) for o in overrides if o.startswith("data.batch_size=")), 8)
        length = [
            f"data.crops_per_epoch={steps * batch}",
            "trainer.max_epochs=1",
            "trainer.check_val_every_n_epoch=1",
        ]
        measured = ["metrics=[psnr,swd]", "trainer.enable_progress_bar=false"]
        run(
            "train",
            f"task={task}",
            f"seed={seed}",
            "model.inputs=whitened",
            *length,
            *measured,
            *overrides,
            f"hydra.run.dir={folder}",
        )
    curve = [row for row in Checkpoint.read(folder / "best.ckpt").curve if row["output"] == "x_hat"]
    test = json.loads((folder / "summary.json").read_text())
    return {
        "val_psnr": max(row["psnr"] for row in curve),
        "val_swd": min(row["swd"] for row in curve),
        "test_psnr": test["do"]["psnr"],
    }


def main() -> None:
    """Train the selected variants, and append a row for each to the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=160, help="CPU seconds of training steps")
    parser.add_argument("--steps", type=int, help="number of steps, instead of --seconds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=["deblur", "inpaint"])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--output", type=Path, default=FOLDER / "short.csv")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for task in arguments.tasks:
            for name in arguments.variants:
                steps = arguments.steps or round(arguments.seconds / costs()[name])
                row = {"variant": name, "task": task, "seed": seed, "steps": steps}
                row |= train(name, task, seed, steps, VARIANTS[name])
                append_rows(arguments.output, [row])
                print(*row.values(), sep="\t", flush=True)


if __name__ == "__main__":
    main()
