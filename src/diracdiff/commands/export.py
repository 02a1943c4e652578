"""Export a model: `python -m diracdiff export checkpoint=runs/latest/best.ckpt output=exported`."""

import re
from pathlib import Path

from omegaconf import DictConfig

from diracdiff.checks import check_boolean
from diracdiff.cli import command
from diracdiff.utils.errors import UserError, say


def check_values(cfg: DictConfig) -> None:
    """Refuse values that break a rule."""
    for key in ("half", "private"):
        check_boolean(key, cfg[key])
    if cfg.about is not None and not Path(cfg.about).is_file():
        raise UserError(f"about={cfg.about} does not exist: name a Markdown file, or leave it out")
    if cfg.push is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(cfg.push)):
        raise UserError(f"push must be owner/name, got {cfg.push}")
    if cfg.license is not None and not re.fullmatch(r"[\w.+-]+", str(cfg.license)):
        raise UserError(f"license={cfg.license!r}: must be one word. Give the Hub's name of a licence, such as mit.")


def export(cfg: DictConfig) -> None:
    """Write a model as safetensors, JSON and a card, load it again, and upload it with `push`."""
    from diracdiff.checkpoints import Checkpoint
    from diracdiff.checkpoints.card import card
    from diracdiff.checkpoints.exported import check_not_source, difference, write_exported
    from diracdiff.checkpoints.hub import upload
    from diracdiff.checkpoints.places import called
    from diracdiff.restorer import load

    folder, checkpoint = Path(cfg.output), Checkpoint.read(cfg.checkpoint)
    check_not_source(folder, [cfg.checkpoint, *([cfg.about] if cfg.about else [])])
    before = load(cfg.checkpoint, trusted_modules=cfg.trusted_modules).denoiser.state_dict()
    about = Path(cfg.about).read_text(errors="replace") if cfg.about else ""
    name = f"hf:{cfg.push}" if cfg.push else called(folder)
    size = write_exported(checkpoint, folder, card(checkpoint, name, cfg.license, about), cfg.half, cfg.overwrite)
    worst = difference(before, load(folder, trusted_modules=cfg.trusted_modules).denoiser.state_dict())
    say(
        f"written: {folder}, {size / 1e6:.2f} MB of weights; read back they differ by at most {worst:.2g} of their size"
    )
    say(f"use it as checkpoint={called(folder)}")
    if cfg.push:
        say(f"uploaded: {upload(folder, cfg.push, cfg.private)}; use it as checkpoint={name}")


main = command("export", "checkpoint", "output", check=check_values)(export)

if __name__ == "__main__":
    main()
