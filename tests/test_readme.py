"""What the README shows runs."""

import re
import shlex

import torch
from conftest import ROOT
from hydra import compose, initialize_config_dir

README = (ROOT / "README.md").read_text()


def test_the_python_example_runs(tmp_path, monkeypatch, without_weights):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line and "import" not in line]) <= 14
    for number, smaller in (("2048", "16"), ("max_epochs=9", "max_epochs=1"), ("n_epoch=9", "n_epoch=1")):
        assert number in code
        code = code.replace(number, smaller)
    code = code.replace("channels=16", "channels=4").replace("max_epochs=1,", "max_epochs=1, logger=False,")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["restored"].shape == (1, 3, 64, 64)
    assert names["restored"].min() >= 0 and names["restored"].max() <= 1
    assert torch.isfinite(names["restored"]).all()


def test_files_that_the_readme_names_exist():
    for path in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (ROOT / path).exists(), path


def test_choices_that_the_readme_names_exist():
    for kind in ("task", "model", "data", "trainer", "logger", "experiment"):
        named = set(re.findall(rf"\b{kind}=(\w+)", README))
        assert named <= {path.stem for path in (ROOT / "conf" / kind).glob("*.yaml")}


def commands():
    """Yield every command of the package in the documentation: (file, name, overrides)."""
    pages = [path for path in (ROOT / "docs").rglob("*.md") if "_generated" not in path.parts]
    for path in [ROOT / "README.md", *pages, *(ROOT / "experiments").glob("**/*.md")]:
        for line in re.findall(r"python -m diracdiff (\w+ [^`\n]*)", path.read_text().replace("\\\n", " ")):
            name, *overrides = shlex.split(line.split("    #")[0].split("|")[0])
            if "--config-dir" not in overrides:  # with options of its page: tests/test_tutorials.py
                yield path.relative_to(ROOT), name, overrides


def test_the_keys_of_every_command_exist():
    """Placeholders are replaced, sweeps take their first value, and commands with the same options are one."""
    found = {}
    for path, name, overrides in commands():
        options, values = [], {}
        for key, equals, value in (override.partition("=") for override in overrides):
            if not equals or (key, value) in (("task", "…"), ("data", "…")):
                continue
            value = value.split(",")[0] if "-m" in overrides and "[" not in value else value
            before, inner, after = re.fullmatch(r"([^{]*)(?:\{(.*)\})?([^}]*)", key).groups()  # the shell's braces
            for part in (inner or "").split(","):
                word = f"{before}{part}{after}={value.replace('…', 'x').split('|')[0]}"
                if (ROOT / "conf" / key).is_dir():
                    options.append(word)
                else:
                    values[word.partition("=")[0]] = word
        found.setdefault((name, *options), {}).update({key: (path, word) for key, word in values.items()})
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for (name, *options), values in found.items():
            try:
                compose(name, [*options, *(word for _, word in values.values())])
            except Exception as error:
                raise AssertionError(f"{name} {options} {values}") from error


METHOD, PARTS = (ROOT / "docs" / "method.md").read_text(), ("increment", "grid", "guidance", "solver")


def test_every_choice_is_in_the_table_of_the_method():
    for kind in ("task", "method", "loss", *(f"sampler/{part}" for part in PARTS)):
        for path in (ROOT / "conf" / kind).glob("*.yaml"):
            assert re.search(rf"[`= ]{path.stem}\b", METHOD), f"{kind}={path.stem}"


def test_the_operator_of_the_documentation_runs():
    (code,) = re.findall(r"```python\n(.*?)```", METHOD, re.DOTALL)
    names = {}
    exec(compile(code, "docs/method.md", "exec"), names)
    assert len([line for line in code.splitlines() if line.strip() and not line.startswith("#")]) <= 15
    fade = names["Fade"](lambda t: 0.9 * t)
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(fade(x, 0.0), x) and torch.allclose(fade(x, 1.0), 0.1 * x, atol=1e-6)
