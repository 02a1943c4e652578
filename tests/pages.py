"""HTML reports of known images and metric values, for the tests of reports."""

import torch

from diracdiff.comparison.page import comparison_page
from diracdiff.comparison.runs import Run
from diracdiff.comparison.table import Table
from diracdiff.evaluation import Evaluation, StoppingPoint
from diracdiff.evaluation.tables import summarise
from diracdiff.metrics import PSNR, SSIM, SWD, Reference
from diracdiff.metrics.metric import ImageMetric
from diracdiff.report import Origin
from diracdiff.report.trajectory import evaluation_page
from diracdiff.samplers import State

EVIL = "</script><script>document.title='broken'</script><!-- \"'&.png"
NAMES = [EVIL, "plain.png", "other.png"]
TIMES = (1.0, 0.75, 0.5, 0.25, 0.0)
DO, PO = StoppingPoint(0.75, "x_hat"), StoppingPoint(0.25, "iterate")
STOPS = {"psnr": DO, "lpips": None, "swd": PO, "fid": None}
ORIGIN = Origin(f"python -m diracdiff evaluate checkpoint='{EVIL}'", "seed: 3\n", 3)


def evaluated(size=32, steps=TIMES, names=NAMES, metrics=None):
    """Evaluation of random images. The left half of x_hat is exact, and its PSNR is highest at t = 0.75."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(len(names), 3, size, size, generator=generator)
    right = (torch.arange(size) >= size // 2).float()
    metrics = [PSNR(), SSIM(), SWD()] if metrics is None else metrics
    evaluation = Evaluation(metrics)

    def states():
        for nfe, t in enumerate(steps):
            noise = torch.randn(clean.shape, generator=generator)
            x_hat = clean + (0.05 + 0.2 * abs(t - 0.75)) * noise * right
            yield State(t, clean + 0.3 * (t + 0.1) * noise, x_hat, min(nfe + 1, len(steps) - 1), x_hat_is_current=t > 0)

    evaluation.add(names, list(range(len(names))), states(), Reference(clean, clean + 0.2))
    evaluation.finish()
    return evaluation


def page_of(evaluation, restorer, stopping_points=STOPS):
    """Report of an evaluation, as bytes."""
    summary = summarise(evaluation, stopping_points, seed=3, steps=restorer.sampler.num_steps, task=restorer.name)
    texts = (f"{summary['n']} images", "Stopping times were found elsewhere.")
    return evaluation_page("evaluation", evaluation, stopping_points, summary, restorer, *texts, ORIGIN)


class Lower(ImageMetric):
    """Metric whose lower values are better. It must not be computed."""

    name, title, target, abbreviation, higher_is_better = "lpips_squeeze", "LPIPS", "lpips", "PO", False

    def measure(self, images, reference):
        raise AssertionError


def comparison():
    """Report of a comparison of four methods on three images, as bytes. Two images have constant grey pictures."""
    methods = ["measurement", EVIL, "dirac_do", "dirac_po"]
    table = Table([PSNR(), SSIM(), Lower()], {"sigma": 0.05})
    for i, method in enumerate(methods):
        stop = "x_hat t=0.25" if method == "dirac_do" else ""
        values = {"ssim": 0.5 + 0.1 * i, "lpips_squeeze": 0.4 - 0.1 * i}
        row = {"stop": stop, "calls": i, "seconds": 0.1} | values
        rows = [{"name": name, "psnr": 20.0 + i + j} | row for j, name in enumerate(NAMES)]
        table.add(method, None, {"steps": 4 * i}, stop, Run(rows), 0)

    def grey(level):
        return torch.full((2, 3, 16, 16), level, dtype=torch.uint8)

    images = {name: grey(20 * i) for i, name in enumerate(["clean", *methods])}
    values = {"calls": 1, "seconds": 0.1, "ssim": 0.5, "lpips_squeeze": 0.2}
    times = {f"x_hat t={t}": t for t in (1, 0.5, 0.25, 0)}
    rows = [
        {"name": n, "stop": s, "psnr": 20.0 + t + i} | values for s, t in times.items() for i, n in enumerate(NAMES)
    ]
    curve = Run(rows, {stop: grey(round(100 + 80 * t)) for stop, t in times.items()})
    curves = {"Dirac over t (steps 8)": curve}
    return comparison_page(table, "deblur, 3 images", curves, images, NAMES, 0, "CPU", ORIGIN)
