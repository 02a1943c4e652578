"""What every restored image is tested for, and what its measurement is found to be."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diracdiff.data.inputs import LINES, Input
from diracdiff.degradations import Identity
from diracdiff.errors import warn
from diracdiff.evaluation.certificate import RULE, certify, standardised
from diracdiff.evaluation.plausibility import estimate_sigma, is_hidden
from diracdiff.restoration.asked import AUTO, Asked
from diracdiff.restoration.own import inner
from diracdiff.restorer import Restorer
from diracdiff.seeds import image_seed

FAR = 1.25
"""Factor by which the noise of a file may differ from the model's without a word: as far as texture misleads."""


class Tester:
    """Makes the line of a restored image, and warns of measurements that the model does not expect: once of a kind.

    Args:
        restorer: that restored.
        asked: what was asked for.
        output: the folder of the results.
    """

    def __init__(self, restorer: Restorer, asked: Asked, output: Path):
        self.restorer, self.asked, self.output = restorer, asked, output
        self._said: set[str] = set()

    @torch.no_grad()
    def row(
        self, image: Input, y: Tensor, x_hat: Tensor, step: float, seconds: float, margin: int = 0
    ) -> tuple[dict[str, Any], Tensor]:
        """What is said of an image, as JSON holds it, and its standardised residuals, (1 or 3, H, W).

        Grey images have one channel, and are tested as such: three equal ones have no noise of their own.

        Args:
            image: the file.
            y: its measurement, (3, H, W).
            x_hat: what it was restored to, (3, H, W).
            step: between two values of the measurement; 0: it was not rounded.
            seconds: that its restoration took.
            margin: pixels at each border of y and x_hat that are not the file's.
        """
        restorer, asked = self.restorer, self.asked
        start = restorer.sampler.start
        if image.grey:
            y, x_hat = y.mean(0, keepdim=True), x_hat.mean(0, keepdim=True).expand(3, -1, -1)
        mean = inner(restorer.process.mean(x_hat.unsqueeze(0), start)[0, : len(y)], margin)
        y = inner(y, margin)
        estimated = estimate_sigma(y, step)
        sigma, source = self._sigma(y, estimated)
        hidden = None if asked.degrade else is_hidden(y, restorer.process, start)
        z = standardised(y, mean, sigma, step, image_seed(restorer.seed, f"certificate/{image.path.name}"))
        clipped = ((y <= 0) | (y >= 1)).float().mean().item() if step else 0.0
        if not asked.degrade:
            self._warn(image, estimated, hidden)
        stop = restorer.stop_for(asked.target)
        row = {
            "image": str(image.path),
            "path": str(image.path.absolute()),
            "result": self._name(image.targets["restored"]),
            "t": min(stop.t, start),
            "start": start,
            "samples": asked.samples,
            "nfe": restorer.nfe * asked.samples,
            "seconds": seconds,
            "sigma": sigma,
            "sigma_from": source,
            "sigma_estimated": estimated,
            **certify(z, clipped).row(),
            "rule": RULE,
            "lossy": image.lossy and not asked.degrade,
            "hidden": hidden,
            "residual_map": self._name(image.targets["residual"]) if asked.residual_map else None,
            "files": [self._name(path) for path in image.targets.values()],
        }
        return row, z

    def _sigma(self, y: Tensor, estimated: float | None) -> tuple[float, str]:
        """The noise level that residuals are measured in, and where it is from."""
        restorer, asked = self.restorer, self.asked
        if asked.sigma == AUTO and estimated is not None:
            return max(estimated, 1e-6), "estimated"
        if asked.sigma not in (None, AUTO):
            return float(asked.sigma), "given"
        if restorer.sampler.sigma:
            return restorer.sampler.sigma, "given"
        images = y.unsqueeze(0)
        return restorer.process.sigma_of_measurement(images, restorer.sampler.start).max().item(), "model"

    def _warn(self, image: Input, estimated: float | None, hidden: bool | None) -> None:
        process, start = self.restorer.process, self.restorer.sampler.start
        known = process.sigma_of_measurement(torch.zeros(1, 1, 1, 1), start).max().item()
        if hidden is False:
            self._say(
                "hidden",
                f"{image.path}: its centre is not hidden as task={self.restorer.name} expects: add degrade=true if it "
                "is a clean image",
            )
        elif estimated is not None and self.asked.sigma is None and not isinstance(process.degradation, Identity):
            if estimated > FAR * known:
                remedy = f"train with schedule.noise.sigma_max={estimated:.2g}, or make the noise less"
            elif estimated < known / FAR and self.asked.told is None:  # what is no hole is left as it is
                remedy = "sigma=auto tests the result against what it has; a model that is trained for it restores more"
            else:
                return
            self._say(
                "sigma_estimated",
                f"{image.path}: its noise is about {estimated:.2g} (standard deviation in the [0, 1] range), and the "
                f"model was trained for {known:.2g}: {remedy}",
            )

    def _say(self, key: str, text: str) -> None:
        """Warn, of the first image alone: the lines have the others."""
        if key not in self._said:
            self._said.add(key)
            warn(f"{text} (said once: see {key} in {self.output / LINES})", from_every_process=True)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.output).as_posix()
