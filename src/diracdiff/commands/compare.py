"""Compare methods on the same measurements: `python -m diracdiff compare checkpoint=dirac.ckpt prior=prior.ckpt`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command


@command
def compare(cfg: DictConfig) -> None:
    """Save the measurements, tune each method on the validation split, run all on the test split, and report."""
    import torch

    from diracdiff import comparison
    from diracdiff.commands.build import build_origin, check_no_bridge, load_restorer
    from diracdiff.commands.build_methods import build_methods
    from diracdiff.commands.build_training import build_data, build_metrics
    from diracdiff.utils.ranks import join_processes
    from diracdiff.utils.validate import check_count

    for key in ("trials", "batch_size", "picture_rows"):
        check_count(cfg[key], key)
    check_count(samples := cfg.samples or 0, "samples", 2 if samples else 0)
    folder = Path(cfg.output)
    with join_processes() as ranks:
        restorer = load_restorer(cfg)
        check_no_bridge(restorer, cfg.checkpoint)
        device, metrics = str(restorer.device), build_metrics(cfg)
        targets = comparison.select_targets(cfg.tune_for, metrics)
        methods = build_methods(cfg, restorer)
        size = restorer.image_size
        like = torch.zeros(1, restorer.denoiser.network.image_channels, size, size, device=device)
        for method in methods:
            method.check(like)
        comparison.check_output_folder(folder)
        data = build_data(cfg, restorer, ["val", "test"])
        val, test = (
            comparison.load_or_measure(folder / f"measurements_{split}.pt", loader, restorer.process, cfg.seed)
            for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader()))
        )
        settings = (restorer.process, metrics, cfg.batch_size, device, cfg.picture_rows, ranks, samples)
        runner = comparison.Runner(folder / "parts", *settings)
        comparing = comparison.Comparison(folder, restorer.name, runner, val, test, cfg.seed, build_origin(cfg))
        comparing.run(methods, targets, cfg.trials)


if __name__ == "__main__":
    compare()
