"""Train the networks of the small table, and compare them.

Arguments are overrides of the data set and the trainer.
"""

import sys
from pathlib import Path

from experiments.common import RUNS, run

FOLDER = RUNS / "table1_small"
TASKS = ("deblur", "inpaint")
NETWORKS = {
    "prior": ["task=prior"],
    **{task: [f"task={task}", "method=paper"] for task in TASKS},
    **{f"regression_{task}": ["experiment=regression", "method=paper", f"task={task}"] for task in TASKS},
    "dncnn": ["experiment=dncnn", "data.image_size=32", "data.batch_size=4", "trainer.max_epochs=2"],
}
EPOCHS = ["trainer.max_epochs=16", "trainer.check_val_every_n_epoch=${trainer.max_epochs}"]
OPTIMIZER = "optimizer=adam_cosine"
LIMITS = ["data.val_images=64", "data.test_images=16"]
# On a CPU, DPS makes 100 instead of 1000 steps, which need a larger zeta. The others make 50 instead of 100 steps.
SHORTER = [
    "baseline.dps.method.num_steps=100",
    "baseline.dps.search.zeta=[0.5,1.0,2.0,3.0,5.0,7.0,10.0,15.0]",
    "baseline.diffpir.method.num_steps=50",
    "baseline.pigdm.method.num_steps=50",
]
METHODS = "measurement,admm_tv,pnp_admm,pnp_admm_dncnn,ddrm,dps,diffpir,pigdm,regression"


def checkpoint(name: str) -> Path:
    """Return the checkpoint of a training run."""
    return FOLDER / name / "best.ckpt"


def main(arguments: list[str]) -> None:
    """Train missing networks, and compare methods on both tasks."""
    for name, overrides in NETWORKS.items():
        if not checkpoint(name).exists():
            run("train", OPTIMIZER, *EPOCHS, *LIMITS, *arguments, *overrides, f"hydra.run.dir={FOLDER / name}")
    data = [argument for argument in arguments if argument.startswith(("data=", "data.root="))]
    for task in TASKS:
        run(
            "compare",
            *data,
            f"checkpoint={checkpoint(task)}",
            f"prior={checkpoint('prior')}",
            f"regression={checkpoint(f'regression_{task}')}",
            f"dncnn={checkpoint('dncnn')}",
            f"baseline=[{METHODS}]",
            *SHORTER,
            "tune_for=[psnr,lpips]",
            "test_images=200",
            "fid=squeezenet",
            f"output={FOLDER / f'comparison_{task}'}",
        )


if __name__ == "__main__":
    main(sys.argv[1:])
