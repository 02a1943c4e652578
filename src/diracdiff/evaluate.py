"""Measure a restorer: `python -m diracdiff.evaluate checkpoint=runs/latest/best.ckpt dataset=photos`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.cli import check_boolean, check_booleans_of_trainer, check_number, command, given
from diracdiff.errors import UserError

PICTURES = ("tradeoff.png", "consistency.png", "samples.png")


def evaluate(cfg: DictConfig) -> None:
    """Degrade the images of a split, restore them in one pass, and report what every stopping time gives."""
    from diracdiff.config import build_data, build_sampler, build_tester
    from diracdiff.files import check_not_input, check_output, write_rows
    from diracdiff.report import draw_consistency, draw_samples, draw_tradeoff, write_summary
    from diracdiff.restorer import load
    from diracdiff.tables import print_summary, write_tables

    if cfg.split not in ("test", "val"):
        raise UserError(f"split must be test or val, got {cfg.split!r}")
    if cfg.tuned and cfg.split != "val":
        raise UserError(f"tuned={cfg.tuned} takes stopping times from this evaluation, so it needs split=val, not test")
    check_number("seed", cfg.seed, 0)
    check_boolean("overwrite", cfg.overwrite)
    check_booleans_of_trainer(cfg)
    folder = Path(cfg.output)
    tables = ("evaluation.json", "images.csv", "curve.csv", "table.md", "table.tex")
    check_output(folder, [folder / name for name in (*tables, *PICTURES)], cfg.overwrite)
    if cfg.tuned:
        check_not_input("tuned", cfg.tuned, "checkpoint", cfg.checkpoint)
        check_output(Path(cfg.tuned).parent, [Path(cfg.tuned)], cfg.overwrite)
    restorer = load(cfg.checkpoint, trust=cfg.trust)
    restorer.lpips, restorer.fid, restorer.fid_weights, restorer.seed = cfg.lpips, cfg.fid, cfg.fid_weights, cfg.seed
    restorer.sampler = build_sampler(cfg.sampler, restorer.sampler).replace(stop=0.0, output="mean")
    _set_image_size(cfg, restorer.process.degradation.image_size)
    stopping = dict(restorer.stopping)
    if cfg.target is not None:
        output = cfg.sampler.get("output") or "mean"
        stopping["target"] = restorer.stop_for(cfg.target) | ({"output": output} if "t=" in cfg.target else {})
    data = build_data(cfg, restorer.process, restorer.sampler.start)
    trainer = build_tester(cfg)
    walk = trainer.test if cfg.split == "test" else trainer.validate
    walk(restorer, data, verbose=False)
    if not trainer.is_global_zero:
        return
    if cfg.tuned:
        _write_tuned(cfg.checkpoint, cfg.tuned, restorer)
        stopping |= restorer.stopping
    # Those of training, unless they were to be found here; where it found none, those of the validation images.
    restorer.stopping = {target: stop or restorer.stopping.get(target) for target, stop in stopping.items()}
    title = f"{restorer.name}: {restorer.measured[0]['n']} images of the {cfg.split} split"
    write_rows(folder / "images.csv", restorer.rows.rows)
    write_rows(folder / "curve.csv", restorer.measured)
    summary = write_summary(folder / "evaluation.json", restorer)
    write_tables(folder, summary, title)
    draw_tradeoff(folder / "tradeoff.png", restorer.measured, restorer.stopping, title)
    draw_consistency(folder / "consistency.png", restorer.measured, title)
    draw_samples(folder / "samples.png", restorer)
    print_summary(summary, f"{title}, {summary['steps']} steps, seed {cfg.seed}")
    print(f"written to {folder}: {' '.join((*tables, *PICTURES))}{f'; {cfg.tuned}' if cfg.tuned else ''}")


def _write_tuned(checkpoint: str, tuned: str, restorer) -> None:
    """Copy a checkpoint, with the sampler, the curve and the stopping times of the restorer."""
    import torch

    from diracdiff.checkpoint import KIND, read_checkpoint
    from diracdiff.files import replacing
    from diracdiff.recipe import to_recipe

    content = read_checkpoint(checkpoint)
    content[KIND]["recipe"]["sampler"] = to_recipe(restorer.sampler)
    content[KIND] |= {"stopping": restorer.stopping, "curve": restorer.curve}
    with replacing(tuned) as file:
        torch.save(content, file)


def _set_image_size(cfg: DictConfig, image_size: int) -> None:
    if given("dataset.image_size") and cfg.dataset.image_size != image_size:
        raise UserError(
            f"dataset.image_size={cfg.dataset.image_size} differs from the checkpoint's {image_size}: leave it out"
        )
    cfg.dataset.image_size = image_size


main = command("evaluate")(evaluate)

if __name__ == "__main__":
    main()
