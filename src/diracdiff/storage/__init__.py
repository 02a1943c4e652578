"""What lies on disk: checkpoints and the recipes in them, files written whole or not at all, downloads."""

from diracdiff.storage.checkpoint import Checkpoint
from diracdiff.storage.recipe import completed, foreign_modules, from_recipe, to_recipe
from diracdiff.storage.weights import read_weights

__all__ = ["Checkpoint", "completed", "foreign_modules", "from_recipe", "read_weights", "to_recipe"]
