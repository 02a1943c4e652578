"""Import official weights: `python -m diracdiff import_official checkpoint=theirs.ckpt output=ours.ckpt`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.errors import echo


@command
def import_official(cfg: DictConfig) -> None:
    """Convert an official checkpoint to a checkpoint of diracdiff."""
    from diracdiff.checkpoints.official import read_official
    from diracdiff.utils.files import check_not_input, check_output

    output = Path(cfg.output)
    if output.suffix != ".ckpt" or output.is_dir():
        raise ValueError(f"output={output}: must be the path of a .ckpt file.")
    check_not_input("output", output, "checkpoint", cfg.checkpoint)
    check_output(output.parent, [output], cfg.if_exists)
    restorer = read_official(cfg.checkpoint)
    restorer.save(output)
    count = sum(parameter.numel() for parameter in restorer.denoiser.parameters())
    echo(f"written: {output}, {restorer.name} at {restorer.image_size} px, {count / 1e6:.1f} M parameters")
    echo("its stopping times are unknown; find them with")
    echo(f"  python -m diracdiff evaluate checkpoint={output} split=val data=… save_tuned=tuned.ckpt")


if __name__ == "__main__":
    import_official()
