"""Greedy schedules of severities, and of the times of a walk (paper, Algorithm 2)."""

from diracdiff.scheduling.dissimilarities import LPIPS, MSE, SSIM, Dissimilarity
from diracdiff.scheduling.distances import DegradationDistance, TrajectoryDistance
from diracdiff.scheduling.greedy import Placement, greedy, tabulate

__all__ = [
    "LPIPS",
    "MSE",
    "SSIM",
    "DegradationDistance",
    "Dissimilarity",
    "Placement",
    "TrajectoryDistance",
    "greedy",
    "tabulate",
]
