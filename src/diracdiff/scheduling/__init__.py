"""Greedy schedules of severities and of time grids (paper, Algorithm 2)."""

from diracdiff.scheduling.distance import LPIPS, MSE, SSIM, Dissimilarity, Distance, trajectories
from diracdiff.scheduling.greedy import Placement, greedy, tabulate

__all__ = ["LPIPS", "MSE", "SSIM", "Dissimilarity", "Distance", "Placement", "greedy", "tabulate", "trajectories"]
