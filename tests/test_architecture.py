"""The shape of the code: what may import what."""

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT

SOURCE = ROOT / "src" / "diracdiff"
LAYERS = [
    [
        "console",
        "errors",
        "escaping",
        "processes",
        "seeds",
        "pixels",
        "signals",
        "memory",
        "ranks",
        "resources",
        "places",
        "storage",
        "validate",
    ],
    ["shapes", "degradations", "noise"],
    ["process"],
    ["losses", "models", "samplers", "exact"],
    ["measurement"],
    ["evaluation"],
    ["restorer", "registry"],
    ["report"],
    ["scheduling", "official", "data"],
    ["training", "baselines", "restoration"],
    ["studio"],
    ["comparison", "benchmarks"],
    ["config", "cli", "arguments", "checks", "lean", "sweep", "run_folder", "manual"],
    [
        "train",
        "evaluate",
        "restore",
        "calibrate",
        "compare",
        "demo",
        "sample",
        "schedule",
        "pack",
        "export",
        "import_official",
        "bench",
        "__main__",
    ],
]
"""Rooms, and files that are rooms of their own: each may import those above it, and those beside it."""

COMMANDS = LAYERS[-1]
CORE = [name for names in LAYERS[: 1 + LAYERS.index(["restorer", "registry"])] for name in names]
LONGEST, LONGEST_COMMAND = 250, 60
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Modules that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_downwards(path):
    for module in imports(path):
        if module.startswith("diracdiff.") and room(path) != module.split(".")[1]:
            assert RANK[module.split(".")[1]] <= RANK[room(path)], f"{path.name} imports {module}"


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in CORE], ids=lambda p: str(p.relative_to(SOURCE)))
def test_the_mathematical_core_needs_torch_alone(path):
    outer = {module.split(".")[0] for module in imports(path)}
    assert not outer & {"pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_file_is_too_long(path):
    limit = LONGEST_COMMAND if room(path) in COMMANDS else LONGEST
    assert len(path.read_text().splitlines()) <= limit


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_private_name_leaves_its_file(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diracdiff"):
            names = {alias.name for alias in node.names} - {"__version__"}
            assert not [name for name in names if name.startswith("_")]


def test_the_list_of_rooms_is_in_the_documentation():
    documented = (ROOT / "docs" / "structure.md").read_text()
    for names in LAYERS[:-1]:
        assert re.search(rf"^{' '.join(names)} ", documented, re.MULTILINE), names


def test_models_and_data_sets_stand_alone():
    sets = sorted((SOURCE / "data").glob("*.py"))
    for path in [*sets, SOURCE / "models" / "ncsnpp.py", SOURCE / "models" / "layers.py"]:
        assert not any(re.match(r"diracdiff\.(degradations|noise|process|losses|samplers)", m) for m in imports(path))


def test_every_room_has_its_layer():
    assert {room(path) for path in FILES} == set(RANK)
