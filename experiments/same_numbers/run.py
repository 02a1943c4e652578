"""Run short commands of a working copy, and write hashes and values of their results to a JSON file.

`python experiments/same_numbers/run.py TREE OUT` uses the Python of TREE/.venv. Finished commands are not repeated.
`compare.py` compares two of these files.
"""

import argparse
import csv
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

SHORT = [
    *("trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "data.crops_per_epoch=480", "threads=1"),
    *("data.val_images=4", "data.test_images=4", "sampler.num_steps=6", "logger=csv"),
]
NOISE = ["schedule.noise.sigma_min=0.005", "schedule.noise.sigma_max=0.02", "data.recolour=true"]
TRAINED = {
    "deblur": ["task=deblur"],
    "inpaint": ["task=inpaint"],
    "prior": ["task=prior"],
    "regression": ["task=deblur", "experiment=regression"],
    "dncnn": ["experiment=dncnn"],
    "increment": ["task=deblur", "task.predict=increment", "method=paper"],
    "paper": ["task=deblur", "method=paper", "optimizer=adam_cosine"],
    "bundled_deblur": ["task=deblur", "schedule=linear", "task.severity=[0.3,6]", "experiment=local", *NOISE],
    "bundled_deblur_kernel": ["task=deblur_kernel", "experiment=local", *NOISE],
    "bundled_inpaint": ["task=inpaint_freeform", *NOISE],
    "bundled_super_resolution": ["task=super_resolution", "experiment=local", *NOISE],
    "pmrf": ["task=pmrf", "regression={out}/regression/best.ckpt"],
}
SAMPLED = {
    "default": [],
    **{f"step_{step}": [f"sampler/solver={step}"] for step in ("euler", "exponential", "heun", "multistep")},
    "sde": ["sampler/solver=euler", "sampler.eta=1.0", "sampler.noise_scale=0.7"],
    **{f"guidance_{guidance}": [f"sampler/guidance={guidance}"] for guidance in ("error", "std")},
    **{
        f"increment_{name}": ["sampler/solver=euler", f"sampler/increment={name}"]
        for name in ("look_ahead", "look_back", "small_look_ahead", "small_look_back")
    },
}
DEBLURRED = {
    "increment_exact": ["sampler/solver=euler", "sampler/increment=exact_look_back"],
    "increment_network": [
        *("sampler/solver=euler", "sampler/increment=network"),
        "sampler.increment.checkpoint={out}/increment/best.ckpt",
    ],
    "grid_power": ["sampler/grid=power"],
    "grid_adaptive": ["sampler/grid=adaptive", "sampler.grid.path={out}/times.csv"],
    "t_restart": ["sampler.t_restart=0.5"],
    "stochastic": ["sampler.eta=1.0"],
}
METHODS = "measurement,admm_tv,pnp_admm,pnp_admm_dncnn,ddrm,dps,diffpir,pigdm,regression,pmrf"
VARIES = ("second", "time_", "date", "version", "machine", "memory", "command", "path", "output", "checkpoint", "sha")
"""Substrings of the names of values that differ between runs of one working copy."""


def commands(images: Path) -> dict[str, list[str]]:
    """Return {name: arguments} of all commands. `images` is a folder of at least three degraded images."""
    result = {name: ["train", *opts, *SHORT, f"hydra.run.dir={{out}}/{name}"] for name, opts in TRAINED.items()}
    plans = {
        **{task: SAMPLED for task in ("deblur", "inpaint", "prior")},
        **{task: {"default": []} for task in TRAINED if task not in ("deblur", "inpaint", "prior", "pmrf", "dncnn")},
    }
    plans["deblur"] = SAMPLED | DEBLURRED
    for task, plan in plans.items():
        for name, overrides in plan.items():
            if task == "prior" and name.startswith(("guidance", "increment")):
                continue
            options = ["data.test_images=4", "sampler.num_steps=5", f"output={{out}}/evaluate_{task}_{name}"]
            options = [f"checkpoint={{out}}/{task}/best.ckpt", *options, *overrides]
            result[f"evaluate_{task}_{name}"] = ["evaluate", *options]
    trained = ["regression={out}/regression/best.ckpt", "flow={out}/pmrf/best.ckpt", "dncnn={out}/dncnn/best.ckpt"]
    limits = ["trials=2", "tune_images=2", "test_images=4", "dirac.search.num_steps=[4]", "output={out}/compare"]
    networks = ["checkpoint={out}/deblur/best.ckpt", "prior={out}/prior/best.ckpt", *trained]
    result["compare"] = ["compare", *networks, f"baseline=[{METHODS}]", *limits]
    for task in ("deblur", "bundled_deblur"):
        options = ["sampler.num_steps=5", "target=lpips", f"input={images}", f"output={{out}}/restore_{task}"]
        result[f"restore_{task}"] = ["restore", f"checkpoint={{out}}/{task}/best.ckpt", *options]
    result["schedule"] = ["schedule", "task=deblur", "dissimilarity=mse", "output={out}/schedule.csv"]
    return result


def run(tree: Path, out: Path, images: Path) -> None:
    """Run all unfinished commands with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    (out / "times.csv").write_text("u,t\n0,0\n0.25,0.1\n0.5,0.3\n0.75,0.6\n1,1\n")
    for name, arguments in commands(images).items():
        log = out / f"{name}.log"
        if log.exists() and log.read_text().endswith("finished\n"):
            continue
        filled = [argument.replace("{out}", str(out)) for argument in arguments]
        with log.open("w") as stream:
            python = [str(tree / ".venv/bin/python"), "-m", "diracdiff"]
            failed = subprocess.run(
                [*python, *filled], cwd=tree, env=environment, stdout=stream, stderr=stream
            ).returncode
            stream.write("" if failed else "finished\n")
        print(f"{name}: {'failed, see ' + str(log) if failed else 'finished'}", flush=True)


def flatten(prefix: str, value: Any, leaves: dict[str, Any]) -> None:
    """Add the leaves of nested dictionaries and lists to `leaves` under dotted names."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        leaves[prefix] = value
        return
    for key, part in items:
        if not any(text in str(key).lower() for text in VARIES):
            flatten(f"{prefix}.{key}", part, leaves)


def bits(tree: Path, out: Path) -> dict[str, Any]:
    """Return {name: value} with hashes of weights and images, and all values of tables and JSON files."""
    values: dict[str, Any] = {}
    for path in sorted(out.rglob("*.csv")):
        with path.open(newline="") as stream:
            flatten(f"{path.relative_to(out)}", list(csv.DictReader(stream)), values)
    for path in sorted(out.rglob("*.json")):
        flatten(f"{path.relative_to(out)}", json.loads(path.read_text()), values)
    for path in sorted(out.glob("restore_*/*.png")):
        values[f"{path.relative_to(out)}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    code = (
        "import sys, hashlib, diracdiff\n"
        "for path in sys.argv[1:]:\n"
        "    state = diracdiff.load(path).denoiser.state_dict().values()\n"
        "    tensors = sorted(str(tuple(x.shape)).encode() + x.contiguous().numpy().tobytes() for x in state)\n"
        "    print(path, hashlib.sha256(b''.join(tensors)).hexdigest())\n"
    )
    checkpoints = [str(path) for name in ("best", "last") for path in sorted(out.glob(f"*/{name}.ckpt"))]
    printed = subprocess.run(
        [str(tree / ".venv/bin/python"), "-c", code, *checkpoints], cwd=tree, check=True, capture_output=True, text=True
    )
    for line in printed.stdout.splitlines():
        path, digest = line.rsplit(" ", 1)
        values[f"weights of {Path(path).relative_to(out)}"] = digest
    return values


def main() -> None:
    """Run the commands, and write OUT/bits.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path, help="working copy with a .venv")
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--images", type=Path, required=True, help="folder of degraded images")
    arguments = parser.parse_args()
    tree, out = arguments.tree.resolve(), arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    run(tree, out, arguments.images.resolve())
    (out / "bits.json").write_text(json.dumps(bits(tree, out), indent=0))


if __name__ == "__main__":
    main()
