"""Restore images: `python -m diracdiff restore checkpoint=runs/latest/best.ckpt input=photos/ output=restored`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.errors import say


def restore(cfg: DictConfig) -> None:
    """Restore an image or a folder of images as configured."""
    from diracdiff.apps import check_guide
    from diracdiff.apps.files import FileRestoration
    from diracdiff.commands.builders.build import pick_device
    from diracdiff.commands.builders.restoring import build_tiles, configure, reached
    from diracdiff.commands.builders.writing import build_companions, build_form, build_options
    from diracdiff.data.inputs import EXISTING, plan
    from diracdiff.restorer import load
    from diracdiff.utils.ranks import joined
    from diracdiff.utils.validate import check_count

    for key in ("samples", "batch_size"):
        check_count(cfg[key], key)
    if cfg.existing not in EXISTING:
        raise ValueError(f"existing={cfg.existing}: must be one of {', '.join(EXISTING)}.")
    source, output, form, tiles = Path(cfg.input), Path(cfg.output), build_form(cfg), build_tiles(cfg)
    companions = build_companions(cfg)
    with joined() as ranks:
        restorer = configure(cfg, load(cfg.checkpoint, pick_device(cfg.device), cfg.trusted_modules))
        restorer = restorer.replace(tiles=tiles)
        check_guide(restorer, companions.kind if companions else None, cfg.degrade)
        t, options = reached(restorer, restorer.stop_for(cfg.target)), build_options(cfg, restorer)
        job = FileRestoration(restorer, options, output, form, companions, single=not source.is_dir())
        images, skipped = plan(source, output, job.extras, cfg.existing, form)
        if cfg.existing == "skip":
            images, kept = job.missing(images)
            skipped |= kept
        ranks.wait()  # until no process may take the results of another for those of an earlier command
        for path, error in ranks.share(list(skipped.items())):
            job.skip(path, error)
        rows = job.run(images, cfg.batch_size, ranks)
        if ranks.rank == 0:
            consistent = sum(row["consistent"] for row in rows)
            say(f"restored {len(rows)} image{'s' * (len(rows) != 1)} at t = {t:.2f} into {output}")
            say(f"consistent with your measurement: {consistent} of {len(rows)}")
            if options.interval:
                say(f"uncertainty: {options.interval}")
        ranks.wait()
    if ranks.rank == 0 or job.defect:
        job.check(len(rows))


main = command(restore)

if __name__ == "__main__":
    main()
