"""Restore images: `python -m diracdiff.restore checkpoint=runs/latest/best.ckpt input=photos/ output=restored`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.cli import check_number, command
from diracdiff.console import track


def restore(cfg: DictConfig) -> None:
    """Restore an image or a folder of images as configured."""
    import torch

    from diracdiff.config.build import made, pick_device
    from diracdiff.config.restoring import configure, reached
    from diracdiff.data.images import load_image
    from diracdiff.data.inputs import batches, plan
    from diracdiff.evaluation.calibration import Interval, Walked
    from diracdiff.evaluation.pictures import HEAT_MAP_TOP, heat_map
    from diracdiff.evaluation.uncertainty import PICTURES, Spread
    from diracdiff.pixels import from_pixels
    from diracdiff.restorer import load
    from diracdiff.storage.files import save_image, save_pixels, write_rows

    for key, least in (("samples", 1), ("batch_size", 1), ("seed", 0)):
        check_number(key, cfg[key], least)
    restorer = configure(cfg, load(cfg.checkpoint, pick_device(cfg.device), cfg.trust))
    stop, rows = restorer.stop_for(cfg.target), []
    walked = Walked.of(restorer.sampler, cfg.samples, stop)
    interval = made("level", Interval.of, restorer.calibrations, walked, cfg.level) if cfg.samples > 1 else None
    extras = (["measurement"] if cfg.degrade else []) + (list(PICTURES) if interval else [])
    inputs = plan(Path(cfg.input), Path(cfg.output), extras, cfg.overwrite)
    for batch in track(batches(inputs, cfg.batch_size), description="restoring"):
        names = [image.path.name for image in batch]
        y = from_pixels(torch.stack([load_image(image.path) for image in batch]).to(restorer.device))
        if cfg.degrade:
            y = restorer.measure(y, [f"measurement/{name}" for name in names]).y
        samples = restorer.samples(y, cfg.samples, cfg.target, names=names)
        spread = Spread(samples) if interval else None
        for i, image in enumerate(batch):
            pictures = {"restored": samples[0, i]} | ({"measurement": y[i]} if cfg.degrade else {})
            if interval and spread:
                pictures |= interval.pictures(spread, i)
                save_pixels(image.targets["uncertainty"], heat_map(spread.std[i].mean(0).cpu()))
                rows.append({"image": str(image.path), **interval.row(spread, i)})
            for name, picture in pictures.items():
                save_image(image.targets[name], picture, image.grey)
    if interval:
        path = Path(cfg.output) / "uncertainty.csv"
        write_rows(path, sorted(rows, key=lambda row: row["image"]))
        print(f"uncertainty: white where {cfg.samples} samples have std {HEAT_MAP_TOP}; {interval}; {path}")
    images = f"{len(inputs)} image{'s' * (len(inputs) > 1)}"
    print(f"restored {images} at t = {reached(restorer, stop):.2f} into {cfg.output}")


main = command("restore", "checkpoint", "input", "output")(restore)

if __name__ == "__main__":
    main()
