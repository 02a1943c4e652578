"""Restore images: `python -m diracdiff restore checkpoint=runs/latest/best.ckpt input=photos/ output=restored`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.errors import say


def restore(cfg: DictConfig) -> None:
    """Restore an image or a folder of images as configured."""
    from diracdiff.commands.builders.build import pick_device
    from diracdiff.commands.builders.restoring import build_tiles, configure, existing_results, reached
    from diracdiff.commands.builders.writing import build_companions, build_form, build_options
    from diracdiff.data.inputs import plan
    from diracdiff.restoration import FileRestoration, check_guide
    from diracdiff.restorer import load
    from diracdiff.utils.ranks import joined
    from diracdiff.utils.validate import check_count

    for key in ("samples", "batch_size"):
        check_count(cfg[key], key)
    existing, tiles, form = existing_results(cfg), build_tiles(cfg), build_form(cfg)
    source, output, companions = Path(cfg.input), Path(cfg.output), build_companions(cfg)
    with joined() as ranks:
        restorer = configure(cfg, load(cfg.checkpoint, pick_device(cfg.device), cfg.trusted_modules))
        restorer.tiles = tiles
        check_guide(restorer, companions.kind if companions else None, cfg.degrade)
        t, options = reached(restorer, restorer.stop_for(cfg.target)), build_options(cfg, restorer)
        job = FileRestoration(restorer, options, output, form, companions, single=not source.is_dir())
        images, skipped = plan(source, output, job.extras, existing, form)
        if existing == "skip":
            images, kept = job.log.missing(images, companions)
            skipped |= kept
        ranks.wait()  # until no process may take the results of another for those of an earlier command
        for path, error in ranks.share(list(skipped.items())):
            job.skip(path, error)
        rows = job.run(images, cfg.batch_size, ranks)
        if ranks.rank == 0:
            for line in job.report(rows, t):
                say(line)
        ranks.wait()
    if ranks.rank == 0 or job.defect:
        job.check(len(rows))


main = command(restore)

if __name__ == "__main__":
    main()
