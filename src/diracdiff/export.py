"""Export a model: `python -m diracdiff.export checkpoint=runs/latest/best.ckpt output=exported`."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.checks import check_boolean
from diracdiff.cli import command
from diracdiff.errors import UserError, say


def check_values(cfg: DictConfig) -> None:
    """Refuse values that break a rule."""
    for key in ("half", "private"):
        check_boolean(key, cfg[key])
    if cfg.about is not None and not Path(cfg.about).is_file():
        raise UserError(f"about={cfg.about} does not exist: name a Markdown file, or leave it out")
    if cfg.push is not None and str(cfg.push).count("/") != 1:
        raise UserError(f"push must be owner/name, got {cfg.push}")


def export(cfg: DictConfig) -> None:
    """Write a model as safetensors, JSON and a card, load it back, and upload it if asked to."""
    from diracdiff.places import called
    from diracdiff.restorer import load
    from diracdiff.storage import Checkpoint
    from diracdiff.storage.card import card
    from diracdiff.storage.exported import difference, write_exported
    from diracdiff.storage.hub import upload

    folder, checkpoint = Path(cfg.output), Checkpoint.read(cfg.checkpoint)
    about = Path(cfg.about).read_text() if cfg.about else ""
    name = f"hf:{cfg.push}" if cfg.push else called(folder)
    size = write_exported(checkpoint, folder, card(checkpoint, name, cfg.license, about), cfg.half, cfg.overwrite)
    worst = difference(
        *(load(path, trusted_modules=cfg.trusted_modules).denoiser.state_dict() for path in (cfg.checkpoint, folder))
    )
    say(
        f"written: {folder}, {size / 1e6:.2f} MB of weights; read back they differ by at most {worst:.2g} of their size"
    )
    say(f"use it as checkpoint={called(folder)}")
    if cfg.push:
        say(f"uploaded: {upload(folder, cfg.push, cfg.private)}; use it as checkpoint={name}")


main = command("export", "checkpoint", "output", check=check_values)(export)

if __name__ == "__main__":
    main()
