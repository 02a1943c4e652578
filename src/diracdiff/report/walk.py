"""The page of a walk: what every stopping time gives, as pictures beside the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diracdiff.checkpoints import to_recipe
from diracdiff.evaluation import Evaluation, Stop
from diracdiff.evaluation.evaluation import Gallery
from diracdiff.evaluation.pictures import HEAT_MAP_TOP, by_time
from diracdiff.evaluation.stops import TARGETS, stopped
from diracdiff.evaluation.summary import Summary
from diracdiff.evaluation.tables import NAMES, stop_keys
from diracdiff.metrics import Consistency, Metric, Missing, Row
from diracdiff.report.origin import Origin
from diracdiff.report.page import page
from diracdiff.report.pictures import Album, values_of
from diracdiff.report.samples import intervals
from diracdiff.restorer import Restorer
from diracdiff.samplers import OUTPUTS

HIGHEST_ERROR = 99.5
"""Percentile of the absolute error of x_hat, over its first and its last time, that is the brightest in a map."""

SMALL = 256
"""Side in pixels up to which images are enlarged pixel by pixel."""


@dataclass(frozen=True)
class Words:
    """What the page of a walk says of itself.

    Attributes:
        kind: of what it reports: "training" or "evaluation".
        images: which were measured, "16 test images" say.
        stops: where stops come from, as a sentence.
    """

    kind: str
    images: str
    stops: str


def walk_page(
    evaluation: Evaluation,
    stops: Mapping[str, Stop | None],
    summary: Summary,
    restorer: Restorer,
    words: Words,
    origin: Origin,
) -> bytes:
    """The page of an evaluation that was finished.

    Args:
        evaluation: curve, gallery, and uncertainty where there is one.
        stops: of the targets.
        summary: of the same evaluation and stops.
        restorer: that was evaluated.
        words: of the page.
        origin: of the results.
    """
    curve, metrics = evaluation.curve, evaluation.metrics
    buttons = _buttons(curve, stops, summary)
    sets: dict[Any, Any] = dict(evaluation.gallery)
    sets |= {("uncertainty", *key): maps for key, maps in evaluation.uncertainty.items() if key in sets}
    steps = _steps(sets, {button["t"] for button in buttons})
    album: Album[Any] = Album.of(sets, steps)
    times = sorted({key[0] for key in album.pictures if isinstance(key, tuple) and key[1] in OUTPUTS}, reverse=True)
    content = {
        "words": {
            "kicker": f"diracdiff {words.kind}",
            "title": restorer.name,
            "lede": f"{words.images}, {summary['steps']} steps, seed {summary['seed']}. {words.stops}",
        },
        "metrics": [described(metric) for metric in metrics if metric.name in curve[0]],
        "curve": [_short(row) for row in curve],
        "times": times,
        "stops": buttons,
        "table": [{"title": NAMES.get(k, k.replace("=", " "))} | (summary[k] or {}) for k in stop_keys(summary)],
        "images": _images(evaluation, album, times),
        "errorTop": _error_top(evaluation.gallery),
        "uncertaintyTop": HEAT_MAP_TOP,
        "pixelated": evaluation.gallery["clean"].shape[-1] <= SMALL,
        "samples": evaluation.samples,
        "intervals": intervals(restorer, evaluation.samples),
        "notes": [*missing(metrics, TARGETS), album.told(len(evaluation.shown), len(steps)), _uncertainty(evaluation)],
        "origin": origin.plain() | {"recipe": to_recipe(restorer)},
    }
    return page("walk", f"{restorer.name}: diracdiff {words.kind}", content)


def described(metric: Metric) -> dict[str, Any]:
    """A metric as a page knows it."""
    names = ("name", "title", "unit", "digits")
    note = "in noise levels: 1 is perfect" if isinstance(metric, Consistency) else ""
    return {name: getattr(metric, name) for name in names} | {"higher": metric.higher_is_better, "note": note}


def missing(metrics: Sequence[Metric], targets: Mapping[str, type[Metric]]) -> list[str]:
    """A sentence for each metric that was asked for and could not be measured."""
    said = []
    for metric in (m for m in metrics if isinstance(m, Missing)):
        stop = next((of for of in targets.values() if of is metric.metric), None)
        lost = f", so there is no t_{stop.stop_name()}" if stop else ""
        said.append(f"{metric.title} was not measured, because its weights are missing{lost}.")
    if said and any(metric.target == "swd" for metric in metrics):
        said.append("SWD, which needs no weights, picks the good-looking stop.")
    return said


def _buttons(curve: Sequence[Row], stops: Mapping[str, Stop | None], summary: Summary) -> list[dict[str, Any]]:
    """Stops that there are, at the time of the walk where each ends."""
    found: list[tuple[str, str, Row]] = []
    for key, name in (("measurement", "measurement"), ("one_shot", "one-shot")):
        if summary.get(key):
            found.append((name, "", summary[key]))
    for target, metric in TARGETS.items():
        if stop := stops.get(target):
            found.append((metric.stop_name(), f"best {metric.title}", stopped(curve, stop)))
    if summary.get("target"):
        found.append(("target", "the stop that was asked for", summary["target"]))
    return [{"name": name, "title": why, "t": row["t"], "output": row["output"]} for name, why, row in found]


def _steps(sets: Mapping[Any, Any], kept: set[float]) -> list[list[Any]]:
    """Keys that a page can do without, by time: those between the walk's ends where no stop is."""
    times: dict[float, list[Any]] = {}
    for key in (key for key in sets if isinstance(key, tuple)):
        t, output = key[-2:]
        if output in OUTPUTS:
            times.setdefault(t, []).append(key)
    ends = {max(times), min(times)}
    return [keys for t, keys in sorted(times.items(), reverse=True) if t not in kept | ends]


