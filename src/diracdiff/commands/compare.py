"""Compare methods on the same measurements: `python -m diracdiff compare checkpoint=dirac.ckpt prior=prior.ckpt`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command


def compare(cfg: DictConfig) -> None:
    """Freeze the measurements, tune every method on the validation split, run all on the test split, and report."""
    import torch

    from diracdiff import comparison
    from diracdiff.commands.builders.build import origin, pick_device
    from diracdiff.commands.builders.comparing import build_contenders, build_dials
    from diracdiff.commands.builders.training import build_data, build_metrics, keep_image_size
    from diracdiff.restorer import load
    from diracdiff.utils.ranks import joined
    from diracdiff.utils.validate import check_count

    for key in ("trials", "batch_size", "picture_rows"):
        check_count(cfg[key], key)
    folder = Path(cfg.output)
    with joined() as ranks:
        device = pick_device(cfg.device)
        restorer = load(cfg.checkpoint, device, cfg.trusted_modules)
        comparison.check_sigma(cfg.sigma, restorer, cfg.checkpoint)
        size = keep_image_size(cfg, restorer.image_size)
        metrics = build_metrics(cfg)
        targets, include = comparison.pick_targets(cfg.tune_for, metrics), [Path(other) for other in cfg.include]
        shown_as = (cfg.picture_rows, restorer.name, build_dials(cfg, metrics, restorer), origin(cfg))
        plan = comparison.Plan(folder, targets, cfg.trials, cfg.tuner, cfg.seed, include, *shown_as)
        contenders = build_contenders(cfg, restorer, device)
        like = torch.zeros(1, restorer.denoiser.network.image_channels, size, size, device=device)
        for contender in contenders:
            contender.check(like)
        comparison.check_folder(folder)
        data = build_data(cfg, restorer, ["val", "test"])
        loaders = {"val": data.val_dataloader(), "test": data.test_dataloader()}
        frozen = comparison.frozen_splits(folder, loaders, restorer.process, cfg.seed)
        parts = folder / "parts"
        runner = comparison.Runner(parts, restorer.process, metrics, cfg.batch_size, device, ranks=ranks)
        comparison.show(plan, runner, contenders, frozen)


main = command(compare)

if __name__ == "__main__":
    main()
