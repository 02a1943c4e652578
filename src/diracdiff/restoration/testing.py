"""Noise levels that differ."""

from diracdiff.restoration.consistency import FAR

__all__ = ["FAR"]
