"""Exported models: weights as safetensors, the header as JSON, and a model card.

Reading runs no code from the files. The files have the names that the libraries of the Hub use. The JSON file holds the
SHA-256 of the weights. The card escapes the text of the checkpoint, because that text is untrusted.
"""

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from diracdiff.checkpoints.checkpoint import DENOISER, KIND, Checkpoint
from diracdiff.checkpoints.locations import CARD, CONFIG, WEIGHTS
from diracdiff.checkpoints.weights import MAX_PICKLE_BYTES, DamagedFileError
from diracdiff.utils.escaping import for_markdown, for_terminal
from diracdiff.utils.files import check_output, staged_files, write_atomically, write_json

INCREMENT = "increment."
"""Prefix of the weights of the incremental network of the sampler."""

MODEL_CARD = """---
library_name: diracdiff
pipeline_tag: image-to-image
tags: [image-restoration, diracdiff]
license: {license}
---

# {title}

A restorer of [diracdiff](https://arxiv.org/abs/2303.14353). It reverses a gradual degradation, and stops early for the
highest PSNR or later for the best perceptual quality.

    diracdiff restore {checkpoint}{operator} input=PHOTOGRAPHS output=restored

{facts}

{about}
"""

OPERATOR_ARGUMENTS = {
    "KernelBlur": " kernel=gaussian:1.5",
    "FreeformInpainting": " mask=MASKS",
    "MultiScaleSuperResolution": " factor=2",
}
"""{class of a degradation: argument of `diracdiff restore` that its models need}."""


def write_exported(
    checkpoint: Checkpoint, folder: Path, card: str, half: bool = False, if_exists: str = "error"
) -> int:
    """Write an exported model, all files or none, without the trainer state.

    Args:
        checkpoint: the model.
        folder: output folder.
        card: text of the model card, Markdown.
        half: store weights in float16; they are read as float32.
        if_exists: "error" or "overwrite", if files exist in the folder.

    Returns:
        Size of the weights in bytes.

    Raises:
        ValueError: if a file exists or cannot be written, or a weight exceeds the range of float16.
    """
    check_output(folder, [folder / name for name in (WEIGHTS, CONFIG, CARD)], if_exists)
    stored = {f"{DENOISER}{name}": weight for name, weight in checkpoint.weights.items()}
    stored |= {f"{INCREMENT}{name}": weight for name, weight in (checkpoint.increment or {}).items()}
    stored = {name: weight.detach().cpu().contiguous() for name, weight in stored.items()}
    if half:
        stored = {name: weight.half() if weight.is_floating_point() else weight for name, weight in stored.items()}
    if not all(weight.isfinite().all() for weight in stored.values()):
        raise ValueError("half=true: a weight is beyond the range of float16. Use half=false.")
    data = save(stored)
    header = {key: value for key, value in checkpoint.header().items() if key != "increment"}
    with staged_files(folder) as staging:
        write_atomically(staging / WEIGHTS, data)
        write_json(staging / CONFIG, {KIND: header, "sha256": hashlib.sha256(data).hexdigest()})
        write_atomically(staging / CARD, card.encode())
    return len(data)


def read_exported(folder: Path) -> dict[str, Any]:
    """Read a folder that `write_exported` wrote.

    Returns:
        Content of a checkpoint, see `Checkpoint.from_content`.

    Raises:
        DamagedFileError: if a file is missing, or its content differs from what was written.
        ValueError: if a file cannot be opened.
    """
    remedy = "Export it again with `diracdiff export`."
    missing = next((file for file in (WEIGHTS, CONFIG) if not (folder / file).is_file()), None)
    if missing is not None:
        raise DamagedFileError(f"checkpoint={folder}: is a folder without {missing}. {remedy}")
    try:
        if (folder / CONFIG).stat().st_size > MAX_PICKLE_BYTES:
            raise ValueError(f"{CONFIG} is larger than {MAX_PICKLE_BYTES} bytes")
        data, content = (folder / WEIGHTS).read_bytes(), json.loads((folder / CONFIG).read_text())
        if hashlib.sha256(data).hexdigest() != content["sha256"]:
            raise ValueError(f"{WEIGHTS} does not match its checksum")
        weights, header = load(data), dict(content[KIND])
    except OSError as error:
        raise ValueError(f"checkpoint={folder}: cannot be read ({error.strerror}). Check its permissions.") from error
    except Exception as error:  # parsers of untrusted bytes raise many types
        raise DamagedFileError(
            f"checkpoint={folder}: is damaged ({' '.join(str(error).split())[:200]}). {remedy}"
        ) from error
    state = {key: value.float() if value.dtype == torch.float16 else value for key, value in weights.items()}
    increment = {key.removeprefix(INCREMENT): value for key, value in state.items() if key.startswith(INCREMENT)}
    return {KIND: header | {"increment": increment or None}, "state_dict": state}


def model_card(checkpoint: Checkpoint, name: str, license: str | None = None, about: str = "") -> str:
    """Return the card of a model: Markdown with the header of the Hub, recipe, quality and usage.

    Args:
        checkpoint: the model.
        name: name of the model in commands, such as `hf:owner/name`.
        license: identifier of a license on the Hub; None: unknown.
        about: Markdown to append.
    """
    recipe, rows = checkpoint.recipe, {(row["t"], row["output"]): row for row in checkpoint.curve}
    facts = {"degradation": recipe["process"]["degradation"], "noise": recipe["process"]["noise"]}
    facts |= {"network": recipe["denoiser"]["network"], "trained on": checkpoint.dataset}
    stopping_points = {target: stop for target, stop in checkpoint.stopping_points.items() if stop}
    facts |= {f"stopping time for {target}": rows.get((s["t"], s["output"])) for target, s in stopping_points.items()}
    return MODEL_CARD.format(
        license=license or "unknown",
        title=for_markdown(recipe.get("name", "restoration")),
        checkpoint=for_terminal(shlex.quote(f"checkpoint={name}")),
        operator=OPERATOR_ARGUMENTS.get(facts["degradation"]["_target_"].rpartition(".")[2], ""),
        facts="\n".join(f"- {for_markdown(part)}: {_code(content)}" for part, content in facts.items()),
        about=about.strip(),
    )


def _code(content: Any) -> str:
    """Return plain containers as JSON in a Markdown code span."""
    return f"`{json.dumps(content).replace('`', '?')}`"
