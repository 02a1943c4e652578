"""Generate images: `python -m diracdiff.sample checkpoint=runs/latest/best.ckpt images=16 output=samples`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.cli import check_boolean, check_number, command


def sample(cfg: DictConfig) -> None:
    """Draw images from the prior of a restorer that was trained with task=denoise."""
    from rich.progress import track

    from diracdiff.config import build_sampler, pick_device
    from diracdiff.files import check_output, save_image
    from diracdiff.restorer import load

    check_number("images", cfg.images, 1)
    check_number("batch_size", cfg.batch_size, 1)
    check_number("seed", cfg.seed, 0)
    check_boolean("overwrite", cfg.overwrite)
    restorer = load(cfg.checkpoint, pick_device(cfg.device), cfg.trust)
    restorer.sampler = build_sampler(cfg.sampler, restorer.sampler)
    restorer.seed = cfg.seed
    names = [f"{i:05d}" for i in range(cfg.images)]
    targets = {name: Path(cfg.output) / f"{name}.png" for name in names}
    check_output(Path(cfg.output), targets.values(), cfg.overwrite)
    parts = [names[i : i + cfg.batch_size] for i in range(0, len(names), cfg.batch_size)]
    for part in track(parts, description="generating", transient=True):
        for name, image in zip(part, restorer.generate(part), strict=True):
            save_image(targets[name], image.mul(255).round().byte().permute(1, 2, 0).cpu().numpy())
    print(f"generated {len(names)} image{'s' if len(names) > 1 else ''} into {cfg.output}")


main = command("sample")(sample)

if __name__ == "__main__":
    main()
