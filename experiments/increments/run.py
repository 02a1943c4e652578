"""Evaluate all increment estimates, solvers and time grids with one checkpoint."""

import sys

from experiments.common import sweep

INCREMENTS = ("look_ahead", "small_look_ahead", "look_back", "small_look_back", "exact_look_back")
settings = {name: [f"sampler/increment={name}"] for name in INCREMENTS}
settings["ode"] = ["sampler.eta=0"]
settings["heun_10"] = ["sampler.eta=0", "sampler/solver=heun", "sampler.num_steps=10"]
settings["power_2"] = ["sampler/grid=power", "sampler.grid.exponent=2"]
settings["power_0.5"] = ["sampler/grid=power", "sampler.grid.exponent=0.5"]
sweep("increments", settings, [*sys.argv[1:], "target=t:0"])
