"""Restore images: `python -m diracdiff.restore checkpoint=runs/latest/best.ckpt input=photos/ output=restored`."""

import time
from pathlib import Path

from omegaconf import DictConfig

from diracdiff.cli import check_number, command
from diracdiff.errors import say


def restore(cfg: DictConfig) -> None:
    """Restore an image or a folder of images as configured."""
    from diracdiff.config.build import pick_device
    from diracdiff.config.restoring import build_tiles, configure, existing_results, reached
    from diracdiff.config.writing import build_asked, build_form
    from diracdiff.data.inputs import batches, plan
    from diracdiff.evaluation.pictures import HEAT_MAP_TOP
    from diracdiff.ranks import joined
    from diracdiff.resources import told
    from diracdiff.restoration import Restoration, sentence
    from diracdiff.restorer import load
    from diracdiff.signals import interruptible

    for key, least in (("samples", 1), ("batch_size", 1), ("seed", 0)):
        check_number(key, cfg[key], least)
    existing, tiles, form, output = existing_results(cfg), build_tiles(cfg), build_form(cfg), Path(cfg.output)
    with told(output, "tile, batch_size or samples"), joined() as ranks:
        restorer = configure(cfg, load(cfg.checkpoint, pick_device(cfg.device), cfg.trusted_modules))
        restorer.tiles = tiles
        t, asked = reached(restorer, restorer.stop_for(cfg.target)), build_asked(cfg, restorer)
        job = Restoration(restorer, asked, output)
        inputs, unreadable = plan(Path(cfg.input), output, asked.extras, existing, job.done, form)
        ranks.wait()  # until no process may take the results of another for those of an earlier command
        for path, reason in ranks.share(list(unreadable.items())):
            job.leave_out(path, reason)
        hint = f"interrupted: what is done is in {output}; go on with existing=skip added to the same command"
        began = time.perf_counter()
        with interruptible(hint):
            job.run(batches(inputs, cfg.batch_size), ranks)
        if ranks.rank == 0:
            if asked.interval and job.restored:
                say(
                    f"uncertainty: white where {cfg.samples} samples have std {HEAT_MAP_TOP}; {asked.interval}; "
                    f"{job.table}"
                )
            images = f"{job.restored} image{'s' * (job.restored != 1)}"
            rate = f", {job.restored / (time.perf_counter() - began):.3g} images/s" if job.restored else ""
            say(f"restored {images} at t = {t:.2f} into {output}{rate}")
            if job.rows:
                say(sentence(job.rows))
    if ranks.rank == 0:
        job.check()


main = command("restore", "checkpoint", "input", "output")(restore)

if __name__ == "__main__":
    main()
