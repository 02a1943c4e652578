"""Examples, commands and options of the README and the documentation."""

import ast
import importlib
import re
import shlex

import pytest
import torch
from conftest import ROOT
from hydra import compose, initialize_config_dir

README, COOKBOOK = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/cookbook.md"))
PAGES = [ROOT / "README.md", *(path for path in (ROOT / "docs").rglob("*.md") if not path.parent.name.startswith("_"))]


def test_the_python_example_runs(tmp_path, monkeypatch, without_weights):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line and "import" not in line]) <= 14
    for setting, smaller in (("2048", "16"), ("max_epochs=9", "max_epochs=1"), ("n_epoch=9", "n_epoch=1")):
        assert setting in code
        code = code.replace(setting, smaller)
    code = code.replace("channels=16", "channels=4").replace("max_epochs=1,", "max_epochs=1, logger=False,")
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec(compile(code, "docs/api.md", "exec"), namespace)
    assert namespace["restored"].shape == (1, 3, 64, 64)
    assert namespace["restored"].min() >= 0 and namespace["restored"].max() <= 1
    assert torch.isfinite(namespace["restored"]).all()


PYTHON_BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "path", [path for path in PAGES if "```python" in path.read_text()], ids=lambda path: path.stem
)
def test_python_blocks_use_existing_names(path):
    for code in PYTHON_BLOCK.findall(path.read_text()):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("diracdiff"):
                names = [(importlib.import_module(node.module), alias.name) for alias in node.names]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "dd":
                names = [(importlib.import_module("diracdiff"), node.attr)]
            else:
                continue
            assert all(hasattr(module, name) for module, name in names), ast.unparse(node)


@pytest.mark.parametrize("page", [README, COOKBOOK], ids=["readme", "cookbook"])
def test_options_exist(page):
    for kind in ("task", "model", "data", "trainer", "logger", "experiment"):
        options = set(re.findall(rf"\b{kind}=(\w+)", page))
        assert options <= {path.stem for path in (ROOT / "conf" / kind).glob("*.yaml")}


def options_of_the_cookbook():
    """Yield (name, overrides) of every option in the tables of the cookbook, with the command of its section."""
    name = None
    for line in COOKBOOK.splitlines():
        if command := re.match(r"Add to `python -m diracdiff (\w+)", line):
            name = command[1]
        elif name and line.startswith("|"):
            for code in re.findall(r"`([^`]+)`", line.split("|")[2]):
                words = shlex.split(code)
                if all("=" in word or word == "-m" for word in words):
                    yield name, words


def commands():
    """Yield (file, name, overrides) of every command in the documentation, and of every option of the cookbook."""
    options = [*options_of_the_cookbook()]
    assert {name for name, _ in options} == {"restore", "train", "evaluate"} and len(options) > 40
    yield from (("docs/cookbook.md", *option) for option in options)
    for path in [*PAGES, *(ROOT / "experiments").glob("**/*.md")]:
        for line in re.findall(r"python -m diracdiff (\w+ [^`\n]*)", path.read_text().replace("\\\n", " ")):
            name, *overrides = shlex.split(line.split("    #")[0].split("|")[0])
            if "--config-dir" not in overrides:  # tests/test_tutorials.py runs these
                yield path.relative_to(ROOT), name, overrides


def test_keys_of_every_command_exist():
    """Placeholders are replaced, sweeps use their first value, and commands with equal options are merged."""
    overrides_of = {}
    for path, name, overrides in commands():
        options, values = [], {}
        for key, equals, value in (override.partition("=") for override in overrides):
            if not equals or (key, value) in (("task", "…"), ("data", "…")):
                continue
            value = value.split(",")[0] if "-m" in overrides and "[" not in value else value
            # brace expansion of the shell
            prefix, inner, suffix = re.fullmatch(r"([^{]*)(?:\{(.*)\})?([^}]*)", key).groups()
            for part in (inner or "").split(","):
                override = f"{prefix}{part}{suffix}={value.replace('…', 'x').split('|')[0]}"
                if (ROOT / "conf" / key).is_dir():
                    options.append(override)
                else:
                    values[override.partition("=")[0]] = override
        overrides_of.setdefault((name, *options), {}).update(
            {key: (path, override) for key, override in values.items()}
        )
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for (name, *options), values in overrides_of.items():
            try:
                compose(name, [*options, *(override for _, override in values.values())])
            except Exception as error:
                raise AssertionError(f"{name} {options} {values}") from error


METHOD, PARTS = (ROOT / "docs" / "method.md").read_text(), ("increment", "grid", "guidance", "solver")


def test_every_option_is_in_the_table_of_the_method():
    for kind in ("task", "method", "loss", *(f"sampler/{part}" for part in PARTS)):
        for path in (ROOT / "conf" / kind).glob("*.yaml"):
            assert re.search(rf"[`= ]{path.stem}\b", METHOD), f"{kind}={path.stem}"


def test_the_operator_of_the_documentation_runs():
    (code,) = re.findall(r"```python\n(.*?)```", METHOD, re.DOTALL)
    namespace = {}
    exec(compile(code, "docs/method.md", "exec"), namespace)
    assert len([line for line in code.splitlines() if line.strip() and not line.startswith("#")]) <= 15
    fade = namespace["Fade"](lambda t: 0.9 * t)
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(fade(x, 0.0), x) and torch.allclose(fade(x, 1.0), 0.1 * x, atol=1e-6)
