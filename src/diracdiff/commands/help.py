"""The meaning of every key, from the comments of the files in `conf/`, for `--help` and the documentation.

The head of a file describes it; lines of the head that begin with `diracdiff` are examples. The comment after a key
explains it and may end with the range and unit of its values in brackets:

    num_steps: 20  # network evaluations of sampling [>= 1]

A key of one full name means the same in all files, so one explanation is enough.
"""

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from diracdiff.commands.overrides import CONF, leaves

FLAGS = """flags, before the keys
  -m, --multirun          one run per combination of values that commas separate: -m task=deblur,inpaint
  --cfg job               print the configuration as YAML and do nothing
  --config-dir FOLDER     further options: FOLDER/task/mine.yaml is task=mine
  --hydra-help            the other flags of Hydra"""


SECTIONS = (
    *("keys", "task", "data", "schedule", "model", "loss", "optimizer", "trainer", "sampler", "metrics", "baseline"),
    *("callbacks", "logger", "paths", "extras"),
)
"""Sections of keys in `--help`, in the order of use."""


class Key(NamedTuple):
    """A key of a file: full name, value and explanation."""

    name: str
    value: Any
    text: str


class Page(NamedTuple):
    """A file of `conf/`: an option of a group, or a command, whose group is ""."""

    group: str
    choice: str
    about: str
    examples: list[str]
    keys: list[Key]


def read_page(path: Path, root: Path) -> Page:
    """Read the head, the keys and the comments of a YAML file below `root`, without Hydra's own keys."""
    text = path.read_text(encoding="utf-8")
    head = [line.lstrip("# ") for line in re.match(r"(#.*\n)*", text)[0].splitlines()]  # type: ignore[index]
    group = "" if path.parent == root else path.parent.relative_to(root).as_posix()
    package = next((line.split()[1] for line in head if line.startswith("@package")), group.replace("/", "."))
    above = "" if package in ("", "_global_") else f"{package}."
    texts, config = _comments(text), OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(config, dict)
    values = {name: value for name, value in config.items() if name not in ("defaults", "hydra")}
    return Page(
        group,
        path.stem,
        about=" ".join(line for line in head if line and not line.startswith(("@package", "diracdiff "))),
        examples=[line for line in head if line.startswith("diracdiff ")],
        keys=[Key(f"{above}{name}", value, texts.get(name, "")) for name, value in leaves(values)],
    )


def _comments(text: str) -> dict[str, str]:
    """Return the comments after the keys of a YAML file; lines of comments below a key, and indented more, continue."""
    texts: dict[str, str] = {}
    names: list[tuple[int, str]] = []
    for line in text.splitlines():
        if match := re.match(r"( *)([^\s#-][^:]*):(?: .*?)??(?:  # (.*))?$", line):
            names = [*(name for name in names if name[0] < len(match[1])), (len(match[1]), match[2])]
            texts[".".join(name for _, name in names)] = match[3] or ""
        elif names and (match := re.match(r"( +)# (.*)", line)) and len(match[1]) > names[-1][0]:
            texts[".".join(name for _, name in names)] += f" {match[2]}"
    return texts


def read_pages(*roots: Path) -> list[Page]:
    """Read all files below folders of configuration, except for Hydra's settings, with the commands first."""
    paths = [(path, root) for root in roots for path in sorted(root.rglob("*.yaml"))]
    pages = [read_page(path, root) for path, root in paths if path.parent != root / "hydra"]
    return sorted(pages, key=lambda page: page.group)


def explain(name: str, pages: Iterable[Page], choices: Mapping[str, Any]) -> str:
    """Return the explanation of a key: of the chosen options first, then of their groups, then of any file."""
    found = [(page, key.text) for page in pages for key in page.keys if key.name == name and key.text]
    found.sort(key=lambda entry: (choices.get(entry[0].group) == entry[0].choice, entry[0].group in choices))
    return found[-1][1] if found else ""


def help_of(command: str, words: list[str]) -> str:
    """Return the text of `--help`: examples, options of groups, and a line for every key with its value.

    Args:
        command: name of the command.
        words: rest of the command line, whose overrides count, except for sweeps.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-dir", "-cd", type=lambda folder: Path(folder).absolute(), action="append", default=[])
    flags, words = parser.parse_known_args(words)
    parsed = OverridesParser.create().parse_overrides([word for word in words if not word.startswith("-")])
    overrides = [f"hydra.searchpath=['file://{folder}']" for folder in flags.config_dir]
    overrides += [str(override.input_line) for override in parsed if not override.is_sweep_override()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose(command, overrides, return_hydra_config=True)
    config: Any = OmegaConf.to_container(composed, resolve=False)
    hydra = config.pop("hydra")
    choices = {group: choice for group, choice in hydra["runtime"]["choices"].items() if not group.startswith("hydra/")}
    choices |= {group: list(config[group]) for group in ("metrics", "baseline") if config.get(group)}
    pages = read_pages(CONF, *flags.config_dir)
    (page,) = [page for page in pages if not page.group and page.choice == command]
    lines = [f"diracdiff {command} – {page.about}", "", *(f"  {example}" for example in page.examples), "", "options"]
    if "callbacks" in config:
        choices["callbacks"] = None  # a list, which Hydra does not report
    for group, choice in sorted(choices.items(), key=lambda item: (_place(item[0].partition("/")[0]), item[0])):
        others = {other.choice for other in pages if other.group == group}
        others -= set(choice if isinstance(choice, list) else [choice])
        if others:
            value, text = ("…", "a list of") if group == "callbacks" else (choice, "or")
            lines.append(_line(group, value, f"{text} {', '.join(sorted(others))}"))
    texts: dict[str, list[str]] = {}
    for name, value in leaves(config):
        if not (isinstance(value, str) and value.startswith("${")):  # the value of another key
            needed = "required: " if value == "???" else ""
            line = _line(name, value, f"{needed}{explain(name, pages, {**choices, '': command})}")
            texts.setdefault(name.partition(".")[0] if "." in name else "keys", []).append(line)
    for section in sorted(texts, key=_place):
        lines += ["", section, *texts[section]]
    return "\n".join([*lines, "", FLAGS])


def _place(section: str) -> int:
    """Return the place of a section or a group in the order of use."""
    return SECTIONS.index(section) if section in SECTIONS else len(SECTIONS)


def _line(name: str, value: Any, text: str) -> str:
    return f"  {f'{name}={shown(value)}':<32}  {text}".rstrip()


def shown(value: Any) -> str:
    """Return a value as it is typed."""
    if isinstance(value, str):
        return "…" if value == "???" else value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace('"', "")
