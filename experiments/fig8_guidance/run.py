"""Plot LPIPS and PSNR over the guidance step for both scalings (paper, Fig. 8)."""

import sys

from experiments.common import COLOURS, lpips_of, panels, save, sweep

STEPS = {"std": (0.1, 0.3, 1.0, 3.0), "error": (10.0, 30.0, 100.0, 300.0)}

settings = {"none": ["sampler/guidance=none"]}
for scaling, steps in STEPS.items():
    for step in steps:
        settings[f"{scaling}_{step:g}"] = [f"sampler/guidance={scaling}", f"sampler.guidance.step={step}"]
summaries = sweep("fig8_guidance", settings, sys.argv[1:])

figure, axes = panels(2)
for colour, (scaling, steps) in zip(COLOURS, STEPS.items(), strict=False):
    for axis, metric in zip(axes, (lpips_of(summaries["none"]), "psnr"), strict=True):
        values = [summaries["none"]["po"][metric], *(summaries[f"{scaling}_{step:g}"]["po"][metric] for step in steps)]
        axis.plot(range(len(values)), values, "-o", color=colour, label=scaling)
        axis.set_ylabel(f"{metric} at t_PO")
        axis.set_xticks(range(len(values)), ["none", *(f"{a:g}\n{b:g}" for a, b in zip(*STEPS.values(), strict=True))])
        axis.set_xlabel("guidance step (upper: std, lower: error)")
axes[0].legend(frameon=False)
save(figure, "fig8_guidance")
