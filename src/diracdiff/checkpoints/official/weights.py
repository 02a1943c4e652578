"""Which of the weights in their file are the network's: those that were trained, or their average."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diracdiff.utils.errors import UserError

PREFIX = "denoiser_fn."
BUFFERS = ("freqs", "resample_filter")

EMA_PREFIXES = ("ema.denoiser_fn.", "ema_denoiser_fn.", "denoiser_fn_ema.", "ema.")
"""Where the state may hold a second copy of the network, the average."""

EMA_LISTS = (("optimizer_states", 0, "ema"), ("ema", "shadow_params"), ("ema_state_dict", "shadow_params"))
"""Where a list of averages, in the order of the parameters, may lie. The first is what their EMA callback writes."""


def network_weights(checkpoint: Mapping[str, Any], ema: str | bool = "auto") -> tuple[dict[str, Tensor], str]:
    """The network's tensors by their names, without prefix, and in words which ones they are.

    Args:
        checkpoint: what their file holds.
        ema: True for the averaged weights, False for those that were trained, "auto" for the average if there is one.

    Raises:
        UserError: if there are no such weights, or an average does not fit the network.
    """
    saved = _under(checkpoint.get("state_dict"), PREFIX)
    if not saved:
        raise UserError(f"the file holds no weights named {PREFIX}…: give one that the authors of DiracDiffusion wrote")
    parameters = [key for key in saved if not key.endswith(BUFFERS)]
    if "current_model_state" in checkpoint:  # Lightning's WeightAveraging
        trained, average, where = _under(checkpoint["current_model_state"], PREFIX), saved, "state_dict"
    else:
        trained, (average, where) = saved, _beside(checkpoint, parameters)
    if ema is True and not average:
        raise UserError("ema=true asks for averaged weights, and the file holds none that are known: use ema=auto")
    if ema is False and average and all(_equal(trained.get(key), value) for key, value in average.items()):
        raise UserError("ema=false asks for weights that are not averaged, and the file holds the average alone")
    if ema is False or not average:
        return trained, "weights as saved" + (", not their average" if average else "")
    missing = [key for key in parameters if key not in average]
    if missing:
        raise UserError(
            f"the averaged weights ({where}) do not fit the network: {len(average)} tensors for {len(parameters)} "
            f"parameters, without {few(missing)}; use ema=false"
        )
    return saved | average, f"averaged weights ({where})"


def _beside(checkpoint: Mapping[str, Any], parameters: Sequence[str]) -> tuple[dict[str, Tensor], str]:
    """The average that a file keeps beside its state, and where; empty if there is none."""
    for prefix in EMA_PREFIXES:
        average = _under(checkpoint["state_dict"], prefix)
        if average:
            return average, f"{prefix}…"
    for path in EMA_LISTS:
        values = _at(checkpoint, path)
        if values:
            names = parameters if len(values) == len(parameters) else map(str, range(len(values)))
            return dict(zip(names, values, strict=True)), ".".join(map(str, path))
    return {}, ""


def _equal(a: Tensor | None, b: Tensor) -> bool:
    return a is not None and a.shape == b.shape and torch.equal(a, b)


def _under(state: Any, prefix: str) -> dict[str, Tensor]:
    if not isinstance(state, Mapping):
        return {}
    return {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if isinstance(key, str) and key.startswith(prefix) and isinstance(value, Tensor)
    }


def _at(value: Any, path: Sequence[str | int]) -> list[Tensor]:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return []
    return [item for item in value if isinstance(item, Tensor)] if isinstance(value, list | tuple) else []


def few(names: Sequence[str], most: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
