"""Restore images: `python -m diracdiff.restore checkpoint=runs/latest/best.ckpt input=photos/ output=restored`."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from diracdiff.cli import check_boolean, check_number, command
from diracdiff.errors import UserError
from diracdiff.files import check_output, save_image, write_rows
from diracdiff.report import HEAT_MAP_TOP, heat_map


def restore(cfg: DictConfig) -> None:
    """Restore an image or a folder of images as configured."""
    from PIL import Image
    from rich.progress import track

    from diracdiff.config import build_sampler, pick_device
    from diracdiff.data.images import load_image
    from diracdiff.restorer import load

    check_number("samples", cfg.samples, 1)
    check_number("batch_size", cfg.batch_size, 1)
    check_number("seed", cfg.seed, 0)
    check_boolean("degrade", cfg.degrade)
    check_boolean("overwrite", cfg.overwrite)
    restorer = load(cfg.checkpoint, pick_device(cfg.device), cfg.trust)
    restorer.sampler = build_sampler(cfg.sampler, restorer.sampler)
    restorer.seed = cfg.seed
    stop = restorer.stop_for(cfg.target)
    extras = (["measurement"] if cfg.degrade else []) + (["uncertainty"] if cfg.samples > 1 else [])
    files = _plan(Path(cfg.input), Path(cfg.output), extras, cfg.overwrite)
    uncertainty: dict[str, float] = {}
    shapes = {source: _size(source) for source in files}
    ordered = sorted(files, key=lambda source: (shapes[source], str(source)))
    for batch in track(list(_batches(ordered, shapes, cfg.batch_size)), description="restoring", transient=True):
        names = [source.name for source in batch]
        images = torch.stack([load_image(source) for source in batch]).to(restorer.device).float() / 255
        if cfg.degrade:
            images = _degrade(restorer, images, names)
        samples = restorer.samples(images, cfg.samples, cfg.target, names=names)
        for i, source in enumerate(batch):
            grey = Image.open(source).mode in ("1", "L", "I", "I;16", "F", "LA")
            targets = files[source]
            _write(targets["restored"], samples[0, i], grey)
            if cfg.degrade:
                _write(targets["measurement"], images[i], grey)
            if cfg.samples > 1:
                spread = samples[:, i].std(0).mean(0)
                uncertainty[str(source)] = spread.mean().item()
                save_image(targets["uncertainty"], heat_map(spread.cpu()))
    if uncertainty:
        _write_uncertainty(Path(cfg.output) / "uncertainty.csv", uncertainty, cfg.samples)
    print(f"restored {len(files)} image{'s' if len(files) > 1 else ''} at t = {stop['t']:.2f} into {cfg.output}")


def _write_uncertainty(path: Path, uncertainty: dict[str, float], samples: int) -> None:
    """Write the mean over the pixels of their standard deviation over the samples, a row per image."""
    write_rows(path, [{"image": name, "samples": samples, "std": std} for name, std in sorted(uncertainty.items())])
    print(f"uncertainty: bright where {samples} samples differ, white at std {HEAT_MAP_TOP}; {path}")


def _plan(source: Path, output: Path, extras: list[str], overwrite: bool) -> dict[Path, dict[str, Path]]:
    """Where the result of every input, and the extra pictures, go."""
    from diracdiff.data.images import list_images

    files = [source] if source.is_file() else list_images(source)
    root = source.parent if source.is_file() else source
    stems = [file.relative_to(root).with_suffix("") for file in files]
    plan: dict[Path, dict[str, Path]] = {}
    for file, stem in zip(files, stems, strict=True):
        name = str(file.relative_to(root)) if stems.count(stem) > 1 else str(stem)
        plan[file] = {"restored": output / f"{name}.png"} | {extra: output / f"{name}_{extra}.png" for extra in extras}
    targets = [target for targets in plan.values() for target in targets.values()]
    targets += [output / "uncertainty.csv"] if "uncertainty" in extras else []
    twice = [target for target in targets if targets.count(target) > 1]
    if twice:
        raise UserError(f"two results would be called {twice[0]}: rename one of the inputs that give it")
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
    return restorer.process.measure(clean, noise.normal(clean.shape[1:]), restorer.sampler.start)


def _write(path: Path, image: Tensor, grey: bool) -> None:
    image = image.mean(0, keepdim=True).expand(3, -1, -1) if grey else image
    pixels = image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    save_image(path, pixels[..., 0] if grey else pixels)


main = command("restore")(restore)

if __name__ == "__main__":
    main()
