"""Restore images: `python -m diracdiff.restore checkpoint=runs/latest/best.ckpt input=photos/ output=restored`."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from diracdiff.cli import check_number, command
from diracdiff.errors import UserError
from diracdiff.files import check_output, save_image


def restore(cfg: DictConfig) -> None:
    """Restore an image or a folder of images as configured."""
    from PIL import Image
    from rich.progress import track

    from diracdiff.data.images import load_image
    from diracdiff.restorer import load

    check_number("stop", cfg.stop, 0, 1, float)
    check_number("steps", cfg.steps, 1)
    check_number("batch_size", cfg.batch_size, 1)
    check_number("seed", cfg.seed, 0)
    restorer = load(cfg.checkpoint, _device(cfg.device))
    stop = restorer.stop_for(cfg.target)["t"] if cfg.stop is None else cfg.stop
    restorer.seed = cfg.seed
    files = _plan(Path(cfg.input), Path(cfg.output), cfg.degrade, cfg.overwrite)
    shapes = {source: _size(source) for source in files}
    ordered = sorted(files, key=lambda source: (shapes[source], str(source)))
    for batch in track(list(_batches(ordered, shapes, cfg.batch_size)), description="restoring", transient=True):
        names = [source.name for source in batch]
        images = torch.stack([load_image(source) for source in batch]).to(restorer.device).float() / 255
        if cfg.degrade:
            images = _degrade(restorer, images, names)
        restored = restorer.restore(images, cfg.target, names=names, steps=cfg.steps, stop=cfg.stop)
        for source, image, measurement in zip(batch, restored, images, strict=True):
            grey = Image.open(source).mode in ("1", "L", "I", "I;16", "F", "LA")
            target, degraded = files[source]
            _write(target, image, grey)
            if degraded is not None:
                _write(degraded, measurement, grey)
    print(f"restored {len(files)} image{'s' if len(files) > 1 else ''} at t = {stop:.2f} into {cfg.output}")


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name} is not at hand: use device=auto or device=cpu") from error
    return name


def _plan(source: Path, output: Path, degrade: bool, overwrite: bool) -> dict[Path, tuple[Path, Path | None]]:
    """Where the result of every input, and its measurement if it is made here, go."""
    from diracdiff.data.images import list_images

    files = [source] if source.is_file() else list_images(source)
    root = source.parent if source.is_file() else source
    stems = [file.relative_to(root).with_suffix("") for file in files]
    plan: dict[Path, tuple[Path, Path | None]] = {}
    for file, stem in zip(files, stems, strict=True):
        name = str(file.relative_to(root)) if stems.count(stem) > 1 else str(stem)
        measurement = output / f"{name}_measurement.png" if degrade else None
        plan[file] = (output / f"{name}.png", measurement)
    targets = [target for pair in plan.values() for target in pair if target is not None]
    replaced = {file.resolve() for file in files} & {target.resolve() for target in targets}
    if replaced:
        raise UserError(f"output={output} would replace the input {min(replaced)}: give another folder")
    check_output(output, targets, overwrite)
    return plan


def _size(path: Path) -> tuple[int, int]:
    """Width and height as shown, read from the header."""
    from PIL import ExifTags, Image

    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size[::-1] if turned else image.size
    except OSError as error:
        raise UserError(f"{path} cannot be read as an image: replace or remove the file") from error


def _batches(files: list[Path], shapes: dict, size: int) -> Iterator[list[Path]]:
    for _, group in groupby(files, key=shapes.get):
        same = list(group)
        yield from (same[i : i + size] for i in range(0, len(same), size))


@torch.no_grad()
def _degrade(restorer, clean: Tensor, names: list[str]) -> Tensor:
    from diracdiff.samplers import ImageNoise
    from diracdiff.seeds import image_seed

    noise = ImageNoise([image_seed(restorer.seed, f"measurement/{name}") for name in names], clean.device)
    return restorer.process.measure(clean, noise.normal(clean.shape[1:]))


def _write(path: Path, image: Tensor, grey: bool) -> None:
    image = image.mean(0, keepdim=True).expand(3, -1, -1) if grey else image
    pixels = image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    save_image(path, pixels[..., 0] if grey else pixels)


main = command("restore")(restore)

if __name__ == "__main__":
    main()
