"""Free text on the command line: what Hydra's grammar reserves needs no quotes of the user's."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from diracdiff import arguments


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
    "typed", ["checkpoint=builtin:deblur", "a=it's (1)", "task=deblur", "a=[1,2]", "a='b c'", "a=''", "a=", "~a", "a='"]
)
def test_a_report_says_what_was_typed(typed):
    taken = arguments.quoted(typed, sweep=False)
    assert arguments.quoted(arguments.as_typed(taken), sweep=False) == taken
    assert arguments.as_typed(taken) == typed or typed == "a='b c'"
    assert "'" not in arguments.as_typed(arguments.quoted("a=b c", sweep=False))