def _images(evaluation: Evaluation, album: Album[Any], times: Sequence[float]) -> list[dict[str, Any]]:
    """The images that a page shows: their pictures, and their own figures."""
    outputs = list(dict.fromkeys(key[1] for key in evaluation.gallery if isinstance(key, tuple)))
    names = evaluation.shown
    values = {key: values_of(rows, names) for key, rows in evaluation.records.of(names).items()}
    images = []
    for i, name in enumerate(names[: album.form.images]):

        def at(key: Any, i: int = i) -> str | None:
            return album.pictures[key][i] if key in album.pictures else None

        image: dict[str, Any] = {"name": name, "clean": at("clean"), "measurement": at("measurement")}
        image |= {part: {} for part in ("pictures", "values", "uncertainty")}
        for output in outputs:
            walked = times if output in OUTPUTS else list(by_time(evaluation.gallery, output))
            image["pictures"][output] = [at((t, output)) for t in walked]
            image["values"][output] = [values[t, output][i] if (t, output) in values else None for t in walked]
            image["uncertainty"][output] = [at(("uncertainty", t, output)) for t in walked]
        images.append(image)
    return images


def _error_top(gallery: Gallery) -> float:
    """The error, in units of the [0, 1] range, that is the brightest in a map; the same for all times and images."""
    pictures = by_time(gallery, "mean") or by_time(gallery, "iterate")
    clean = gallery["clean"].numpy().astype(int)
    errors = [np.abs(pictures[t].numpy() - clean).mean(1) for t in (max(pictures), min(pictures))]
    return max(float(np.percentile(errors, HIGHEST_ERROR)), 1.0) / 255


def _uncertainty(evaluation: Evaluation) -> str:
    if evaluation.uncertainty:
        return f"Uncertainty is the standard deviation of {evaluation.samples} samples of each measurement."
    return (
        "There is no uncertainty: diracdiff evaluate draws several samples with samples=8, of a walk that adds noise "
        "(sampler.stochasticity=1)."
    )


def _short(row: Row) -> Row:
    """A row of the curve, with what a page can show of its numbers."""
    return {key: float(f"{value:.7g}") if isinstance(value, float) else value for key, value in row.items()}
