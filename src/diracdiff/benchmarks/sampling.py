"""The parts of a sampler's step: the network, what scales its input and output, and the walk."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from diracdiff.benchmarks.parts import Parts, TimedNetwork, rows_of_laps
from diracdiff.metrics import Row
from diracdiff.models import Denoiser
from diracdiff.restorer import Restorer
from diracdiff.samplers import ReverseSampler


class _Clock:
    """Hooks that charge a denoiser's calls to its parts, until they are removed."""

    def __init__(self, denoiser: Denoiser, parts: Parts):
        self.denoiser, self.network = denoiser, denoiser.network
        assert isinstance(self.network, nn.Module)
        denoiser.network = TimedNetwork(self.network, parts)  # type: ignore[assignment]
        self.hooks = [
            denoiser.register_forward_pre_hook(lambda *_: parts.begin("preconditioning")),
            denoiser.register_forward_hook(lambda *_: parts.end()),
        ]

    def remove(self) -> None:
        self.denoiser.network = self.network
        for hook in self.hooks:
            hook.remove()


@torch.no_grad()
def sampler_steps(
    restorer: Restorer,
    samplers: Mapping[str, ReverseSampler],
    x: Tensor,
    rounds: int,
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Row]:
    """Walk with every sampler in turn, and return the parts of a step of each, see `rows_of_laps`.

    A lap is one step of a walk; the first state of a walk, for which there has been no step, is left out.

    Args:
        restorer: process and denoiser.
        samplers: by name.
        x: clean images in [0, 1], (B, C, H, W), to be measured.
        rounds: walks of each sampler, after one that is not counted.
        track: shows progress over the rounds.
    """
    parts, clocks = {name: Parts(x.device) for name in samplers}, dict(samplers)
    training = restorer.denoiser.training
    restorer.denoiser.eval()
    for number in track(range(rounds + 1)):
        for name, sampler in clocks.items():
            with restorer.process.of_images(range(len(x)), x):
                measured, clock = restorer.measure(x), _Clock(restorer.denoiser, parts[name])
                states = sampler.states(restorer.process, restorer.denoiser, measured.y, measured.noise)
                for index, state in enumerate(states):
                    parts[name].lap(keep=number > 0 and index > 0 and state.fresh)
                clock.remove()
    restorer.denoiser.train(training)
    return [
        found
        for name in samplers
        for found in rows_of_laps(f"sampler step, {name}", parts[name].laps, len(x), "a step")
    ]
