"""Files that commands wrote and read again, damaged in many ways: a result, or one line that names file and remedy."""

import json
import os
import random
import shutil

import pytest
import torch
from conftest import refused

from diracdiff.comparison.measurements import Measurements
from diracdiff.comparison.runs import Run
from diracdiff.comparison.table import MEANINGS, Table
from diracdiff.degradations import TabulatedSeverity
from diracdiff.evaluation.calibration import Calibration, Walked
from diracdiff.metrics import PSNR, SSIM
from diracdiff.samplers import AdaptiveGrid
from diracdiff.utils.errors import UserError
from diracdiff.utils.files import append_rows, write_json, write_rows
from diracdiff.utils.reading import misfit, read_json, read_rows

COUNT = int(os.environ.get("DIRACDIFF_FUZZ", "30"))
"""Mutations of each kind of file."""

VALUES = [None, True, 0, -1, 7, 1e999, float("nan"), "", "x", "1", "\0", [], [None], {}, {"a": 1}, 10**400]
CELLS = ["", "x", "null", "nan", "-1", "1e999", "\0", '"', "1,2", "\n", "=1+1", "'", "\ud800", "1" * 5000]


def spoiled(data, seed):
    """Bytes with a random change: flipped, cut, repeated, filled with NUL, or in another encoding."""
    draw = random.Random(seed)
    kind, place = draw.randrange(8), draw.randrange(len(data))
    length = draw.randrange(1, 40)
    if kind == 0:
        return data[:place] + bytes(draw.randrange(256) for _ in range(length)) + data[place + length :]
    if kind == 1:
        return data[:place]
    if kind == 2:
        return data[:place] + data[place + length :]
    if kind == 3:
        return data[:place] + data[place : place + length] + data[place:]
    if kind == 4:
        return data[:place] + b"\0" * length + data[place:]
    if kind == 5:
        return data.decode("latin-1").encode(draw.choice(["utf-16", "utf-32", "utf-8-sig"]))
    if kind == 6:
        return draw.choice([b"", b"\n", b"null", b"5", b"[]", b"{}", b'"text"', b"[" * 100_000, b"\xff\xfe"])
    return data.replace(draw.choice([b",", b"\n", b'"', b":", b"0"]), draw.choice([b"", b";", b"\r", b"\0"]))


def spoiled_json(data, seed):
    """JSON with one value replaced or one entry removed, or else spoiled bytes."""
    draw, content = random.Random(seed), json.loads(data)
    if draw.random() < 0.3:
        return spoiled(data, seed)
    places = []

    def visit(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                visit(node[key])

    visit(content)
    node, key = draw.choice(places)
    if isinstance(node, dict) and draw.random() < 0.3:
        del node[key]
    else:
        node[key] = draw.choice(VALUES)
    return json.dumps(content).encode()


def spoiled_csv(data, seed):
    """CSV with one cell replaced or one column renamed, or else spoiled bytes."""
    draw = random.Random(seed)
    if draw.random() < 0.5:
        return spoiled(data, seed)
    lines = [line.split(",") for line in data.decode().splitlines()]
    line = draw.choice(lines)
    line[draw.randrange(len(line))] = draw.choice(CELLS)
    return ("\n".join(map(",".join, lines)) + "\n").encode("utf-8", "surrogatepass")


def survives(path, spoil, read):
    """Every mutation of a file gives a result or one line; some of both kinds."""
    whole = path.read_bytes()
    read()
    results = 0
    for seed in range(COUNT):
        path.write_bytes(spoil(whole, seed))
        try:
            read()
            results += 1
        except UserError as error:
            assert "\n" not in str(error) and str(path.parent) in str(error), error
    path.write_bytes(whole)
    assert results < COUNT


@pytest.fixture
def comparison(tmp_path):
    """A table as a comparison writes it, of 9 images and 3 methods."""
    names = [f"{i}.png" for i in range(9)]
    table = table_of({})
    for method, stop in (("measurement", ""), ("dirac_do", "mean t=1"), ("dirac_po", "mean t=0")):
        rows = [
            {
                "name": name,
                "stop": stop,
                "calls": 1,
                "seconds": 0.1,
                "psnr": 20.0 + i + len(stop),
                "ssim": 0.5 + i / 100,
            }
            for i, name in enumerate(names)
        ]
        table.add(method, None, {"steps": 4}, stop, Run(rows, {}, {}, 100.0), 0)
    folder = tmp_path / "other"
    folder.mkdir()
    table.write(folder, "title", 0, "CPU")
    return folder


def table_of(images):
    table = Table(
        {"n": 9, "sigma": 0.05} | {key: None for key in MEANINGS if key not in ("n", "sigma")}, [PSNR(), SSIM()]
    )
    for name, rows in images.items():
        table.rows.append({"method": name, "interval": {}})
        table.images[name] = rows
    return table


@pytest.mark.parametrize(("name", "spoil"), [("comparison.json", spoiled_json), ("images.csv", spoiled_csv)])
def test_a_damaged_comparison_is_included_or_refused_in_one_line(comparison, tmp_path, name, spoil):
    (tmp_path / "joined").mkdir()

    def include():
        table = table_of({})
        table.include(comparison)
        table.write(tmp_path / "joined", "title", 0, "CPU")
        table.text(intervals=True)

    survives(comparison / name, spoil, include)


def test_rows_of_other_images_are_not_paired(comparison):
    lines = (comparison / "images.csv").read_text().splitlines()
    (comparison / "images.csv").write_text("\n".join(lines[:-1]) + "\n")
    table = table_of({"own": [{"name": f"{i}.png"} for i in range(9)]})
    with pytest.raises(
        UserError, match=r"images.csv: lacks rows of 'dirac_po' or has others. Leave this comparison out"
    ):
        table.include(comparison)


@pytest.mark.parametrize("name", ["metrics.csv", "tradeoff.csv"])
def test_a_damaged_log_is_read_or_refused_in_one_line(tmp_path, name):
    path = tmp_path / name
    rows = [{"epoch": i, "step": 4 * i, "train/loss": 0.1 * i, "output": "mean", "psnr": 20.0 + i} for i in range(12)]
    write_rows(path, rows)

    def resume():
        kept = [row for row in read_rows(path, {"step": int}, unfinished=True) if row["step"] <= 20]
        if kept:
            write_rows(tmp_path / "kept.csv", kept)
            append_rows(tmp_path / "kept.csv", rows)

    survives(path, spoiled_csv, resume)


def test_a_row_that_a_killed_process_left_is_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"step,loss\n1,0.5\n2,0.2")
    assert [row["step"] for row in read_rows(path, {"step": int}, unfinished=True)] == [1]
    assert [row["step"] for row in read_rows(path, {"step": int})] == [1, 2]


