"""Pages of results that tests look at, made of images and figures that are known."""

import torch

from diracdiff.evaluation import Blend, Evaluation, Stop
from diracdiff.evaluation.summary import summary_of
from diracdiff.metrics import LPIPS, PSNR, SSIM, SWD, Missing, Reference
from diracdiff.report import Origin
from diracdiff.report.walk import Words, walk_page
from diracdiff.samplers import State

EVIL = "</script><script>document.title='broken'</script><!-- \"'&.png"
NAMES = [EVIL, "plain.png", "other.png"]
TIMES = (1.0, 0.75, 0.5, 0.25, 0.0)
DO, GOOD = Stop(0.75, "mean"), Stop(0.25, "iterate")
STOPS = {"psnr": DO, "lpips": None, "swd": GOOD, "fid": None}
ORIGIN = Origin(f"python -m diracdiff evaluate checkpoint='{EVIL}'", "seed: 3\n", 3)


def walked(size=32, steps=TIMES, names=NAMES, blends=(0.5,), metrics=None):
    """An evaluation of images that x_hat meets in their left half; PSNR of x_hat is best at t = 0.75."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(len(names), 3, size, size, generator=generator)
    right = (torch.arange(size) >= size // 2).float()
    metrics = [PSNR(), SSIM(), Missing(LPIPS, "lpips_squeeze"), SWD()] if metrics is None else metrics
    evaluation = Evaluation(metrics, blends=[Blend(DO, GOOD, share) for share in blends])

    def states():
        for nfe, t in enumerate(steps):
            noise = torch.randn(clean.shape, generator=generator)
            x_hat = clean + (0.05 + 0.2 * abs(t - 0.75)) * noise * right
            yield State(t, clean + 0.3 * (t + 0.1) * noise, x_hat, min(nfe + 1, len(steps) - 1), fresh=t > 0)

    evaluation.add(names, list(range(len(names))), states(), Reference(clean, clean + 0.2))
    evaluation.finish()
    return evaluation


def page_of(evaluation, restorer, stops=STOPS):
    """The page of an evaluation, as bytes."""
    summary = summary_of(evaluation, stops, seed=3, steps=restorer.sampler.steps, task=restorer.name)
    words = Words("evaluation", f"{summary['n']} images", "Stops were found elsewhere.")
    return walk_page(evaluation, stops, summary, restorer, words, ORIGIN)
