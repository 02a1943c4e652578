"""Public names of the package have docstrings, which name the errors that they raise."""

import ast
import importlib
import inspect
import re

import pytest
from test_architecture import FILES, SOURCE

MODULES = [path for path in FILES if path.name != "__main__.py"]
LIBRARY = [path for path in MODULES if path.parent.name != "commands"]  # errors of commands are printed, not raised


def module_of(path):
    name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
    return importlib.import_module(name.removesuffix(".__init__"))


def public(path):
    """Yield (name, object) of public classes, functions and methods that a file defines."""
    module = module_of(path)
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            yield name, value
        if inspect.isclass(value):
            for inner, method in vars(value).items():
                if not inner.startswith("_") and (inspect.isfunction(method) or isinstance(method, property)):
                    yield f"{name}.{inner}", getattr(value, inner)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_public_names_have_a_docstring(path):
    for name, value in public(path):
        assert inspect.getdoc(value), f"{path.name}: {name}"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(SOURCE)))
def test_errors_that_a_function_raises_are_in_its_docstring(path):
    """Constructors are exempt. An overriding method may inherit the docstring."""
    module = module_of(path)
    for node in ast.parse(path.read_text()).body:
        owners = [node] if isinstance(node, ast.FunctionDef) else getattr(node, "body", [])
        for function in (part for part in owners if isinstance(part, ast.FunctionDef)):
            if function.name.startswith("_"):
                continue
            raised = {
                inner.exc.func.id
                for inner in ast.walk(function)
                if isinstance(inner, ast.Raise) and isinstance(inner.exc, ast.Call) and hasattr(inner.exc.func, "id")
            } & {"ValueError"}
            owner = getattr(module, node.name)
            documented = inspect.getdoc(owner if owner.__name__ == function.name else getattr(owner, function.name))
            assert not raised or re.search(r"\b[Rr]aises?\b", documented or ""), f"{function.name} raises {raised}"
