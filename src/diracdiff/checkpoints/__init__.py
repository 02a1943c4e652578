"""Checkpoints: file format, recipes of objects, exported models, models on the Hub, and released weights."""

from diracdiff.checkpoints.checkpoint import Checkpoint
from diracdiff.checkpoints.recipe import external_modules, to_recipe
from diracdiff.checkpoints.weights import read_weights

__all__ = ["Checkpoint", "external_modules", "read_weights", "to_recipe"]
