"""Explanations of all keys in `--help` and the documentation, from the comments of conf/."""

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
    """Return True if a number is in the range in brackets. Parts that are not a range, such as units, are ignored."""
    comparisons = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
    bounds = [bound for part in re.split(r", (?![^\[]*\])", limits) if (bound := BOUND.match(part))]
    return all(comparisons[b[1]](value, float(b[2])) if b[1] else float(b[3]) <= value <= float(b[4]) for b in bounds)


def test_every_key_has_an_explanation_and_a_range_that_contains_its_value():
    for page in PAGES:
        assert page.about, page
        for key in page.keys:
            explanation = explain(key.name, PAGES, {page.group: page.choice})
            assert len(explanation) > 4, f"{key.name} needs a comment in conf/{page.group}"
            numbers = [n for n in (key.value if isinstance(key.value, list) else [key.value]) if is_number(n)]
            if numbers and ".search." not in key.name:  # search values belong to a key with a range
                limits = LIMITS.match(explanation)
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
        for overrides in examples:
            first_values = [word.split(",")[0] if "-m" in overrides else word for word in overrides]
            compose(command, [word for word in first_values if word != "-m" and not word.startswith("hydra.")])


def test_help_shows_values_of_the_command_line_and_of_config_dir(tmp_path, capsys):
    (tmp_path / "mine" / "task").mkdir(parents=True)
    (tmp_path / "mine" / "task" / "fog.yaml").write_text(
        "# @package _global_\n# Fog over the image.\ndefaults:\n  - custom\n"
        "task:\n  name: fog\n  degradation:\n    _target_: fog.Fog\n    density: 0.5  # of the fog [0 … 1]\n"
    )
    overrides = ["--config-dir", str(tmp_path / "mine"), "-m", "task=fog", "sampler=heun", "seed=1,2", "metrics=[psnr]"]
    assert run_here(tmp_path, "train", *overrides, "-h") == 0
    printed_help = capsys.readouterr().out
    assert re.search(r"task=fog +or custom, deblur", printed_help) and "task.severity=[0.0,1.0]" in printed_help
    assert re.search(r"task.degradation.density=0.5 +of the fog \[0 … 1\]", printed_help)
    assert (
        re.search(r"sampler=heun +or checkpoint, euler, fast, i2sb, indi, ode, palette", printed_help)
        and "seed=0 " in printed_help
    )
    assert "  metrics=[psnr] " in printed_help and "metrics.swd" not in printed_help


def test_an_explanation_may_continue_on_the_next_line(tmp_path):
    (tmp_path / "page.yaml").write_text(
        "# About.\n#   diracdiff page a=1\n\na: 1  # the first half\n   # and the rest [>= 0]\n# of no account\nb: x\n"
    )
    page = read_page(tmp_path / "page.yaml", tmp_path)
    assert (page.about, page.examples) == ("About.", ["diracdiff page a=1"])
    assert [(key.name, key.text) for key in page.keys] == [("a", "the first half and the rest [>= 0]"), ("b", "")]
