"""Test if evaluation results depend on the batch size or the number of processes.

Arguments: overrides of diracdiff evaluate.
"""

import sys

from diracdiff.utils.files import read_rows
from experiments.common import RUNS, evaluate

RUN = {f"batch_{size}": [f"data.eval_batch_size={size}"] for size in (1, 7, 64)}
RUN["processes_2"] = ["data.eval_batch_size=16", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
METRICS = ("psnr", "ssim", "lpips_squeeze", "consistency")


def gap(metric: str, a: float, b: float) -> float:
    """Return the absolute difference of two values, which is relative for FID."""
    return abs(a - b) / (abs(a) if metric.startswith("fid_") else 1)


tables, means = {}, {}
for name, overrides in RUN.items():
    folder = RUNS / "invariance" / name
    evaluate(folder, *sys.argv[1:], *overrides)
    tables[name] = {(r["name"], r["t"], r["output"]): r for r in read_rows(folder / "images.csv")}
    means[name] = {(r["t"], r["output"]): r for r in read_rows(folder / "curve.csv")}
first, *others = tables
for name in others:
    assert tables[name].keys() == tables[first].keys()
    for kind, results in (("single images", tables), ("means", means)):
        metrics = [m for m in results[first][next(iter(results[first]))] if m in METRICS or m.startswith("fid_")]
        pairs = [(row, results[name][key]) for key, row in results[first].items()]
        gaps = {m: max(gap(m, float(a[m]), float(b[m])) for a, b in pairs) for m in metrics}
        print(f"{name} against {first}, {kind}:", {m: f"{gap:.1e}" for m, gap in gaps.items()})
