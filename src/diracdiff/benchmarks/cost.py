"""What a network costs: operations and memory against pixels and batch, counted without running it.

Counting is done on PyTorch's "meta" device, where tensors have shapes and no content: any network and any number of
pixels are counted in seconds and in no memory.
"""

import copy
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diracdiff.metrics import Row

WEIGHT_COPIES = 5
"""Of every weight in training: itself, its gradient, Adam's two moments, the average."""


class Cost(NamedTuple):
    """What training on a batch takes.

    Attributes:
        forward: floating-point operations of a network call.
        both: of a call and its gradient.
        weights: bytes of weights, gradients, moments and the average.
        activations: most bytes that are alive at a time besides, while the gradient is made.
        sampling: the same without a gradient.
    """

    forward: float
    both: float
    weights: int
    activations: int
    sampling: int


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are alive among those made inside.

    Attributes:
        now: bytes alive.
        peak: most of them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}  # what is changed in place is not made
        for storage in _storages(made):
            if storage._cdata not in given:
                self._watch(storage)
        return made

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone(_: Any) -> None:
            self.now -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, gone)


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def on_meta(network: nn.Module) -> nn.Module:
    """A copy of the network without content."""
    with torch.no_grad():
        return copy.deepcopy(network).to("meta")


def flops(network: nn.Module, size: int) -> tuple[float, float]:
    """Floating-point operations for one image of size x size pixels: of a call, and of a call with its gradient."""
    from torch.utils.flop_counter import FlopCounterMode

    from diracdiff.benchmarks.networks import inputs

    empty = on_meta(network)
    y, level = inputs(empty, size, 1, "meta")  # type: ignore[arg-type]
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        empty(y, level)
    with FlopCounterMode(display=False) as both:
        empty(y, level).sum().backward()
    return float(forward.get_total_flops()), float(both.get_total_flops())


def cost(network: nn.Module, size: int, batch: int) -> Cost:
    """What training a network takes on batches of images of size x size pixels, in float32."""
    from diracdiff.benchmarks.networks import inputs

    forward, both = flops(network, size)
    empty = on_meta(network)
    parameters = sum(p.numel() * p.element_size() for p in empty.parameters())
    y, level = inputs(empty, size, batch, "meta")  # type: ignore[arg-type]
    with LiveBytes() as sampling, torch.no_grad():
        empty(y, level)
    for parameter in empty.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with LiveBytes() as training:
        empty(y, level).square().mean().backward()
    return Cost(forward * batch, both * batch, WEIGHT_COPIES * parameters, training.peak, sampling.peak)


def predicted(rows: Sequence[Row], reference: str) -> list[Row]:
    """Rows of cases with the seconds that a reference predicts for them, in proportion to the operations.

    Args:
        rows: with flops; those of the groups that have no such case are left as they are.
        reference: name of the case of each group that predicts the others.
    """
    known = {row["group"]: row for row in rows if row["case"] == reference}
    done = []
    for row in rows:
        by = known.get(row["group"])
        more = {"predicted": by["seconds"][1] * row["flops"] / by["flops"]} if by is not None and by is not row else {}
        done.append(row | more)
    return done
