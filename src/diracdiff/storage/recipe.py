"""Recipes: plain dictionaries that say how to build an object again.

Every class of this package keeps its constructor's arguments as attributes of the same names, so the recipe of
an object, and of those it is made of, is read off the object itself. A checkpoint carries the recipe. Classes of this
package are named by their room, see `diracdiff.storage.names`.
"""

import importlib
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diracdiff.errors import UserError
from diracdiff.storage.names import OLD_NAMES

TARGET = "_target_"
PACKAGE = "diracdiff"


def to_recipe(value: Any) -> Any:
    """Describe a value in plain containers, strings and numbers.

    Raises:
        TypeError: if an object does not keep its arguments, or its class is not to be found in its room.
    """
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
    return {TARGET: public_name(cls), **{name: to_recipe(getattr(value, name)) for name in arguments}}


def public_name(cls: type) -> str:
    """`diracdiff.<room>.<class>` for a class of this package, and `<module>.<class>` for any other.

    Raises:
        TypeError: if the room does not show the class.
    """
    package, *rooms = cls.__module__.split(".")
    if package != PACKAGE or not rooms:
        return f"{cls.__module__}.{cls.__qualname__}"
    room = f"{PACKAGE}.{rooms[0]}"
    if getattr(importlib.import_module(room), cls.__name__, None) is not cls:
        raise TypeError(f"{cls.__name__} must be imported in {room} to have a recipe")
    return f"{room}.{cls.__name__}"


def renamed(recipe: Any) -> Any:
    """The recipe with today's names of classes that an older one named otherwise."""
    if isinstance(recipe, list):
        return [renamed(item) for item in recipe]
    if not isinstance(recipe, dict):
        return recipe
    new = {key: renamed(item) for key, item in recipe.items()}
    return new | ({TARGET: OLD_NAMES.get(new[TARGET], new[TARGET])} if isinstance(new.get(TARGET), str) else {})


def completed(recipe: Any) -> Any:
    """The recipe with the defaults of arguments that its version did not have yet, where they are plain values."""
    if isinstance(recipe, list):
        return [completed(item) for item in recipe]
    if not isinstance(recipe, dict):
        return recipe
    given = {key: completed(item) for key, item in recipe.items()}
    if not str(given.get(TARGET, "")).startswith(f"{PACKAGE}."):
        return given
    arguments = inspect.signature(_trusted_class(given[TARGET], ())).parameters.items()
    defaults = {name: argument.default for name, argument in arguments}
    plain = {name: value for name, value in defaults.items() if value is None or isinstance(value, int | float | str)}
    return {TARGET: given[TARGET]} | plain | given


def from_recipe(recipe: Any, trusted_modules: Iterable[str] = ()) -> Any:
    """Build what a recipe describes.

    Args:
        recipe: as `to_recipe` makes it.
        trusted_modules: modules besides this package whose classes may be built, such as that of a user's own operator.

    Raises:
        UserError: if a target is not a class of this package or of a trusted module, or its arguments do not fit.
    """
    if isinstance(recipe, list):
        return [from_recipe(item, trusted_modules) for item in recipe]
    if not isinstance(recipe, dict):
        return recipe
    arguments = {key: from_recipe(item, trusted_modules) for key, item in recipe.items() if key != TARGET}
    if TARGET not in recipe:
        return arguments
    cls = _trusted_class(recipe[TARGET], trusted_modules)
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
    return inner if target.split(".")[0] == PACKAGE else inner | {target.rpartition(".")[0]}


def _trusted_class(target: Any, trusted_modules: Iterable[str]) -> type:
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    own = module.split(".")[0] == PACKAGE
    if not own and module not in trusted_modules:
        remedy = f"; if you know that module, add trusted_modules=[{module}]" if module.isidentifier() else ""
        raise UserError(f"the recipe names {target!r}, which is not a class of diracdiff: refused{remedy}")
    try:
        cls = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        if own:
            raise UserError(f"the recipe names {target!r}, which is not a class of diracdiff: refused") from error
        raise UserError(
            f"the recipe needs the module {module}: run from its folder, or put it on PYTHONPATH"
        ) from error
    if not inspect.isclass(cls) or (own and cls.__module__.split(".")[0] != PACKAGE):
        raise UserError(
            f"the recipe names {target!r}, which is not a class of {'diracdiff' if own else module}: refused"
        )
    return cls
