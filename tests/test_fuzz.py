"""Whatever is given, a command does its work or says one line: configurations, tables of severities, operators."""

import os
import re

import pytest
import torch
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from diracdiff.commands.builders.build import build
from diracdiff.degradations import GaussianBlur, LinearSeverity
from diracdiff.utils.errors import UserError

CASES = int(os.environ.get("FUZZ_CASES", 0))
FUZZ = settings(
    max_examples=CASES or 25,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
VALUES = [
    "null",
    "abc",
    "-1",
    "0",
    "0.5",
    "3",
    "1e30",
    "nan",
    "inf",
    "-inf",
    "[]",
    "[1,2]",
    "{}",
    "{a: 1}",
    "true",
    "''",
]
VALUES += ["99999999999", "../..", "é", "1;2", "[null]", "[abc]", "[[1]]"]
SKIPPED = ("run_dir", "trainer.devices", "trainer.num_nodes", "loader.num_workers", "trainer.strategy")
"""Keys that start processes, or lead elsewhere."""


def leaves(node, prefix=""):
    for key in node:
        value = OmegaConf.to_container(node, resolve=False)[key]
        yield f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(node[key], DictConfig):
            yield from leaves(node[key], f"{prefix}{key}.")


with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
    KEYS = [key for key in leaves(compose("train", ["run_dir=x"])) if not key.startswith(SKIPPED)]


@FUZZ
@given(st.sampled_from(KEYS), st.sampled_from(VALUES))
def test_any_value_of_a_training_s_key_is_taken_or_refused_in_one_line(call, monkeypatch, key, value):
    def fit(*_, **__):
        raise UserError("got as far as training")

    with monkeypatch.context() as patched:
        patched.setattr("pytorch_lightning.Trainer.fit", fit)
        status, lines = call("train", "lpips=null", "trainer.accelerator=cpu", f"{key}={value}")
    assert status == 2, (key, value, lines)
    errors = [line for line in lines if not line.startswith("warning: ")]
    assert len(errors) == 1 and errors[0].startswith("error: "), (key, value, lines)


@pytest.mark.parametrize("key", ["model.network.blocks", "sampler.steps", "threads"])
def test_a_number_that_would_fill_the_memory_is_refused(call, key):
    status, lines = call("train", "lpips=null", "trainer.accelerator=cpu", f"{key}=99999999999")
    assert status == 2 and len(lines) == 1, lines
    assert re.search(r"error: .*(at most|up to) \d+, got 99999999999", lines[0]), lines


numbers = st.one_of(st.floats(), st.integers(), st.text(max_size=4)).map(str)
tables = st.one_of(
    st.binary(max_size=60),
    st.lists(st.tuples(numbers, numbers), max_size=5).map(
        lambda rows: "\n".join(["t,value", *map(",".join, rows)]).encode("utf-8", "surrogatepass")
    ),
)


@FUZZ
@given(tables)
def test_any_table_of_severities_is_taken_or_refused(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    node = OmegaConf.create({"_target_": "diracdiff.degradations.TabulatedSeverity.from_csv", "path": str(path)})
    try:
        severity = build(node)(torch.linspace(0, 1, 5))
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert severity.isfinite().all() and (severity.diff() >= 0).all()


@FUZZ
@given(st.floats(), st.floats(), st.floats(0, 1), st.integers(-2, 40))
def test_any_operator_is_finite_or_refused(first, last, t, size):
    try:
        blur, image = GaussianBlur(LinearSeverity(first, last), size), torch.rand(1, 3, 8, 8)
        blurred = blur(image, torch.tensor([t]))
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert blurred.shape == image.shape and blurred.isfinite().all(), (first, last, t, size)
