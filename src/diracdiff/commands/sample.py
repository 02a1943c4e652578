"""Generate images: `python -m diracdiff sample checkpoint=runs/latest/best.ckpt images=16 output=samples`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.console import track
from diracdiff.utils.errors import say


@command
def sample(cfg: DictConfig) -> None:
    """Draw images from the prior of a restorer that was trained with task=denoise."""
    from diracdiff.commands.build import load_restorer
    from diracdiff.utils.files import check_output
    from diracdiff.utils.image_files import save_image
    from diracdiff.utils.validate import check_count

    for key in ("images", "batch_size"):
        check_count(cfg[key], key)
    restorer = load_restorer(cfg)
    names = [f"{i:05d}" for i in range(cfg.images)]
    targets = {name: Path(cfg.output) / f"{name}.png" for name in names}
    check_output(Path(cfg.output), targets.values(), cfg.overwrite)
    parts = [names[i : i + cfg.batch_size] for i in range(0, len(names), cfg.batch_size)]
    for part in track(parts, description="generating"):
        for name, image in zip(part, restorer.generate(part), strict=True):
            if not image.isfinite().all():
                raise ValueError(f"image {name} is not a number at every pixel: take another sampler or checkpoint")
            save_image(targets[name], image)
    say(f"generated {len(names)} image{'s' * (len(names) > 1)} into {cfg.output}")


if __name__ == "__main__":
    sample()
