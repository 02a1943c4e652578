"""Any table of severities and any operator gives finite values or is refused in one line."""

import os

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diracdiff.degradations import GaussianBlur, LinearSeverity, TabulatedSeverity

FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ_CASES", 0)) or 25,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

numbers = st.one_of(st.floats(), st.integers(), st.text(max_size=4)).map(str)
tables = st.one_of(
    st.binary(max_size=60),
    st.lists(st.tuples(numbers, numbers), max_size=5).map(
        lambda rows: "\n".join(["t,value", *map(",".join, rows)]).encode("utf-8", "surrogatepass")
    ),
)


@FUZZ
@given(tables)
def test_any_table_of_severities_is_read_or_refused(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    try:
        severity = TabulatedSeverity.from_csv(path)(torch.linspace(0, 1, 5))
    except ValueError as error:
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
