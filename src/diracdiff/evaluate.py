"""Measure a restorer: `python -m diracdiff.evaluate checkpoint=runs/latest/best.ckpt dataset=photos`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.cli import check_number, command, given
from diracdiff.errors import UserError


def evaluate(cfg: DictConfig) -> None:
    """Degrade the images of a split, restore them, and report PSNR, SSIM and LPIPS at one-shot, DO and PO."""
    from diracdiff.config import build_data, build_tester
    from diracdiff.files import check_output, write_rows
    from diracdiff.report import print_summary, write_summary
    from diracdiff.restorer import load

    if cfg.split not in ("test", "val"):
        raise UserError(f"split must be test or val, got {cfg.split!r}")
    check_number("steps", cfg.steps, 1)
    check_number("seed", cfg.seed, 0)
    summary_path, rows_path = Path(cfg.output) / "evaluation.json", Path(cfg.output) / "images.csv"
    check_output(Path(cfg.output), [summary_path, rows_path], cfg.overwrite)
    restorer = load(cfg.checkpoint)
    restorer.lpips, restorer.seed = cfg.lpips, cfg.seed
    restorer.sampler = restorer.sampler.replace(steps=cfg.steps or restorer.sampler.steps)
    _set_image_size(cfg, restorer.process.degradation.image_size)
    data = build_data(cfg, restorer.process)
    trainer = build_tester(cfg)
    walk = trainer.test if cfg.split == "test" else trainer.validate
    stopping = dict(restorer.stopping)
    walk(restorer, data, verbose=False)
    if trainer.is_global_zero:
        # Those of training, whatever was measured here; where it found none, those of the validation images.
        restorer.stopping = {target: stop or restorer.stopping[target] for target, stop in stopping.items()}
        write_rows(rows_path, restorer.rows.rows)
        summary = write_summary(summary_path, restorer)
        print_summary(summary, f"{restorer.name}: {summary['n']} images, {summary['steps']} steps, seed {cfg.seed}")
        print(f"written: {summary_path} {rows_path}")


def _set_image_size(cfg: DictConfig, image_size: int) -> None:
    if given("dataset.image_size") and cfg.dataset.image_size != image_size:
        raise UserError(
            f"dataset.image_size={cfg.dataset.image_size} differs from the checkpoint's {image_size}: leave it out"
        )
    cfg.dataset.image_size = image_size


main = command("evaluate")(evaluate)

if __name__ == "__main__":
    main()
