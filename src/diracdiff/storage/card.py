"""The card of an exported model: what it restores, how well, and how it is used."""

from typing import Any

from diracdiff.storage.checkpoint import Checkpoint
from diracdiff.storage.recipe import TARGET

SHOWN = ("psnr", "ssim", "lpips_squeeze", "lpips_alex", "lpips_vgg", "swd", "fid_inception", "fid_squeezenet")


def card(checkpoint: Checkpoint, name: str, license: str | None = None, about: str = "") -> str:
    """The text of a card, Markdown with the Hub's header.

    Args:
        checkpoint: the model.
        name: what it is called by in commands: a path, or `owner/name`.
        license: of its weights, by its name on the Hub.
        about: Markdown that is added.
    """
    recipe, process = checkpoint.recipe, checkpoint.recipe["process"]
    weights = sum(weight.numel() for weight in checkpoint.weights.values())
    header = ["library_name: diracdiff", "pipeline_tag: image-to-image", "tags: [image-restoration, diracdiff]"]
    header += [f"license: {license}"] if license else []
    lines = [
        "---", *header, "---", "",
        f"# {recipe['name']}", "",
        "A restorer of [diracdiff](https://arxiv.org/abs/2303.14353): it undoes a gradual degradation, and can stop "
        "early: faithful or good-looking.", "",
        f"- degradation: {_words(process['degradation'])}",
        f"- noise: {_words(process['noise'])}, in units of the [0, 1] range",
        f"- network: {_words(recipe['denoiser']['network'])}; {weights:,} weights",
        f"- trained on: {_words(checkpoint.dataset) if checkpoint.dataset else 'not known'}", "",
        "```", f"diracdiff restore checkpoint={name} input=PHOTOGRAPHS output=restored", "```",
    ]  # fmt: skip
    return "\n".join([*lines, *_stops(checkpoint), *(["", about.strip()] if about.strip() else [])]) + "\n"


def _stops(checkpoint: Checkpoint) -> list[str]:
    """Where it stops, and what validation found there."""
    rows = {(row["t"], row["output"]): row for row in checkpoint.curve}
    found = {target: rows.get((stop["t"], stop["output"])) for target, stop in checkpoint.stops.items() if stop}
    shown = [metric for metric in SHOWN if checkpoint.curve and metric in checkpoint.curve[0]]
    if not any(found.values()):
        return []
    table = [
        f"| {target} | {row['t']:.2f} | {row['output']} | {' | '.join(f'{row[metric]:.4g}' for metric in shown)} |"
        for target, row in found.items()
        if row
    ]
    head = ["target", "t", "output", *shown]
    images = f"Its stopping times, by its {checkpoint.curve[0]['n']} validation images:"
    return ["", images, "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *table]


def _words(recipe: Any) -> str:
    """A recipe in a line: `GaussianBlur(severity=…)`."""
    if isinstance(recipe, dict):
        inside = ", ".join(f"{key}={_words(value)}" for key, value in recipe.items() if key != TARGET)
        return f"{recipe[TARGET].rpartition('.')[2]}({inside})" if TARGET in recipe else f"{{{inside}}}"
    if isinstance(recipe, list):
        return f"[{', '.join(map(_words, recipe))}]" if len(recipe) <= 8 else f"[{len(recipe)} values]"
    return f"{recipe:.4g}" if isinstance(recipe, float) else str(recipe)
