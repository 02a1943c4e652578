"""Plot metrics of inpainting over the look-ahead D of the training loss (paper, Fig. 9), with a checkpoint for each D.

Arguments of the form D=0.25:runs/…/best.ckpt name the checkpoints. Other arguments are overrides of diracdiff evaluate.
"""

import sys

from experiments.common import COLOURS, lpips_of, panels, save, sweep

pairs = [argument[2:].split(":", 1) for argument in sys.argv[1:] if argument.startswith("D=")]
others = [argument for argument in sys.argv[1:] if not argument.startswith("D=")]
settings = {d: [f"checkpoint={path}", "target=t:0", "fid=squeezenet"] for d, path in sorted(pairs)}
summaries = sweep("fig9_look_ahead", settings, others)

stopping_points = {"one_shot": "t = 1", "po": "t_PO", "target": "t = 0"}
figure, axes = panels(3)
for axis, metric in zip(axes, (lpips_of(summaries[pairs[0][0]]), "fid_squeezenet", "psnr"), strict=True):
    for colour, (stop, label) in zip(COLOURS, stopping_points.items(), strict=False):
        axis.plot(
            [float(d) for d in summaries],
            [s[stop][metric] for s in summaries.values()],
            "-o",
            color=colour,
            label=label,
        )
    axis.set(xlabel="look-ahead D of the loss", ylabel=f"{metric} of x_hat")
axes[0].legend(frameon=False)
save(figure, "fig9_look_ahead")
