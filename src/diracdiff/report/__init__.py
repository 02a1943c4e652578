"""Reports of training runs, evaluations and comparisons: one HTML file each, without a server or a network."""

from diracdiff.report.origin import Origin

__all__ = ["Origin"]
