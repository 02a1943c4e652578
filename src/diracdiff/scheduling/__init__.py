"""Greedy schedules of severities, and of the times of a trajectory (paper, Algorithm 2)."""

from diracdiff.scheduling.distance import LPIPS, MSE, SSIM, Dissimilarity, Distance, trajectories
from diracdiff.scheduling.greedy import Placement, greedy, tabulate

__all__ = ["LPIPS", "MSE", "SSIM", "Dissimilarity", "Distance", "Placement", "greedy", "tabulate", "trajectories"]
