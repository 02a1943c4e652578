"""Steps whose gradient is not finite: they are left out, and end a training that has diverged."""

from collections.abc import Sequence

from torch import Tensor

from diracdiff.utils.errors import UserError, warn

MAX_SKIPPED_STEPS, MAX_NAMED = 10, 8


class Skipping:
    """Counts consecutive steps that are skipped."""

    def __init__(self) -> None:
        self.count = 0

    def note(self, step: int, norm: Tensor, rates: str, images: str) -> None:
        """Skip a step, of which is warned once.

        Args:
            step: its number.
            norm: of its gradient.
            rates: learning rates, in words.
            images: those of the step, in words.

        Raises:
            UserError: at the tenth in a row: training has diverged.
        """
        self.count += 1
        if self.count == 1:
            warn(f"step {step} is skipped: the gradient's norm is {norm.item()}; {images}")
        if self.count >= MAX_SKIPPED_STEPS:
            raise UserError(
                f"training diverged: the gradient's norm was {norm.item()} in {self.count} consecutive steps, up to "
                f"step {step}; go on from the last checkpoint with a smaller {rates}; {images}"
            )


def in_words(names: Sequence[str], t: Tensor, sigma: Tensor) -> str:
    """Which images a step was made on, at which times and noise levels."""
    images = [f"{n} (t {a:.3g}, sigma {b:.3g})" for n, a, b in zip(names, t.tolist(), sigma.tolist(), strict=True)]
    more = f" and {len(images) - MAX_NAMED} more" if len(images) > MAX_NAMED else ""
    return f"images: {', '.join(images[:MAX_NAMED])}{more}"
