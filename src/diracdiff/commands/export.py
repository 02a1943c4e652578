"""Export a model: `python -m diracdiff export checkpoint=runs/latest/best.ckpt output=exported`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.errors import echo


@command
def export(cfg: DictConfig) -> None:
    """Write a model as safetensors, JSON and a model card."""
    from diracdiff.checkpoints import Checkpoint
    from diracdiff.checkpoints.exported import model_card, write_exported
    from diracdiff.checkpoints.locations import BUILTIN, BUNDLED, CARD, WEIGHTS, weights_file
    from diracdiff.restorer import load
    from diracdiff.utils.files import check_not_input

    folder, about = Path(cfg.output), ""
    if cfg.about:
        check_not_input("output", folder / CARD, "about", cfg.about)
        about = Path(cfg.about).read_text(errors="replace")
    checkpoint = Checkpoint.read(cfg.checkpoint)
    check_not_input("output", folder / WEIGHTS, "checkpoint", weights_file(cfg.checkpoint))
    load(cfg.checkpoint, trusted_modules=cfg.trusted_modules)
    bundled = folder.resolve().parent == BUNDLED
    card = model_card(checkpoint, f"{BUILTIN}{folder.name}" if bundled else "hf:OWNER/NAME", cfg.license, about)
    size = write_exported(checkpoint, folder, card, cfg.half, cfg.if_exists)
    echo(f"written: {folder}, {size / 1e6:.2f} MB of weights")
    echo(f"use it as checkpoint={BUILTIN + folder.name if bundled else folder}")


if __name__ == "__main__":
    export()
