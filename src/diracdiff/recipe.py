"""Recipes: plain dictionaries that say how to build an object again.

Every class of this package keeps its constructor's arguments as attributes of the same names, so the recipe of
an object, and of those it is made of, is read off the object itself. A checkpoint carries the recipe.
"""

import importlib
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diracdiff.errors import UserError

TARGET = "_target_"
PACKAGE = "diracdiff."


def to_recipe(value: Any) -> Any:
    """Describe a value in plain containers, strings and numbers."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [to_recipe(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_recipe(item) for key, item in value.items()}
    cls = type(value)
    arguments = list(inspect.signature(cls).parameters)
    missing = [name for name in arguments if not hasattr(value, name)]
    if missing:
        raise TypeError(f"{cls.__name__} must keep its arguments {missing} as attributes to have a recipe")
    described = {name: to_recipe(getattr(value, name)) for name in arguments}
    return {TARGET: f"{cls.__module__}.{cls.__qualname__}", **described}


def from_recipe(recipe: Any, trust: Iterable[str] = ()) -> Any:
    """Build what a recipe describes.

    Args:
        recipe: as `to_recipe` makes it.
        trust: modules besides this package whose classes may be built, such as that of a user's own operator.

    Raises:
        UserError: if a target is not a class of this package or of a trusted module, or its arguments do not fit.
    """
    if isinstance(recipe, list):
        return [from_recipe(item, trust) for item in recipe]
    if not isinstance(recipe, dict):
        return recipe
    arguments = {key: from_recipe(item, trust) for key, item in recipe.items() if key != TARGET}
    if TARGET not in recipe:
        return arguments
    cls = _trusted_class(recipe[TARGET], trust)
    try:
        return cls(**arguments)
    except TypeError as error:
        raise UserError(f"the recipe of {recipe[TARGET]} does not fit this version: {error}") from error


def foreign_modules(recipe: Any) -> set[str]:
    """The modules outside this package that a recipe names."""
    if isinstance(recipe, list):
        return set().union(*map(foreign_modules, recipe))
    if not isinstance(recipe, dict):
        return set()
    inner = set().union(*map(foreign_modules, recipe.values()))
    target = recipe.get(TARGET, PACKAGE)
    return inner if target.startswith(PACKAGE) else inner | {target.rpartition(".")[0]}


def _trusted_class(target: Any, trust: Iterable[str]) -> type:
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    own = isinstance(target, str) and target.startswith(PACKAGE)
    if not own and module not in trust:
        remedy = f"; if you know that module, add trust=[{module}]" if module.isidentifier() else ""
        raise UserError(f"the recipe names {target!r}, which is not a class of diracdiff: refused{remedy}")
    try:
        cls = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        if own:
            raise UserError(f"the recipe names {target!r}, which is not a class of diracdiff: refused") from error
        raise UserError(
            f"the recipe needs the module {module}: run from its folder, or put it on PYTHONPATH"
        ) from error
    if not inspect.isclass(cls) or (own and not cls.__module__.startswith(PACKAGE)):
        raise UserError(
            f"the recipe names {target!r}, which is not a class of {'diracdiff' if own else module}: refused"
        )
    return cls
