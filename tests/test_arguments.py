"""Paths and free text on the command line arrive as they are typed."""

import os
import shutil

import pytest
from conftest import refused, run_here
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from diracdiff import arguments
from diracdiff.manual import read_pages


def parsed(argument, sweep=False):
    (override,) = OverridesParser.create().parse_overrides([arguments.quoted(argument, sweep)])
    return override


@pytest.mark.parametrize(
    "text",
    [
        "my photos (1)",
        "out, restored",
        "t=0.25",
        "a=b,c=d",
        "it's",
        "50%",
        "a:b",
        "x{1}",
        "name with spaces.png",
        "é(ü)",
    ],
)
def test_free_text_of_any_key_arrives_as_it_is(text):
    override = parsed(f"any.key={text}")
    assert override.key_or_group == "any.key" and override.value() == text and not override.is_sweep_override()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-0.5", -0.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("null", None),
        ("[1,2]", [1, 2]),
        ("{a:1}", {"a": 1}),
        ("'a b'", "a b"),
        ("", ""),
        ("runs/latest/best.ckpt", "runs/latest/best.ckpt"),
    ],
)
def test_everything_else_keeps_its_meaning(text, value):
    assert parsed(f"key={text}").value() == value


@pytest.mark.parametrize("text", ["deblur,inpaint", "range(1,4)", "choice(a,b)", "glob(*)"])
def test_a_sweep_is_a_sweep(text):
    assert parsed(f"task={text}", sweep=True).is_sweep_override()


def test_a_reference_stays_one():
    assert parsed("run_dir=${other.key}/x y").value() == "${other.key}/x y"


@pytest.mark.parametrize(
    "typed", ["checkpoint=c", "a=it's (1)", "task=deblur", "a=[1,2]", "a='b c'", "a=''", "a=", "~a"]
)
def test_a_report_says_what_was_typed(typed):
    taken = arguments.quoted(typed, sweep=False)
    assert arguments.quoted(arguments.as_typed(taken), sweep=False) == taken
    assert arguments.as_typed(taken) == typed or typed == "a='b c'"
    assert "'" not in arguments.as_typed(arguments.quoted("a=b c", sweep=False))


# paths

NAMES = [
    *("2024", "1_0", "1e3", "-1", "+5", "0x10", "inf", "nan", "true", "False", "yes", "NULL", "None", "2024-01-01"),
    *(
        "a=b",
        "a=b=c",
        "=x",
        "[1]",
        "[1, 2].png",
        "{a: 1}",
        "(a)",
        "choice(a,b)",
        "range(3)",
        "glob(*)",
        "a,b",
        ",",
        "a b",
    ),
    *(
        " a",
        "a ",
        "a  b",
        "it's",
        '"x" y',
        "both ' and \"",
        "back\\slash",
        "end\\",
        "\\'",
        "${x}",
        "${oc.env:HOME}",
        "\\${a}",
    ),
    *(
        "$HOME",
        "~",
        "~x",
        "~root",
        "a~",
        "-x",
        "--help",
        "-m",
        "a:b",
        "%d",
        "*",
        "?",
        "#1",
        "a;b",
        "a|b",
        "é 写真 👩‍👧",
        "a\nb",
    ),
    *("a\tb", "x\udcff", "...", "@a", "!x", "&", "`id`", "^", "<a>", "auto.d", "a/b=c/[d]", "./~x", "\x1b[31m"),
]
"""Names of files and folders, some of which mean something else in Hydra's grammar, in YAML or in a shell."""


def composed(key, text, *words, sweep=False):
    """The value that a key has in a configuration, as the commands get it."""
    command = "restore" if key in ("input", "output") else "train"
    with initialize_config_dir(str(arguments.CONF), version_base="1.3"):
        line = arguments.in_grammar([*words, f"{key}={text}"], sweep)
        return OmegaConf.select(compose(command, line), key)


@pytest.mark.parametrize("text", [name for name in NAMES if name not in ("~", "~x", "~root", "./~x")])
def test_a_path_is_the_text_that_is_typed(text):
    assert composed("input", text) == text
    assert composed("dataset.root", text, "dataset=folder") == text
    if "${" not in text:
        assert composed("output", text) == text


@given(
    st.text(alphabet=st.one_of(st.sampled_from("'\"\\${}[](),=: ~null0_"), st.characters(codec="utf-8")), min_size=1)
)
@example("\\\\${")
def test_every_text_survives_hydra_and_omegaconf(text):
    (override,) = OverridesParser.create().parse_overrides([f"key={arguments.in_quotes(text)}"])
    assert override.value() == text
    if text != "null" and not arguments.QUOTED.fullmatch(text) and "~" not in text:
        (override,) = OverridesParser.create().parse_overrides([arguments.quoted(f"input={text}", sweep=False)])
        assert OmegaConf.create({"input": override.value()}).input == text
        assert override.value_type.name == "ELEMENT"


