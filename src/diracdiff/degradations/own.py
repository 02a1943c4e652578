"""Degradations whose operators are every image's own: which they are is told for as long as something is done."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar

from torch import Tensor

from diracdiff.degradations.base import Degradation


class OwnOperators(Degradation):
    """Every image has an operator of its own.

    Which ones images have is told with `of`; outside of it all have that which `draw` gives for the seed 0. What is
    told holds for all degradations of a class, since a restorer's process and those of its networks are several.
    """

    own = True
    _told: ClassVar[ContextVar[Tensor | None]]

    @property
    def known(self) -> bool:
        return self._told.get() is not None

    @contextmanager
    def of(self, own: Tensor | None) -> Iterator[None]:
        before = self._told.set(own)
        try:
            yield
        finally:
            self._told.reset(before)

    @abstractmethod
    def draw(self, seeds: Sequence[int], like: Tensor) -> Tensor: ...

    def told(self, x: Tensor) -> Tensor:
        """What is told, (B or 1, …), in the precision and on the device of images, (B, C, H, W).

        Raises:
            ValueError: if it is of another number of images.
        """
        found = self._told.get()
        found = self.draw([0], x) if found is None else found.to(x)
        if len(found) not in (1, len(x)):
            raise ValueError(f"operators of {len(found)} images do not fit images of {tuple(x.shape)}")
        return found
