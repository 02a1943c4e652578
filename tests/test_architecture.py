"""Import rules and module structure of the package."""

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT

SOURCE = ROOT / "src" / "diracdiff"
METHOD = [
    "utils",
    "noise",
    "degradations",
    "process",
    "losses",
    "samplers",
    "models",
    "oracles",
    "checkpoints",
    "metrics",
    "evaluation",
    "checkpoints.registry",
    "restorer",
    "scheduling",
    "baselines",
]
APPLICATION = [
    "data",
    "report",
    "checkpoints.official",
    "training",
    "comparison",
    "apps",
    "interop",
    "commands",
    "__main__",
]
ORDER = METHOD + APPLICATION
"""Subpackages and modules: each may import those before it."""


def unit(module: str) -> str:
    """Return the longest entry of `ORDER` that contains the module."""
    parts = module.split(".")[1:3]
    return ".".join(parts) if ".".join(parts) in ORDER else parts[0]


def unit_of(path: Path) -> str:
    return unit(".".join(("diracdiff", *path.relative_to(SOURCE).with_suffix("").parts)))


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, at module level or inside functions."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    return modules


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_follow_the_order(path):
    importer = unit_of(path)
    for module in imports(path):
        if module.startswith("diracdiff.") and unit(module) != importer:
            assert ORDER.index(unit(module)) < ORDER.index(importer), f"{path.name} imports {module}"


@pytest.mark.parametrize("path", [p for p in FILES if unit_of(p) in METHOD], ids=lambda p: str(p.relative_to(SOURCE)))
def test_method_needs_torch_only(path):
    outer = {module.split(".")[0] for module in imports(path)}
    assert not outer & {"pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_private_names_are_not_imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diracdiff"):
            names = {alias.name for alias in node.names} - {"__version__"}
            assert not [name for name in names if name.startswith("_")]


def test_models_and_data_sets_import_no_process():
    sets = sorted((SOURCE / "data").glob("*.py"))
    for path in [*sets, SOURCE / "models" / "ncsnpp.py", SOURCE / "models" / "layers.py"]:
        assert not any(re.match(r"diracdiff\.(degradations|noise|process|losses|samplers)", m) for m in imports(path))


def test_every_module_is_in_the_order():
    assert {unit_of(path) for path in FILES} == set(ORDER)


CHANGES = {"append", "add", "update", "setdefault", "pop", "clear", "extend", "remove", "insert"}
STATE = {"ContextVar", "cache", "lru_cache", "cached_property"}
ALLOWED_STATE = {"scheduling/distance.py", "scheduling/greedy.py"}
"""Files that may cache, because the cache belongs to an object or a call."""

DOCUMENTED = {"_exit", "_replace"}
"""Public names of the standard library that begin with an underscore."""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_module_holds_mutable_state(path):
    tree = ast.parse(path.read_text())
    top = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    state = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            state.append(f"global {node.names}")
        elif isinstance(node, ast.ImportFrom):
            state += [alias.name for alias in node.names if alias.name in STATE - {"cached_property"}]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            state += [node.attr] * (node.value.id == "functools" and node.attr in STATE)
            state += [f"{node.value.id}.{node.attr}"] * (node.value.id in top and node.attr in CHANGES)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
            state += [f"{node.value.id}[…] ="] * (node.value.id in top)
    assert not state or str(path.relative_to(SOURCE)) in ALLOWED_STATE, state


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_private_attribute_of_another_object_is_used(path):
    """Allowed are `self._x`, `cls._x` and names defined in the same file."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            is_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            defined = f"def {node.attr}(" in text or f"self.{node.attr}" in text or f"    {node.attr}:" in text
            assert is_self or defined or node.attr in DOCUMENTED, f"{ast.unparse(node)}, line {node.lineno}"
