"""Export a model: `python -m diracdiff export checkpoint=runs/latest/best.ckpt output=exported`."""

import re
from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.errors import say


@command
def export(cfg: DictConfig) -> None:
    """Write a model as safetensors, JSON and a card, load it again, and upload it with `push`."""
    from diracdiff.checkpoints import Checkpoint
    from diracdiff.checkpoints.exported import model_card, write_exported
    from diracdiff.checkpoints.places import CARD, WEIGHTS, public_name, upload, weights_file
    from diracdiff.restorer import load
    from diracdiff.utils.files import check_not_input

    for key, allowed in (("push", r"[\w.-]+/[\w.-]+"), ("license", r"[\w.+-]+")):
        if cfg[key] is not None and not re.fullmatch(allowed, str(cfg[key])):
            raise ValueError(f"{key}={cfg[key]}: must be {'owner/name' if key == 'push' else 'one word, such as mit'}.")
    folder, checkpoint = Path(cfg.output), Checkpoint.read(cfg.checkpoint)
    check_not_input("output", folder / WEIGHTS, "checkpoint", weights_file(cfg.checkpoint))
    about = ""
    if cfg.about is not None:
        check_not_input("output", folder / CARD, "about", cfg.about)
        about = Path(cfg.about).read_text(errors="replace")
    load(cfg.checkpoint, trusted_modules=cfg.trusted_modules)
    name = f"hf:{cfg.push}" if cfg.push else public_name(folder)
    card = model_card(checkpoint, name, cfg.license, about)
    size = write_exported(checkpoint, folder, card, cfg.half, cfg.overwrite)
    say(f"written: {folder}, {size / 1e6:.2f} MB of weights")
    say(f"use it as checkpoint={public_name(folder)}")
    if cfg.push:
        say(f"uploaded: {upload(folder, cfg.push, cfg.private)}; use it as checkpoint={name}")


if __name__ == "__main__":
    export()
