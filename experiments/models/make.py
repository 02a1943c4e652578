"""Train the models in the box on the photographs that come with scikit-image, measure them, and export them.

`make models` runs it. Arguments are those of the trainings besides; what is trained already is not trained again.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from skimage.restoration import inpaint_biharmonic

from diracdiff import load
from diracdiff.checkpoints.places import BUNDLED
from diracdiff.data.images import load_image
from diracdiff.degradations import FreeformInpainting
from diracdiff.evaluation.measurement import measure
from diracdiff.evaluation.statistics import interval, mean
from diracdiff.metrics import PSNR
from diracdiff.utils.files import write_rows
from diracdiff.utils.pixels import from_pixels
from experiments.common import RUNS, run

FOLDER = RUNS / "models"
NOISE = ["schedule.noise.sigma_min=0.005", "schedule.noise.sigma_max=0.02"]
MODELS = {
    "deblur": ["task=deblur", "schedule=linear", "task.severity=[0.3,6]", "experiment=local"],
    "deblur_kernel": ["task=deblur_kernel", "experiment=local"],
    "inpaint": ["task=inpaint_freeform"],  # a local network gains 0.6 dB less
    "super_resolution": ["task=super_resolution", "experiment=local"],
}
ABOUT = Path(__file__).with_name("about")


def train(name: str, steps: int, arguments: list[str]) -> Path:
    """Train a model for so many steps of 8 crops, unless it was."""
    folder = FOLDER / name
    if not (folder / "summary.json").exists():
        length = [f"dataset.crops_per_epoch={8 * steps}", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]
        run(
            "train",
            "checkpoint=auto",
            *MODELS[name],
            *NOISE,
            *length,
            "dataset.recolour=true",
            *arguments,
            f"hydra.run.dir={folder}",
        )
    return folder / "best.ckpt"


@torch.no_grad()
def gains(model: Path, photographs: list[Path], targets: list[str]) -> dict[str, list[float]]:
    """PSNR of measurements and of what is restored of them, in dB, photograph by photograph."""
    restorer, psnr, found = load(model), PSNR(), {}
    for path in photographs:
        x = from_pixels(load_image(path))[None]
        bound = restorer.bind_images([path.name], x)
        y = measure(bound.process, x, [path.name], bound.seed).y
        images = {"measurement": y} | {t: bound.restore(y, t, names=[path.name]) for t in targets}
        if isinstance(bound.process.degradation, FreeformInpainting):
            images["biharmonic"] = filled(y, bound.process.mean(torch.ones_like(y), 1.0))
        for key, image in images.items():
            found.setdefault(key, []).append(psnr(image, bound.reference(x, y)).item())
    return found


def filled(y: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Measurements, (1, 3, H, W), whose holes a biharmonic function fills, for comparison."""
    hole = (mask[0, 0] < 0.99).numpy()
    found = inpaint_biharmonic(y[0].permute(1, 2, 0).numpy(), hole, split_into_regions=True, channel_axis=-1)
    return torch.from_numpy(found).permute(2, 0, 1)[None].float()


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--photographs", type=Path, help="a folder of photographs to measure on, of any size")
    parser.add_argument("--count", type=int, default=50, help="of them at most, evenly spread")
    parser.add_argument("overrides", nargs="*", help="of the trainings, key=value")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.models:
        checkpoint = train(name, arguments.steps, arguments.overrides)
        about = ABOUT / f"{name}.md"
        options = [f"checkpoint={checkpoint}", f"output={BUNDLED / name}", "half=true", "license=mit", "overwrite=true"]
        run("export", *options, f"about={about}")
        if arguments.photographs:
            files = sorted(
                path for path in arguments.photographs.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
            )
            files = files[:: max(1, len(files) // arguments.count)][: arguments.count]
            stops = load(BUNDLED / name).stops
            found = gains(BUNDLED / name, files, [t for t in ("psnr", "swd") if stops.get(t)])
            for key, values in found.items():
                gain = [value - before for value, before in zip(values, found["measurement"], strict=True)]
                low, high = interval(gain) or (math.nan, math.nan)
                row = {"model": name, "image": key, "n": len(values), "psnr": mean(values), "gain": mean(gain)}
                rows.append(row | {"gain_low": low, "gain_high": high})
                print(json.dumps(rows[-1]), flush=True)
    if rows:
        write_rows(FOLDER / "results.csv", rows)


if __name__ == "__main__":
    main()
