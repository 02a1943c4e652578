"""Train the bundled models and export them into the package.

`python -m experiments.models.make --only deblur` trains a model on photographs of scikit-image, and replaces the
bundled model. `--flowers` and `--wallpapers` add photographs. Interrupted runs resume, and trained models are only
exported.
"""

import argparse
from pathlib import Path

from diracdiff.checkpoints.locations import BUNDLED, WEIGHTS
from experiments.common import RUNS, run
from experiments.models.photographs import collect

FOLDER = RUNS / "models"
ABOUT = Path(__file__).with_name("about")
BATCH = 16
LARGEST = 2_500_000
"""Maximum size of the weights of a bundled model in bytes."""

RECOLOUR = "data.recolour=true"
LOCAL = ["experiment=local", "schedule.noise.sigma_min=0.005"]
SLIGHT = [*LOCAL, "schedule.noise.sigma_max=0.02", RECOLOUR]
WIDE = ["model.network.patch=2", "model.network.channels=64", "model.network.multipliers=[1,1]"]
WIDE += ["model.network.blocks=1"]
"""Network on patches of 2 x 2 pixels, with most channels at high resolution, for denoising."""

MODELS: dict[str, tuple[int, list[str]]] = {
    "denoise": (6000, ["task=denoise", *LOCAL, "schedule.noise.sigma_max=0.25", *WIDE]),
    "deblur": (9000, ["task=deblur_kernel", *SLIGHT, "task.prob_terminal=[0.5,0]"]),
    "inpaint": (6000, ["task=inpaint_freeform", *SLIGHT, "task.prob_terminal=[0.5,0]"]),
    "super_resolution": (6000, ["task=super_resolution_multiscale", *SLIGHT, "task.prob_terminal=[0.5,0]"]),
}
"""{name of a model: (training steps, overrides of the training run)}."""

FURTHER = ["optimizer.lr=5e-4", "optimizer.muon_lr=0.01"]
"""Learning rates of a further training run, which starts from the bundled model."""


def train(folder: Path, steps: int, photographs: Path, settings: list[str]) -> Path:
    """Train a model for a number of steps of BATCH crops, unless it exists, and return its checkpoint."""
    if not (folder / "summary.json").exists():
        data = ["data=folder", f"data.root={photographs}", "data.image_size=64", "data.crop=random"]
        data += ["data.max_scale=3", f"data.crops_per_epoch={BATCH * steps}"]
        length = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", f"data.batch_size={BATCH}"]
        measured = ["data.val_images=64", "data.test_images=64", "metrics=[psnr,ssim,lpips,swd,residual_noise]"]
        run("train", *data, *length, *measured, *settings, f"hydra.run.dir={folder}", "ckpt_path=auto")
    return folder / "best.ckpt"


def describe(name: str, steps: int, further: int, credits: list[str]) -> Path:
    """Write the text for the card of a model, trained for `further` steps after the first run, and return its path."""
    colours = " in random colours" if RECOLOUR in MODELS[name][1] else ""
    crops = f"{steps} steps of {BATCH} crops of 64 px{colours}, Muon"
    data = ["## Data", "", "Photographs, shrunk and cropped:", "", *(f"- {line}" for line in credits), ""]
    crops += f". Then `--further {further}`: {further} more steps from these weights" if further else ""
    training = ["## Training", "", f"`python -m experiments.models.make --only {name}`: {crops}.", ""]
    path = FOLDER / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*data, *training, (ABOUT / f"{name}.md").read_text()]))
    return path


def export(name: str, checkpoint: Path, about: Path) -> None:
    """Export a model with weights in float16 into the package.

    Raises:
        SystemExit: if its weights are larger than LARGEST bytes.
    """
    options = [f"checkpoint={checkpoint}", f"output={BUNDLED / name}", "half=true", "license=mit"]
    run("export", *options, f"about={about}", "if_exists=overwrite")
    if (size := (BUNDLED / name / WEIGHTS).stat().st_size) > LARGEST:
        raise SystemExit(f"{name}: {size} bytes of weights: must be at most {LARGEST}. Train a smaller network.")


def main() -> None:
    """Collect photographs, and train and export the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(MODELS), choices=MODELS, help="models to train")
    parser.add_argument("--steps", type=int, help=f"training steps of {BATCH} crops")
    parser.add_argument("--further", type=int, default=0, help="train the bundled models for this number of steps")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a training run")
    parser.add_argument("--flowers", type=Path, help="folder of flower_photos with train, val and test")
    parser.add_argument("--wallpapers", type=Path, help="folder of Debian's lomiri-wallpapers-16.04")
    parser.add_argument("--overrides", nargs="*", default=[], help="further overrides of diracdiff train")
    arguments = parser.parse_args()
    sources = ["skimage", *(key for key in ("flowers", "wallpapers") if getattr(arguments, key))]
    photographs = FOLDER / "_".join(["photographs", *sources])
    credits = collect(photographs, arguments.flowers, arguments.wallpapers)
    for name in arguments.only:
        steps = arguments.steps or MODELS[name][0]
        settings, folder = [*MODELS[name][1], f"threads={arguments.threads}", *arguments.overrides], FOLDER / name
        if arguments.further:
            settings, folder = [*settings, *FURTHER, f"init_from=builtin:{name}"], FOLDER / f"{name}_further"
        checkpoint = train(folder, arguments.further or steps, photographs, settings)
        export(name, checkpoint, describe(name, steps, arguments.further, credits))


if __name__ == "__main__":
    main()