@pytest.mark.parametrize("name", ["metrics.csv", "tradeoff.csv"])
def test_a_run_with_a_damaged_log_resumes_in_no_other_way_than_one_line(run, folder, tmp_path, call, name):
    copied = tmp_path / "copied"
    shutil.copytree(run[1].resolve(), copied)
    (copied / name).write_bytes(b"step,epoch\nnull,\0\n")
    from conftest import BRIEF, SMALL

    words = ["task=inpaint", *folder, *SMALL, *BRIEF, "trainer.max_epochs=3", f"run_dir={copied}", "lpips=null"]
    message = rf"{name}, line 2: cannot be read \(invalid literal for int.*\). Move it away: the run then resumes"
    refused(call("train", *words, f"checkpoint={copied}/last.ckpt"), message)
    assert (copied / "last.ckpt").exists() and (copied / "best.ckpt").exists()


def test_a_damaged_calibration_is_taken_or_refused(tmp_path):
    path = tmp_path / "calibration.json"
    walked = Walked(4, {"t": 0.0, "output": "mean"}, {"_target_": "diracdiff.samplers.ReverseSampler"})
    factors, errors = {"0.8": 1.5, "0.9": 2.0}, {"0.8": [0.5, 1.5], "0.9": [0.2, 2.0]}
    write_json(path, {**Calibration(walked, 10, {}, {}).plain(), "factors": factors, "errors": errors})
    whole = path.read_bytes()
    for seed in range(COUNT):
        content = json.loads(whole)
        random.Random(seed).choice([content, content["factors"], content["errors"], content["walked"]]).update(
            {random.Random(seed).choice([*content, *content["walked"], "0.8"]): random.Random(seed + 1).choice(VALUES)}
        )
        try:
            Calibration.from_plain(content)
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("read", [TabulatedSeverity.from_csv, AdaptiveGrid.from_csv])
def test_a_damaged_table_of_times_is_read_or_refused(tmp_path, read):
    path = tmp_path / "table.csv"
    path.write_text("t,value\n0,0\n0.25,0.1\n0.5,0.2\n1,1\n")
    survives(path, spoiled_csv, lambda: read(path))


def test_damaged_measurements_are_refused_in_one_line(tmp_path):
    path = tmp_path / "measurements_val.pt"
    clean = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    Measurements(clean, clean.float(), ["a", "b"], [1, 2], 0.05, {}).save(path)
    survives(path, spoiled, lambda: Measurements.load(path).digest)
    torch.save({"clean": clean}, path)
    with pytest.raises(UserError, match=r"measurements_val.pt: must hold measurements that diracdiff compare wrote"):
        Measurements.load(path)


@pytest.mark.parametrize(
    ("value", "shape", "message"),
    [
        ({"a": 1}, {"a": float}, None),
        ({"a": True}, {"a": int}, "a must be an integer"),
        ({}, {"a?": int}, None),
        ({}, {"a": int}, "a is missing"),
        ({"a": [{"b": None}]}, {"a": [{"b": (str, None)}]}, None),
        ({"a": [{"b": 1}]}, {"a": [{"b": (str, None)}]}, "a[0].b must be text"),
        ({"x": 1, "y": "2"}, {str: float}, "y must be a number"),
        ([1, 2], [float, float, float], "the whole must be a list of 3"),
        ([], {}, "the whole must be an object"),
    ],
)
def test_a_shape_names_the_first_place_that_lacks_it(value, shape, message):
    assert misfit(value, shape) == message


def test_a_file_that_is_not_there_or_a_folder_is_one_line(tmp_path):
    for read in (lambda path: read_rows(path), lambda path: read_json(path, dict)):
        with pytest.raises(UserError, match=r"none: cannot be read \(No such file or directory\). Move it away"):
            read(tmp_path / "none")
        with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
            read(tmp_path)
