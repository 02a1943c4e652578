"""What `--help` and the documentation show of every key: read from the comments of conf/, and complete."""

import contextlib
import io
import operator
import re

import pytest
from conftest import ROOT, run_here
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from diracdiff.__main__ import COMMANDS
from diracdiff.commands.help import explain, read_page, read_pages
from diracdiff.commands.overrides import leaves

CONF = ROOT / "conf"
PAGES = read_pages(CONF)
LIMITS = re.compile(r"^(.*?)\s*\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]$")
BOUND = re.compile(r"^(>=|>|<=|<) (-?[\d.]+)$|^(-?[\d.]+) … (-?[\d.]+)$")


def within(value, limits):
    """Return True if a number is in the range that brackets state: other parts, such as units, are no range."""
    compared = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
    bounds = [bound for part in re.split(r", (?![^\[]*\])", limits) if (bound := BOUND.match(part))]
    return all(compared[b[1]](value, float(b[2])) if b[1] else float(b[3]) <= value <= float(b[4]) for b in bounds)


def test_every_key_is_explained_and_states_a_range_that_holds_its_value():
    for page in PAGES:
        assert page.about, page
        for key in page.keys:
            found = explain(key.name, PAGES, {page.group: page.choice})
            assert len(found) > 4, f"{key.name} needs a comment in conf/{page.group}"
            numbers = [n for n in (key.value if isinstance(key.value, list) else [key.value]) if is_number(n)]
            if numbers and ".search." not in key.name:  # what tuning tries of a key that has a range
                limits = LIMITS.match(found)
                assert limits, f"{key.name} needs [range, unit] at the end of its comment"
                assert all(within(number, limits[2]) for number in numbers), key


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_line_for_every_key_and_its_examples_compose(command, tmp_path):
    with contextlib.chdir(tmp_path), contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run_here(tmp_path, command, "--help") == 0
    assert list(tmp_path.iterdir()) == []
    lines = printed.getvalue().splitlines()
    assert lines[0] == f"diracdiff {command} – {COMMANDS[command]}"
    rows = {line.split("=")[0].strip(): line for line in lines if re.match(r"  [\w.]+\S*=", line)}
    examples = [line.split()[2:] for line in lines if line.startswith(f"  diracdiff {command}")]
    assert examples
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for name, value in leaves(OmegaConf.to_container(compose(command), resolve=False)):
            if not (isinstance(value, str) and value.startswith("${")) and not isinstance(value, dict):
                assert len(rows[name].partition("  ")[2].split("  ")[-1].strip()) > 4, rows[name]
                assert ("=…" in rows[name]) == ("required" in rows[name]) == (value == "???")
        for words in examples:
            given = [word.split(",")[0] if "-m" in words else word for word in words]
            compose(command, [word for word in given if word != "-m" and not word.startswith("hydra.")])


def test_help_follows_the_command_line_and_folders_of_the_user_s(tmp_path, capsys):
    (tmp_path / "mine" / "task").mkdir(parents=True)
    (tmp_path / "mine" / "task" / "fog.yaml").write_text(
        "# @package _global_\n# Fog over the image.\ndefaults:\n  - custom\n"
        "task:\n  name: fog\n  degradation:\n    _target_: fog.Fog\n    density: 0.5  # of the fog [0 … 1]\n"
    )
    words = ["--config-dir", str(tmp_path / "mine"), "-m", "task=fog", "sampler=heun", "seed=1,2", "metrics=[psnr]"]
    assert run_here(tmp_path, "train", *words, "-h") == 0
    chosen = capsys.readouterr().out
    assert re.search(r"task=fog +or custom, deblur", chosen) and "task.severity=[0.0,1.0]" in chosen
    assert re.search(r"task.degradation.density=0.5 +of the fog \[0 … 1\]", chosen)
    assert (
        re.search(r"sampler=heun +or checkpoint, euler, fast, i2sb, indi, ode, palette", chosen) and "seed=0 " in chosen
    )
    assert "  metrics=[psnr] " in chosen and "metrics.swd" not in chosen


def test_an_explanation_may_go_on_in_the_next_line(tmp_path):
    (tmp_path / "page.yaml").write_text(
        "# About.\n#   diracdiff page a=1\n\na: 1  # the first half\n   # and the rest [>= 0]\n# of no account\nb: x\n"
    )
    page = read_page(tmp_path / "page.yaml", tmp_path)
    assert (page.about, page.examples) == ("About.", ["diracdiff page a=1"])
    assert [(key.name, key.text) for key in page.keys] == [("a", "the first half and the rest [>= 0]"), ("b", "")]
