"""Plot LPIPS over the number of steps (paper, Fig. 4 right) and data consistency over t (Fig. 4 left)."""

import sys

from experiments.common import COLOURS, RUNS, curve, lpips_of, panels, save, sweep

NAME, STEPS = "fig4_consistency_and_steps", (2, 5, 10, 20, 50)

arguments = [argument for argument in sys.argv[1:] if not argument.startswith("name=")]
(task,) = [argument.removeprefix("name=") for argument in sys.argv[1:] if argument.startswith("name=")] or ["task"]
summaries = sweep(f"{NAME}/{task}", {f"steps_{n}": [f"sampler.num_steps={n}", "target=t:0"] for n in STEPS}, arguments)

figure, (left, right) = panels(2)
rows = curve(RUNS / NAME / task / f"steps_{STEPS[-1]}")
left.plot([row["t"] for row in rows], [row["consistency"] for row in rows], color=COLOURS[0], label="x_hat")
left.axhline(1, color=COLOURS[4], linestyle="--", label="noise floor")
left.set(xlim=(1.01, -0.01), ylim=(0, 1.2), xlabel="t", ylabel="||y - A(x_hat)|| / (sqrt(n) sigma)", title=task)
left.legend(frameon=False)
for colour, stop in zip(COLOURS, ("po", "target"), strict=False):
    values = [summaries[f"steps_{n}"][stop][lpips_of(summaries[f"steps_{n}"])] for n in STEPS]
    right.semilogx(STEPS, values, "-o", color=colour, label={"po": "x_hat at t_PO", "target": "x_hat at the end"}[stop])
right.set_xticks(STEPS, [str(n) for n in STEPS])
right.minorticks_off()
right.set(xlabel="steps from t = 1 to 0", ylabel=lpips_of(summaries["steps_2"]), title=task)
right.legend(frameon=False)
save(figure, f"{NAME}/{task}")
