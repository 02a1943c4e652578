"""Import the authors' weights: `python -m diracdiff import_official checkpoint=theirs.ckpt output=ours.ckpt`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.errors import say

GIVEN = ("operator", "severity", "sigma_min", "sigma_max")


@command
def import_official(cfg: DictConfig) -> None:
    """Write one of the authors' checkpoints as one of ours."""
    from diracdiff.checkpoints.official import read
    from diracdiff.commands.build import plain
    from diracdiff.utils.files import check_not_input, check_output

    if cfg.ema != "auto" and not isinstance(cfg.ema, bool):
        raise ValueError(f"ema={cfg.ema}: must be auto, true or false.")
    output = Path(cfg.output)
    if output.suffix != ".ckpt" or output.is_dir():
        raise ValueError(f"output must be the path of a .ckpt file, got {output}")
    check_not_input("output", output, "checkpoint", cfg.checkpoint)
    check_output(output.parent, [output], cfg.overwrite)
    given = plain(cfg)
    imported = read(cfg.checkpoint, {key: given[key] for key in GIVEN}, cfg.ema)
    imported.restorer.save(output)
    for line in (
        *imported.summary,
        f"written: {output}",
        "its stopping times are unknown; find them with",
        f"  python -m diracdiff evaluate checkpoint={output} split=val dataset=… tuned=tuned.ckpt",
    ):
        say(line)


if __name__ == "__main__":
    import_official()
