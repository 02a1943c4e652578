"""Recipes: plain dictionaries that describe objects.

Each class keeps the arguments of its constructor as attributes with the same names. A recipe stores these attributes,
and `diracdiff.checkpoints.registry` builds the object from them. The recipe names classes of this package by their
subpackage, so that classes can move between files of a subpackage.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

TARGET = "_target_"
PACKAGE = "diracdiff"


def to_recipe(value: Any) -> Any:
    """Describe a value with plain containers, strings and numbers.

    Args:
        value: a plain value, a container, or an object that keeps its constructor arguments as attributes.

    Raises:
        TypeError: if an object does not keep its arguments, or its subpackage does not export its class.
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
    """Return `diracdiff.<subpackage>.<class>` for a class of this package, and `<module>.<class>` for other classes.

    Raises:
        TypeError: if the subpackage does not export the class.
    """
    package, *rest = cls.__module__.split(".")
    if package != PACKAGE or not rest:
        return f"{cls.__module__}.{cls.__qualname__}"
    subpackage = f"{PACKAGE}.{rest[0]}"
    if getattr(importlib.import_module(subpackage), cls.__name__, None) is not cls:
        raise TypeError(f"{cls.__name__} must be imported in {subpackage} to have a recipe")
    return f"{subpackage}.{cls.__name__}"


def external_modules(recipe: Any) -> set[str]:
    """Return the names of all modules outside this package in a recipe."""
    if isinstance(recipe, list):
        return set().union(*map(external_modules, recipe))
    if not isinstance(recipe, dict):
        return set()
    inner = set().union(*map(external_modules, recipe.values()))
    target = recipe.get(TARGET, PACKAGE)
    return inner if target.split(".")[0] == PACKAGE else inner | {target.rpartition(".")[0]}


def construct(cls: type, arguments: Any) -> Any:
    """Call a constructor with untrusted keyword arguments.

    Args:
        cls: the class.
        arguments: {name: value}. For classes of this package, types must match the annotations.

    Raises:
        ValueError: if an argument is unknown, missing, of another type, or refused by the constructor.
    """
    if not isinstance(arguments, Mapping):
        raise ValueError(f"{cls.__name__} is of another type: {str(arguments)[:60]!r}")
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {str(error)[:200]}") from error
    hints = get_type_hints(cls.__init__) if cls.__module__.startswith(f"{PACKAGE}.") else {}  # type: ignore[misc]
    for name, value in arguments.items():
        if not matches_type(value, hints.get(name, Any)):
            raise ValueError(f"{cls.__name__}.{name} is of another type: {str(value)[:60]!r}")
    try:
        return cls(**arguments)
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"{cls.__name__}: {error}") from error


def matches_type(value: Any, annotation: Any) -> bool:
    """Return True if a value matches a type annotation. Integers match `float`; booleans match only `bool`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return True
    if origin in (Union, UnionType):
        return any(matches_type(value, part) for part in inner)
    if origin is Callable or annotation is Callable:
        return callable(value)
    if annotation is float:
        return type(value) in (int, float)
    if annotation in (int, bool, str, NoneType):
        return type(value) is annotation
    if origin is dict:
        return isinstance(value, dict) and all(
            matches_type(k, inner[0]) and matches_type(v, inner[1]) for k, v in value.items()
        )
    if origin is tuple:
        return isinstance(value, list | tuple) and len(value) == len(inner) and all(map(matches_type, value, inner))
    if origin is not None:  # a sequence of one type
        return isinstance(value, list | tuple) and all(matches_type(item, inner[0]) for item in value)
    return isinstance(value, annotation)
