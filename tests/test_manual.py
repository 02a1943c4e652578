"""What `--help` and the documentation say of every key: read from the comments of conf/, complete, and true."""

import contextlib
import io
import re

import pytest
from conftest import ROOT, refused, run_here
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from diracdiff.__main__ import COMMANDS
from diracdiff.arguments import quoted
from diracdiff.manual import explain, read_page, read_pages

CONF = ROOT / "conf"
PAGES = read_pages(CONF)
IDS = ["/".join([page.group, page.choice]).strip("/") for page in PAGES]
BOUND = re.compile(r"^(>=|>|<=|<) (-?[\d.]+)$|^(-?[\d.]+) … (-?[\d.]+)$")


def within(value, limits):
    """Whether a number is in the range that brackets state: parts of a unit are no range."""
    for part in re.split(r", (?![^\[]*\])", limits):
        bound = BOUND.match(part)
        if bound and bound[1]:
            edge = float(bound[2])
            if not {">=": value >= edge, ">": value > edge, "<=": value <= edge, "<": value < edge}[bound[1]]:
                return False
        elif bound and not float(bound[3]) <= value <= float(bound[4]):
            return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_file_says_what_it_is_for_and_every_key_what_it_means(page):
    assert page.about
    for key in page.keys:
        found = explain(key.name, PAGES, {page.group: page.choice})
        assert found is not None and len(found.text) > 4, f"{key.name} needs a comment in conf/{page.group}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_key_with_a_number_states_its_range_which_holds_the_value(page):
    for key in page.keys:
        value = OmegaConf.create(f"value: {key.value}").value if not re.search(r"[$?]", key.value) else None
        numbers = [n for n in (value if OmegaConf.is_list(value) else [value]) if type(n) in (int, float)]
        limits = explain(key.name, PAGES, {page.group: page.choice}).limits
        if not numbers or ".search." in key.name:  # what tuning tries of a key that has a range
            continue
        assert limits, f"{key.name}={key.value} needs [range, unit] at the end of its comment"
        assert all(within(number, limits) for number in numbers), f"{key.name}={key.value} is not in [{limits}]"


def test_a_range_is_read_as_it_is_written():
    assert within(1, ">= 1, px") and not within(0, ">= 1, px")
    assert within(0.5, "> 0, < 1") and not within(1, "> 0, < 1")
    assert within(0.0, "0 … 1, units of the [0, 1] range") and not within(2, "0 … 1, units of the [0, 1] range")


def test_every_key_of_the_files_is_found():
    """The reader of comments finds what Hydra finds."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for command in COMMANDS:
            config = OmegaConf.to_container(compose(command), resolve=False)
            named = {key.name for page in PAGES for key in page.keys}
            assert {name for name, _ in leaves(config)} <= named


def leaves(config, prefix=""):
    for name, value in config.items():
        if isinstance(value, dict) and value and not {"_target_"} >= value.keys() and "_target_" not in value:
            yield from leaves(value, f"{prefix}{name}.")
        elif isinstance(value, dict) and value:
            whole = f"{prefix}{name}" in {key.name for page in PAGES for key in page.keys}
            yield from (
                [(f"{prefix}{name}", value)]
                if whole
                else leaves({k: v for k, v in value.items() if k != "_target_"}, f"{prefix}{name}.")
            )
        elif name != "_target_":
            yield f"{prefix}{name}", value


@pytest.fixture(params=COMMANDS, scope="module")
def told(request, tmp_path_factory):
    """A command, and the lines that its --help prints."""
    folder = tmp_path_factory.mktemp("help")
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()) as errors:
        assert run_here(folder, request.param, "--help") == 0
    assert not errors.getvalue() and list(folder.iterdir()) == []
    return request.param, printed.getvalue().splitlines()


def test_help_is_of_this_command_and_of_its_choices_alone(told):
    command, lines = told
    assert lines[0] == f"diracdiff {command} – {COMMANDS[command]}"
    first = 1 + lines.index("choices: what is chosen now, and what else there is")
    shown = {line.split("=")[0].strip() for line in lines[first : lines.index("", first)]}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(command, return_hydra_config=True)
    groups = {group for group in config.hydra.runtime.choices if not group.startswith("hydra/")}
    listed = {group for page in PAGES for group in [page.group] if group in ("metrics", "baseline") and group in config}
    assert shown == groups | listed


def test_help_has_a_line_for_every_key(told):
    command, lines = told
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose(command), resolve=False)
    rows = {line.split("=")[0].strip(): line for line in lines if re.match(r"  [\w.]+\S*=", line)}
    for name, value in leaves(config):
        if not (isinstance(value, str) and value.startswith("${")) and not isinstance(value, dict):
            explained = rows[name].partition("  ")[2].split("  ")[-1].strip()
            assert len(explained) > 4, rows[name]
            assert ("=…" in rows[name]) == ("must be given" in rows[name]) == (value == "???")


def test_the_examples_of_help_compose(told):
    command, lines = told
    examples = [line.split()[2:] for line in lines if line.startswith(f"  diracdiff {command} ")]
    assert examples
    for words in examples:
        given = [quoted(word, "-m" in words) for word in words if word != "-m" and not word.startswith("hydra.")]
        if "-m" in words:
            given = [word.split(",")[0] for word in given if word]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            compose(command, given)


def printed_by(tmp_path, capsys, *words):
    assert run_here(tmp_path, *words) == 0
    return capsys.readouterr().out


def test_help_obeys_what_is_chosen_beside_it(tmp_path, capsys):
    chosen = printed_by(tmp_path, capsys, "train", "-m", "sampler=heun", "seed=1,2", "metrics=[psnr]", "--help")
    assert re.search(r"sampler=heun +or checkpoint, euler, fast, ode", chosen)
    assert re.search(r"sampler.steps=10 +of the walk", chosen) and "seed=0 " in chosen
    assert "  metrics=[psnr] " in chosen and "metrics.swd" not in chosen


def test_choices_and_comments_of_one_s_own_are_in_help(tmp_path, capsys):
    (tmp_path / "mine" / "task").mkdir(parents=True)
    (tmp_path / "mine" / "task" / "fog.yaml").write_text(
        "# @package _global_\n# Fog over the image.\ndefaults:\n  - custom\n"
        "task:\n  name: fog\n  degradation:\n    _target_: fog.Fog\n    density: 0.5  # of the fog [0 … 1]\n"
    )
    chosen = printed_by(tmp_path, capsys, "train", "--config-dir", str(tmp_path / "mine"), "task=fog", "-h")
    assert re.search(r"task=fog +or custom, deblur", chosen) and "task: Fog over the image." in chosen
    assert re.search(r"task.degradation.density=0.5 +of the fog \[0 … 1\]", chosen)
    assert "task.severity=[0.0,1.0]" in chosen


def test_help_with_a_mistake_says_so(call):
    refused(call("train", "tusk=deblur", "--help"), "tusk")


def test_an_explanation_may_go_on_in_the_next_line(tmp_path):
    (tmp_path / "page.yaml").write_text(
        "# About.\n#   diracdiff page a=1\n\na: 1  # the first half\n   # and the rest [>= 0]\n# of no account\nb: x\n"
    )
    page = read_page(tmp_path / "page.yaml", tmp_path)
    assert (page.about, page.examples) == ("About.", ["diracdiff page a=1"])
    assert [(key.name, key.text, key.limits) for key in page.keys] == [
        ("a", "the first half and the rest", ">= 0"),
        ("b", "", ""),
    ]
