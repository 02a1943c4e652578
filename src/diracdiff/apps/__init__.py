"""Applications: restoration of files, and the demo that uses the same service."""

from diracdiff.apps.service import (
    OPERATOR_INPUTS,
    Batch,
    OperatorInput,
    RestorationResult,
    RestoreOptions,
    SourceImage,
    check_operator_input,
    prepare,
)

__all__ = [
    "OPERATOR_INPUTS",
    "Batch",
    "OperatorInput",
    "RestorationResult",
    "RestoreOptions",
    "SourceImage",
    "check_operator_input",
    "prepare",
]
