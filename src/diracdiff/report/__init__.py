"""Reports: pages that a browser opens without a server or a network, and what else a command leaves of its results.

A page is one HTML file: its pictures, its figures and the script that shows them are in it.
"""

from diracdiff.report.origin import Origin

__all__ = ["Origin"]
