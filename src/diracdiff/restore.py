"""Restore images: `python -m diracdiff.restore checkpoint=runs/latest/best.ckpt input=photos/ output=restored`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.cli import check_boolean, check_number, command


def restore(cfg: DictConfig) -> None:
    """Restore an image or a folder of images as configured."""
    import torch
    from rich.progress import track

    from diracdiff.config.build import pick_device
    from diracdiff.config.restoring import configure
    from diracdiff.data.images import load_image
    from diracdiff.data.inputs import batches, plan
    from diracdiff.evaluation.pictures import HEAT_MAP_TOP, heat_map
    from diracdiff.pixels import from_pixels
    from diracdiff.restorer import load
    from diracdiff.storage.files import save_image, save_pixels, write_rows

    for key, least in (("samples", 1), ("batch_size", 1), ("seed", 0)):
        check_number(key, cfg[key], least)
    check_boolean("degrade", cfg.degrade)
    check_boolean("overwrite", cfg.overwrite)
    restorer = configure(cfg, load(cfg.checkpoint, pick_device(cfg.device), cfg.trust))
    stop = restorer.stop_for(cfg.target)
    extras = (["measurement"] if cfg.degrade else []) + (["uncertainty"] if cfg.samples > 1 else [])
    inputs = plan(Path(cfg.input), Path(cfg.output), extras, cfg.overwrite)
    spreads: dict[str, float] = {}
    for batch in track(batches(inputs, cfg.batch_size), description="restoring", transient=True):
        names = [image.path.name for image in batch]
        y = from_pixels(torch.stack([load_image(image.path) for image in batch]).to(restorer.device))
        if cfg.degrade:
            y = restorer.measure(y, [f"measurement/{name}" for name in names]).y
        samples = restorer.samples(y, cfg.samples, cfg.target, names=names)
        for i, image in enumerate(batch):
            save_image(image.targets["restored"], samples[0, i], image.grey)
            if cfg.degrade:
                save_image(image.targets["measurement"], y[i], image.grey)
            if cfg.samples > 1:
                spread = samples[:, i].std(0).mean(0)
                spreads[str(image.path)] = spread.mean().item()
                save_pixels(image.targets["uncertainty"], heat_map(spread.cpu()))
    if spreads:
        path = Path(cfg.output) / "uncertainty.csv"
        write_rows(path, [{"image": name, "samples": cfg.samples, "std": std} for name, std in sorted(spreads.items())])
        print(f"uncertainty: bright where {cfg.samples} samples differ, white at std {HEAT_MAP_TOP}; {path}")
    print(f"restored {len(inputs)} image{'s' * (len(inputs) > 1)} at t = {stop.t:.2f} into {cfg.output}")


main = command("restore")(restore)

if __name__ == "__main__":
    main()
