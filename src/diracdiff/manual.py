"""What every key means: the comments of the files in `conf/`, for `--help` and for the documentation.

A file's head says what it is for, and lines of the head that begin with `diracdiff` are examples. The comment that
trails a key is its explanation, and what stands at its end in brackets the range and unit of its values:

    steps: 20  # of the walk, a network call each [>= 1]

A key of one full name means the same in all files, so a file that gives another value need not explain it again.
"""

import argparse
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from diracdiff.arguments import CONF, in_quotes

LINE = re.compile(r"^( *)([\w.-]+(?: [\w.-]+)*):(?:\s+(?!#)(.*?))?(?:\s+#\s?(.*))?$")
COMMENT = re.compile(r"^\s*#\s?(.*)$")
LIMITS = re.compile(r"^(.*?)\s*\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]$")
OWN = ("_target_", "_partial_", "_convert_", "_args_", "_recursive_")
"""Keys that are part of a choice, and of no account to users."""

FLAGS = """flags
  -m, --multirun                    one run per combination of values that commas part: task=deblur,inpaint
  --cfg job                         print the configuration as YAML and do nothing
  --config-dir FOLDER               where more choices are: FOLDER/task/mine.yaml is task=mine
  --hydra-help                      what Hydra, which reads the command line, has besides"""


@dataclass(frozen=True)
class Key:
    """A key of a file: its full name, its value as text, its explanation, and the range and unit of its values."""

    name: str
    value: str
    text: str
    limits: str

    @property
    def explained(self) -> str:
        """Explanation and limits as they stand in the file."""
        return f"{self.text} [{self.limits}]".strip() if self.limits else self.text


@dataclass
class Page:
    """A file of `conf/`: a choice of a group, or a command, whose group is empty; `bases` are choices it builds on."""

    group: str
    choice: str
    about: str = ""
    bases: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)


def read_page(path: Path, root: Path) -> Page:
    """Read the head, the keys and the comments of a YAML file below `root`; what is Hydra's own is left out."""
    page = Page("" if path.parent == root else path.parent.relative_to(root).as_posix(), path.stem)
    package, head, parents, last = page.group.replace("/", "."), True, [(-1, "")], -1
    about: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        comment = COMMENT.match(line)
        if comment and head:
            said = comment[1].strip()
            if said.startswith("@package"):
                package = said.split()[1].replace("_global_", "")
            elif said.startswith("diracdiff "):
                page.examples.append(said)
            elif said:
                about.append(said)
            continue
        if comment and line.index("#") > last >= 0:  # an explanation goes on
            before = page.keys.pop()
            page.keys.append(_key(before.name, before.value, f"{before.explained} {comment[1].strip()}"))
            continue
        head, last = False, -1
        found = LINE.match(line)
        if base := re.match(r"  - ([a-z]\w*)$", line):
            page.bases.append(base[1])
        if found is None or line.lstrip().startswith("- "):
            continue
        while parents[-1][0] >= len(found[1]):
            parents.pop()
        parents.append((len(found[1]), found[2]))
        names = [name for _, name in parents[1:]]
        if names[0] in ("defaults", "hydra") or names[-1] in OWN:
            continue
        if found[3]:
            page.keys.append(_key(".".join(([package] if package else []) + names), found[3], found[4] or ""))
            last = len(found[1]) if found[4] else -1
    page.about = " ".join(about)
    return page


def read_pages(*roots: Path) -> list[Page]:
    """Read all files below folders of configuration, the commands first."""
    paths = [(path, root) for root in roots for path in sorted(root.rglob("*.yaml"))]
    return sorted((read_page(path, root) for path, root in paths), key=lambda page: page.group)


def explain(name: str, pages: Iterable[Page], choices: Mapping[str, Any]) -> Key | None:
    """What explains a key of a configuration, or None.

    Args:
        name: of the key, in full.
        pages: where explanations are looked for.
        choices: of each group, and the command's name for "". An explanation of what is chosen comes first, then one
            of the same group, and then any.
    """
    found = [(page, key) for page in pages for key in page.keys if key.name == name and key.text]
    lines = {group: _line_of(group, choice, pages) for group, choice in choices.items()}

    def nearness(entry: tuple[Page, Key]) -> tuple[bool, bool, int]:
        page = entry[0]
        return page.choice in lines.get(page.group, ()), page.group in choices, len(page.group)

    return max(found, key=nearness)[1] if found else None


