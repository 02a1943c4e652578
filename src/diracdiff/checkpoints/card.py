"""The card of an exported model: its task, its measured quality, and the command that uses it.

Text of a checkpoint is escaped: it may come from a file that somebody else wrote.
"""

import re
import shlex
from typing import Any

from diracdiff.checkpoints.checkpoint import Checkpoint
from diracdiff.checkpoints.recipe import TARGET

SHOWN = ("psnr", "ssim", "lpips_squeeze", "lpips_alex", "lpips_vgg", "swd", "fid_inception", "fid_squeezenet")


def card(checkpoint: Checkpoint, name: str, license: str | None = None, about: str = "") -> str:
    """Return the text of a card, Markdown with the Hub's header.

    Args:
        checkpoint: the model.
        name: its name in commands: a path, or `owner/name`.
        license: of its weights, by its name on the Hub.
        about: Markdown that is added.
    """
    recipe, process = checkpoint.recipe, checkpoint.recipe["process"]
    weights = sum(weight.numel() for weight in checkpoint.weights.values())
    header = ["library_name: diracdiff", "pipeline_tag: image-to-image", "tags: [image-restoration, diracdiff]"]
    header += [f"license: {license}"] if license else []
    lines = [
        "---", *header, "---", "",
        f"# {escape(recipe.get('name', 'restoration'))}", "",
        "A restorer of [diracdiff](https://arxiv.org/abs/2303.14353). It reverses a gradual degradation, and stops "
        "early for the highest PSNR or later for the best perceptual quality.", "",
        f"- degradation: {_code(process['degradation'])}",
        f"- noise: {_code(process['noise'])}, in units of the [0, 1] range",
        f"- network: {_code(recipe['denoiser']['network'])}; {weights:,} weights",
        f"- trained on: {_code(checkpoint.dataset) if checkpoint.dataset else 'not known'}", "",
        "```", f"diracdiff restore {_printable(shlex.quote(f'checkpoint={name}'))} input=PHOTOGRAPHS output=restored",
        "```",
    ]  # fmt: skip
    return "\n".join([*lines, *_stops(checkpoint), *(["", about.strip()] if about.strip() else [])]) + "\n"


def escape(text: str) -> str:
    """Return a text on one line in which no character is Markdown or HTML."""
    return re.sub(r"([^\w\s]|_)", r"\\\1", _printable(text), flags=re.ASCII)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _stops(checkpoint: Checkpoint) -> list[str]:
    """Return a table of the stopping times and the metrics that validation found there."""
    rows = {(row["t"], row["output"]): row for row in checkpoint.curve}
    found = {target: rows.get((stop["t"], stop["output"])) for target, stop in checkpoint.stops.items() if stop}
    shown = [metric for metric in SHOWN if checkpoint.curve and metric in checkpoint.curve[0]]
    if not any(found.values()):
        return []
    table = [
        f"| {escape(target)} | {row['t']:.2f} | {escape(row['output'])} | "
        f"{' | '.join(_number(row.get(metric)) for metric in shown)} |"
        for target, row in found.items()
        if row
    ]
    head = ["target", "t", "output", *shown]
    images = f"Stopping times, found on {_number(checkpoint.curve[0].get('n'))} validation images:"
    return ["", images, "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *table]


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value) if isinstance(value, int) else "–"


def _code(recipe: Any) -> str:
    """Return a recipe in a line of code: `GaussianBlur(severity=…)`."""
    return f"`{_printable(_words(recipe)).replace('`', '?')}`"


def _words(recipe: Any) -> str:
    if isinstance(recipe, dict):
        inside = ", ".join(f"{key}={_words(value)}" for key, value in recipe.items() if key != TARGET)
        return f"{str(recipe[TARGET]).rpartition('.')[2]}({inside})" if TARGET in recipe else f"{{{inside}}}"
    if isinstance(recipe, list):
        return f"[{', '.join(map(_words, recipe))}]" if len(recipe) <= 8 else f"[{len(recipe)} values]"
    return f"{recipe:.4g}" if isinstance(recipe, float) else str(recipe)
