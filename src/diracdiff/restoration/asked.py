"""What a command asks of a restoration."""

from dataclasses import dataclass
from typing import Literal

from diracdiff.data.companions import Companions
from diracdiff.evaluation.calibration import Interval

AUTO: Literal["auto"] = "auto"
"""A noise level that is estimated, image by image."""


@dataclass(frozen=True)
class Asked:
    """How images are restored, and what is written of each.

    Attributes:
        target: where walks stop, see `Restorer.stop_for`.
        samples: of each image.
        interval: of every pixel, or None; then there is no table either.
        degrade: whether images are clean and are measured first.
        sigma: noise level of the files, in units of the [0, 1] range; AUTO: estimated; None: the model's.
        residual_map: whether a picture of the residual is written.
        told: files of each image's own operator; None: it is that of the model, or follows from names.
    """

    target: str = "psnr"
    samples: int = 1
    interval: Interval | None = None
    degrade: bool = False
    sigma: float | Literal["auto"] | None = None
    residual_map: bool = False
    told: Companions | None = None

    @property
    def extras(self) -> list[str]:
        """Names of the pictures besides "restored"."""
        from diracdiff.evaluation.uncertainty import PICTURES

        return [
            *(["measurement"] if self.degrade else []),
            *(PICTURES if self.interval else []),
            *(["residual"] if self.residual_map else []),
        ]
