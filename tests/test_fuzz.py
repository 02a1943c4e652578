"""Any operator gives finite values or is refused in one line."""

import os

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diracdiff.degradations import GaussianBlur, LinearSeverity

FUZZ = settings(max_examples=int(os.environ.get("FUZZ_CASES", 25)), derandomize=True, deadline=None)


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
