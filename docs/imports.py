"""Draw the import dependencies of the package: `python docs/imports.py` writes docs/imports.svg."""

import sys
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from test_architecture import FILES, METHOD, ORDER, imports, unit, unit_of  # noqa: E402


def draw() -> Figure:
    """Return the dependency matrix. Cell (i, j) is the number of files of part i that import part j."""
    edges: Counter[tuple[str, str]] = Counter()
    lines: Counter[str] = Counter()
    for path in FILES:
        lines[unit_of(path)] += len(path.read_text(encoding="utf-8").splitlines())
        used = {unit(name) for name in imports(path) if name.startswith("diracdiff.")} - {unit_of(path)}
        edges.update((unit_of(path), other) for other in used)
    position = {name: row for row, name in enumerate(ORDER)}
    figure, axes = plt.subplots(figsize=(0.3 * len(ORDER) + 2.5, 0.3 * len(ORDER) + 1.5))
    for (importer, imported), files in edges.items():
        colour = "#2b6cb0" if importer in METHOD else "#b7791f"
        axes.text(
            position[imported], position[importer], str(files), color=colour, ha="center", va="center", fontsize=8
        )
    axes.axhline(len(METHOD) - 0.5, color="#718096", linewidth=0.8)
    axes.axvline(len(METHOD) - 0.5, color="#718096", linewidth=0.8)
    axes.plot([-0.5, len(ORDER) - 0.5], [-0.5, len(ORDER) - 0.5], color="#cbd5e0", linewidth=0.8)
    axes.set_xticks(range(len(ORDER)), ORDER, rotation=90, fontsize=8)
    axes.set_yticks(range(len(ORDER)), [f"{name} ({lines[name]})" for name in ORDER], fontsize=8)
    axes.set_xlim(-0.5, len(ORDER) - 0.5)
    axes.set_ylim(len(ORDER) - 0.5, -0.5)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(color="#edf2f7", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("is imported by the files of each row")
    axes.set_ylabel("part (lines of Python)")
    return figure


if __name__ == "__main__":
    plt.rcParams["svg.hashsalt"] = "diracdiff"
    plt.rcParams["svg.fonttype"] = "none"
    draw().savefig(HERE / "imports.svg", bbox_inches="tight", metadata={"Date": None})
