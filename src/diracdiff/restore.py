"""Restore images: `python -m diracdiff.restore checkpoint=runs/latest/best.ckpt input=photos/ output=restored`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.cli import check_number, command


def restore(cfg: DictConfig) -> None:
    """Restore an image or a folder of images as configured."""
    from diracdiff.config.build import made, pick_device
    from diracdiff.config.restoring import build_tiles, configure, existing_results, reached
    from diracdiff.data.inputs import batches, plan
    from diracdiff.evaluation.calibration import Interval, Walked
    from diracdiff.evaluation.pictures import HEAT_MAP_TOP
    from diracdiff.evaluation.uncertainty import PICTURES
    from diracdiff.ranks import joined
    from diracdiff.resources import told
    from diracdiff.restoration import Restoration
    from diracdiff.restorer import load
    from diracdiff.signals import interruptible

    for key, least in (("samples", 1), ("batch_size", 1), ("seed", 0)):
        check_number(key, cfg[key], least)
    existing, tiles, output = existing_results(cfg), build_tiles(cfg), Path(cfg.output)
    with told(output, "tile, batch_size or samples"), joined() as ranks:
        restorer = configure(cfg, load(cfg.checkpoint, pick_device(cfg.device), cfg.trust))
        restorer.tiles = tiles
        stop = restorer.stop_for(cfg.target)
        walked = Walked.of(restorer.sampler, cfg.samples, stop)
        interval = made("level", Interval.of, restorer.calibrations, walked, cfg.level) if cfg.samples > 1 else None
        extras = (["measurement"] if cfg.degrade else []) + (list(PICTURES) if interval else [])
        job = Restoration(restorer, cfg.target, cfg.samples, interval, cfg.degrade, output / "uncertainty.csv")
        inputs, unreadable = plan(Path(cfg.input), output, extras, existing, job.done)
        ranks.wait()  # until no process may take the results of another for those of an earlier command
        for path, reason in ranks.share(list(unreadable.items())):
            job.leave_out(path, reason)
        say = f"interrupted: what is done is in {output}; go on with existing=skip added to the same command"
        with interruptible(say):
            job.run(batches(inputs, cfg.batch_size), ranks)
        if ranks.rank == 0:
            if interval and job.restored:
                print(
                    f"uncertainty: white where {cfg.samples} samples have std {HEAT_MAP_TOP}; {interval}; {job.table}"
                )
            t, images = reached(restorer, stop), f"{job.restored} image{'s' * (job.restored != 1)}"
            print(f"restored {images} at t = {t:.2f} into {output}")
    if ranks.rank == 0:
        job.check()


main = command("restore", "checkpoint", "input", "output")(restore)

if __name__ == "__main__":
    main()