def _line_of(group: str, choice: Any, pages: Iterable[Page]) -> set[str]:
    """A choice, or all of a list, and what they build on."""
    chosen = set(choice) if isinstance(choice, list) else {choice}
    bases = [base for page in pages if page.group == group and page.choice in chosen for base in page.bases]
    return chosen.union(*(_line_of(group, base, pages) for base in bases))


def help_of(command: str, words: list[str]) -> str:
    """What `--help` prints: usage, the choices of this command, and a line for every key with its value now.

    Args:
        command: its name.
        words: the rest of the command line, whose overrides are obeyed and whose sweeps are left out.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-dir", "-cd")
    asked, words = parser.parse_known_args(words)
    overrides = [word for word in words if not word.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(overrides)
    overrides = [word for word, each in zip(overrides, parsed, strict=True) if not each.is_sweep_override()]
    roots = [CONF] + [Path(folder).absolute() for folder in [asked.config_dir] if folder]
    path = [f"hydra.searchpath=[{','.join(in_quotes(f'file://{root}') for root in roots[1:])}]"] if roots[1:] else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose(command, [*overrides, *path], return_hydra_config=True)
    chosen = OmegaConf.to_container(composed.hydra.runtime.choices)
    config = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(chosen, dict) and isinstance(config, dict)
    choices = {str(group): choice for group, choice in chosen.items() if not str(group).startswith("hydra/")}
    for entry in (each for each in OmegaConf.load(CONF / f"{command}.yaml").defaults if OmegaConf.is_dict(each)):
        choices |= {group: list(config.get(group) or ()) for group in entry if OmegaConf.is_list(entry[group])}
    return _text(command, {k: v for k, v in config.items() if k != "hydra"}, choices, read_pages(*roots))


def _text(command: str, config: Mapping[Any, Any], choices: Mapping[str, Any], pages: list[Page]) -> str:
    (own,) = [page for page in pages if not page.group and page.choice == command]
    lines = [f"diracdiff {command} – {own.about}", "", f"usage: diracdiff {command} key=value …", ""]
    lines += [f"  {example}" for example in own.examples]
    lines += ["", "choices: what is chosen now, and what else there is"]
    for group in sorted(choices):
        chosen = choices[group] if isinstance(choices[group], list) else [choices[group]]
        others = sorted({page.choice for page in pages if page.group == group}.difference(chosen))
        lines.append(_line(f"{group}={_shown(choices[group])}", "or " + ", ".join(others) if others else ""))
    known, sections = {"": command, **choices}, dict[str, list[str]]()
    for name, value in _leaves(config):
        if isinstance(value, str) and re.fullmatch(r"\$\{.*\}", value):
            continue  # it follows another key
        key, required = explain(name, pages, known), "must be given: " if value == "???" else ""
        text = required + (key.explained if key else "")
        sections.setdefault(name.partition(".")[0] if "." in name else "", []).append(
            _line(f"{name}={'…' if required else _shown(value)}", text)
        )
    for section in sorted(sections):
        about = [page.about for page in pages if page.group == section and page.choice == choices.get(section)]
        head = f"{section}{': ' + about[0] if about and about[0] else ''}" if section else "keys and their values now"
        lines += ["", head, *sections[section]]
    return "\n".join([*lines, "", FLAGS])


def _key(name: str, value: str, comment: str) -> Key:
    limits = LIMITS.match(comment.strip())
    return Key(name, value, *((limits[1], limits[2]) if limits else (comment.strip(), "")))


def _line(key: str, text: str) -> str:
    return f"  {key:<32}  {text}".rstrip()


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        elif name not in OWN:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, list):
        return f"[{','.join(_shown(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_shown(item)}" for name, item in value.items()) + "}"
    return str(value).lower().replace("none", "null") if value is None or isinstance(value, bool) else str(value)