def test_what_a_path_may_be_besides_text(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.chdir(tmp_path)
    assert composed("output", "null") is None
    assert composed("output", "'null'") == "null" and composed("output", '"a,b"') == "a,b"
    assert composed("input", "~/x") == "/home/someone/x" and composed("input", "~") == "/home/someone"
    assert composed("input", "~x") == f"{tmp_path}/~x" and composed("input", "./~/x") == f"{tmp_path}/~/x"
    assert composed("output", "out_${target}") == "out_psnr"
    assert composed("run_dir", r"\${seed}") == "${seed}"


def test_in_a_sweep_commas_separate_paths():
    def values(text):
        word = arguments.quoted(f"input={text}", sweep=True)
        (override,) = OverridesParser.create().parse_overrides([word])
        elements = list(override.sweep_string_iterator()) if override.is_sweep_override() else [word.partition("=")[2]]
        return [OverridesParser.create().parse_overrides([f"input={each}"])[0].value() for each in elements]

    assert values("2024,true,1_0,a b,it's,[1],null") == ["2024", "true", "1_0", "a b", "it's", "[1]", None]
    assert values("'a,b',c") == ["a,b", "c"] and values("choice(a,b)") == ["a", "b"] and values("a (1)") == ["a (1)"]


def test_the_list_of_path_keys_is_complete():
    """Every key whose explanation speaks of a file or folder to read or write is a path."""
    words = ("a folder", "a file", "the folder", "a .ckpt", "a checkpoint", "its file", "a table", "an image", "a CSV")
    other = {
        "include",
        "jpeg_folder",
        "dataset.files",
    }  # a list of paths; set by the command itself; names in a package
    for page in read_pages(arguments.CONF):
        for key in page.keys:
            reference = key.value.startswith("${")
            if (
                key.text.startswith(words)
                and not reference
                and key.name not in other
                and key.value not in ("true", "false")
            ):
                assert key.name in arguments.PATHS or key.value[0].isdigit(), key


def test_forty_odd_names_from_the_command_line_to_the_files(tmp_path, run, image_folder, capsys):
    names = [name for name in NAMES if "${" not in name and "/" not in name and name not in ("~", "...", "x\udcff")]
    assert len(names) > 40
    for index, (name, output) in enumerate(zip(names, [*names[1:], names[0]], strict=True)):
        cwd = tmp_path / str(index)
        (cwd / name).mkdir(parents=True)
        shutil.copy(image_folder / "00.png", cwd / name / "a.png")
        words = [f"checkpoint={run[1]}/best.ckpt", f"input={name}", f"output={output}", "target=t=1", "device=cpu"]
        assert run_here(cwd, "restore", *words) == 0, (name, output, capsys.readouterr().err)
        assert set(os.listdir(cwd)) == {name, output} and (cwd / output / "a.png").is_file(), (name, output)


# flags, and keys that do not exist


def test_flags_may_follow_overrides(call, tmp_path):
    (tmp_path / "a=b" / "task").mkdir(parents=True)
    (tmp_path / "a=b" / "task" / "mine.yaml").write_text("# @package _global_\ntask: {name: mine}\n")
    words = ["seed=3", "--config-dir", "a=b", "trainer=cpu", "task=mine", "--cfg", "job", "lpips=null"]
    assert call("train", *words) == (0, [])
    line = arguments.in_grammar(["a=1", "-cd", "x", "b=2", "-m", "--config-dir=y"], False)
    assert line == ["-cd", "x", "-m", "--config-dir=y", "a=1", "b=2"]
    refused(call("train", "seed=3", "--config-dir"), "--config-dir: must be followed by a value")
    refused(call("train", "seed=3", "--config-dir", "absent", "lpips=null"), "absent")
    refused(call("train", "--confg-dir", "x"), "--confg-dir")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+ckpt_path=x"], "ckpt_path=x: train has no such key. Remove it; did you mean checkpoint"),
        (["+tags=[a]"], r"tags=\[a\]: train has no such key. Remove it"),
        (["++tags=a"], "tags=a: train has no such key"),
        (["+task.colour=red"], "task.colour=red: train has no such key"),
        (["+input=x"], "input=x: train has no such key"),
        (["ckpt_path=x"], "ckpt_path=x: train has no such key. Remove it; did you mean checkpoint"),
        (["-m", "seed=1,2", "+tags=a"], "tags=a: train has no such key"),
    ],
)
def test_a_key_that_does_not_exist_is_refused(call, tmp_path, words, message):
    refused(call("train", *words), message)
    assert list(tmp_path.iterdir()) == []


def test_keys_that_are_passed_on_may_be_added(call, folder):
    words = ["task=custom", "task.degradation._target_=absent.Haze", "+task.degradation.grey=0.9", *folder]
    refused(call("train", *words), "absent")
    refused(call("train", "+trainer.max_tyme=1", "lpips=null", *folder), "trainer", "max_tyme")
    assert call("train", "++seed=3", "+trainer.max_time=00:00:01:00", "--cfg", "job") == (0, [])


@pytest.mark.parametrize("word", ["checkpoint=", "output=", "mask=''"])
def test_what_is_no_path_is_refused(call, word):
    words = {"checkpoint": "checkpoint=c", "input": "input=x", "output": "output=y"}
    words[word.partition("=")[0]] = word
    refused(call("restore", *words.values()), f"^error: {word.partition('=')[0]}.* must ")


def test_a_list_or_a_number_from_a_file_is_no_path(call, tmp_path):
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    for root, message in (
        ("[a, b]", r"dataset.root=\['a', 'b'\]: must be one path"),
        ("2024", "dataset.root=2024: must be"),
    ):
        (tmp_path / "conf" / "dataset" / "mine.yaml").write_text(f"defaults: [folder]\nroot: {root}\n")
        refused(call("train", "dataset=mine", "--config-dir", "conf"), message)
