"""How fast everything is, part by part, and what it costs."""

from diracdiff.benchmarks.machine import machine, peak_tflops
from diracdiff.benchmarks.pieces import write_jpegs
from diracdiff.benchmarks.report import finished, markdown, print_tables
from diracdiff.benchmarks.saved import check_comparable, check_files, print_slower, read_saved, settings, slower, write
from diracdiff.benchmarks.suite import TABLES, Suite

__all__ = [
    "TABLES",
    "Suite",
    "check_comparable",
    "check_files",
    "finished",
    "machine",
    "markdown",
    "peak_tflops",
    "print_slower",
    "print_tables",
    "read_saved",
    "settings",
    "slower",
    "write",
    "write_jpegs",
]
