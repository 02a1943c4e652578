"""Reports of training runs, evaluations and comparisons: self-contained HTML files."""

from diracdiff.report.origin import Origin

__all__ = ["Origin"]
