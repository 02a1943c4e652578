"""Compare the bundled models with other methods on equal measurements, and with published values.

PSNR in dB of a photograph is -10 log10 of the mean squared error over pixels and channels in the [0, 1] range. Results
are clipped to [0, 1] and not rounded. Measurements have Gaussian noise and are neither clipped nor rounded. Values are
means over photographs. Gains over the measurement have 95 % bootstrap intervals. An interrupted run resumes.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from skimage.restoration import inpaint_biharmonic
from torch import Tensor
from torch.nn import functional as F

from diracdiff import load
from diracdiff.baselines import ADMMTV
from diracdiff.data.images import load_image
from diracdiff.degradations import Operator
from diracdiff.degradations.kernels import parse_kernel
from diracdiff.degradations.super_resolution import downscale
from diracdiff.evaluation.data_consistency import estimate_sigma
from diracdiff.evaluation.measurement import measure
from diracdiff.evaluation.statistics import interval, mean
from diracdiff.metrics import LPIPS
from diracdiff.models import OperatorPreconditioning
from diracdiff.noise import time_at_noise_level
from diracdiff.restorer import Restorer
from diracdiff.utils.files import append_rows, read_rows, write_rows
from diracdiff.utils.pixels import from_pixels
from experiments.common import RUNS

FOLDER = RUNS / "models"
PUBLISHED = Path(__file__).with_name("published.csv")
WEIGHTS = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03)
"""Candidate weights of total variation."""

TUNED_ON = 3
"""Number of photographs at the start of a data set that select the weight. They are also evaluated."""

PERCEPTUAL = 12
"""Number of photographs at the start of a data set that are also restored at PO, with LPIPS of DO and PO."""

MULTIPLE = 4
"""Photographs are cropped to multiples of this side, so that factors of super-resolution divide it."""

PO = "restored at PO"
"""Name of the method with the stopping time of the lowest LPIPS. "restored" has that of the highest PSNR, DO."""

Method = Callable[[Restorer, Tensor, str], Tensor]


@dataclass(frozen=True)
class Problem:
    """A degradation for a bundled model.

    Attributes:
        model: name of the bundled model.
        name: name of the degradation.
        level: noise level of a denoiser in the [0, 1] range, or None.
        params: parameters of the operator, (1, …); None: random for each photograph, by its name, or no parameters.
    """

    model: str
    name: str
    level: float | None = None
    params: Tensor | None = None


def denoising(level: float, name: str) -> Problem:
    return Problem("denoise", name, level)


def deblurring(kernel: str) -> Problem:
    return Problem("deblur", kernel, params=parse_kernel(kernel)[None, None])


def enlarging(factor: int) -> Problem:
    return Problem("super_resolution", f"factor {factor}", params=torch.tensor([[float(factor)]]))


LEVELS = [denoising(level / 255, f"sigma {level}") for level in (15, 25, 50)]
LINEAR = [*map(deblurring, ("gaussian:1.5", "disc:3", "line:12:30")), enlarging(2), enlarging(4)]
GAINS = [denoising(0.1, "sigma 25.5"), deblurring("gaussian:1.5"), Problem("deblur", "random kernels")]
GAINS += [Problem("inpaint", "random masks"), enlarging(2), enlarging(4)]


def bound(restorer: Restorer, problem: Problem, x: Tensor, name: str) -> Restorer:
    """Return the restorer for the operator and the noise level of a photograph, (1, 3, H, W)."""
    if problem.level is not None:
        start = time_at_noise_level(restorer.process.noise, problem.level)
        return restorer.replace(sampler=restorer.sampler.replace(t_start=start))
    return restorer.bind(problem.params).bind_images([name], x)


def restored(target: str) -> Method:
    return lambda restorer, y, name: restorer.restore(y, target, names=[name])


def denoised(restorer: Restorer, y: Tensor, name: str) -> Tensor:
    """Denoise a measurement, (1, 3, H, W), from its estimated noise level."""
    level = estimate_sigma(y[0])
    assert level is not None
    start = time_at_noise_level(restorer.process.noise, level)
    return restorer.replace(sampler=restorer.sampler.replace(t_start=start)).restore(y, "t:1", names=[name])


def wiener(restorer: Restorer, y: Tensor, name: str) -> Tensor:
    """Return the Wiener filter for images whose spectrum falls with the third power of the frequency."""
    _, linear = OperatorPreconditioning(3.0)(restorer.process, y, torch.ones(1))
    return linear.x_hat(torch.zeros_like(y))


def total_variation(weight: float) -> Method:
    def method(restorer: Restorer, y: Tensor, name: str) -> Tensor:
        return ADMMTV(weight)(y, Operator(restorer.process.degradation, y), restorer.process.sigma_y).images

    return method


def bicubic(restorer: Restorer, y: Tensor, name: str) -> Tensor:
    """Downscale a measurement to its coarse grid, and enlarge it with bicubic interpolation."""
    factor = int(restorer.process.degradation.params.item())
    return F.interpolate(downscale(y, factor), scale_factor=factor, mode="bicubic", align_corners=False)


def biharmonic(restorer: Restorer, y: Tensor, name: str) -> Tensor:
    """Fill the masked region of a measurement, (1, 3, H, W), with a biharmonic function."""
    hidden = (restorer.process.mean(torch.ones_like(y), 1.0)[0, 0] < 0.99).numpy()
    filled = inpaint_biharmonic(y[0].permute(1, 2, 0).numpy(), hidden, split_into_regions=True, channel_axis=-1)
    return torch.from_numpy(filled).permute(2, 0, 1)[None].float()


def methods(problem: Problem, classical: bool) -> dict[str, Method]:
    """Return {name: method} for a problem; `classical` adds slow classical methods."""
    if problem.model == "denoise":
        return {"restored": restored("t:1"), "estimated level": denoised}
    options = {"restored": restored("psnr")}
    if not classical:
        options[PO] = restored("lpips")
    if problem.model == "inpaint":
        options["biharmonic"] = biharmonic
    elif classical:
        options["wiener"] = wiener
        options |= {f"tv {weight:g}": total_variation(weight) for weight in WEIGHTS}
    if problem.model == "super_resolution":
        options["bicubic"] = bicubic
    return options


def photographs(folder: Path, count: int) -> Iterator[tuple[str, Tensor]]:
    """Yield names and images, (1, 3, H, W), of at most `count` photographs of a folder, evenly spread."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for path in files[:: max(1, len(files) // count)][:count]:
        x = from_pixels(load_image(path))[None]
        height, width = (side - side % MULTIPLE for side in x.shape[-2:])
        yield path.name, x[..., :height, :width]


def psnr(image: Tensor, clean: Tensor) -> float:
    return -10 * (image.clamp(0, 1) - clean).square().mean().log10().item()


@torch.no_grad()
def add(problem: Problem, data: str, folder: Path, count: int, classical: bool, output: Path) -> None:
    """Evaluate all methods on the photographs of a folder, and append a row per photograph and method to a file."""
    key = {"model": problem.model, "problem": problem.name, "data": data}
    finished = [row for row in read_rows(output, {}) if key.items() <= row.items()] if output.exists() else []
    restorer, candidates, lpips = load(f"builtin:{problem.model}"), methods(problem, classical), LPIPS()
    for number, (name, x) in enumerate(photographs(folder, count)):
        if any(row["image"] == name for row in finished):
            continue
        one = bound(restorer, problem, x, name)
        y = measure(one.process, x, [name], one.seed, one.sampler.t_start).y
        rows = [{"method": "measurement", "psnr": psnr(y, x)}]
        for method, restore in candidates.items():
            if number >= TUNED_ON and method.startswith("tv ") and method != best_weight(output, key):
                continue
            if number >= PERCEPTUAL and method == PO:
                continue
            image = restore(one, y, name)
            row = {"method": method, "psnr": psnr(image, x)}
            if number < PERCEPTUAL and PO in candidates:
                row["lpips"] = lpips.values(image, one.reference(x, y))[0]
            rows.append(row)
        append_rows(output, [key | {"image": name} | row for row in rows])


def best_weight(output: Path, key: dict[str, str]) -> str:
    """Return the name of the total-variation method with the highest PSNR on the first TUNED_ON photographs."""
    sums: dict[str, float] = {}
    rows = [row for row in read_rows(output, {"psnr": float}) if key.items() <= row.items()]
    first = list(dict.fromkeys(row["image"] for row in rows))[:TUNED_ON]
    for row in rows:
        if row["image"] in first and row["method"].startswith("tv "):
            sums[row["method"]] = sums.get(row["method"], 0.0) + row["psnr"]
    return max(sums, key=sums.__getitem__, default="")


def summarise(output: Path) -> list[dict[str, object]]:
    """Return a row for each problem, data set and method: means, and gains over the measurement."""
    values: dict[tuple[str, str, str], dict[str, dict[str, float]]] = {}
    for row in read_rows(output, {"psnr": float}):
        by_method = values.setdefault((row["model"], row["problem"], row["data"]), {})
        by_method.setdefault(row["method"], {})[row["image"]] = row["psnr"]
    rows: list[dict[str, object]] = []
    for (model, problem, data), by_method in values.items():
        weight = best_weight(output, {"model": model, "problem": problem, "data": data})
        for method, by_image in by_method.items():
            if method.startswith("tv ") and method != weight:
                continue
            gain = [value - by_method["measurement"][image] for image, value in by_image.items()]
            low, high = interval(gain) or (math.nan, math.nan)
            row = {"model": model, "problem": problem, "data": data, "method": method, "n": len(gain)}
            rows.append(row | {"psnr": mean(list(by_image.values())), "gain": mean(gain), "low": low, "high": high})
    return rows


def compare_stopping_times(output: Path) -> str:
    """Return a Markdown table of means at DO and PO over the photographs that were restored at both."""
    lines = [
        "| model | problem | data | DO: PSNR, LPIPS | PO: PSNR, LPIPS | change of LPIPS |",
        "|---|---|---|---|---|---|",
    ]
    values: dict[tuple[str, str, str], dict[str, list[tuple[float, float]]]] = {}
    for row in read_rows(output, {"psnr": float}):
        if row["method"] in ("restored", PO) and row.get("lpips"):
            by_method = values.setdefault((row["model"], row["problem"], row["data"]), {})
            by_method.setdefault(row["method"], []).append((row["psnr"], float(row["lpips"])))
    for (model, problem, data), by_method in values.items():
        (psnr_do, lpips_do), (psnr_po, lpips_po) = (
            [mean(list(v)) for v in zip(*by_method[m], strict=True)] for m in ("restored", PO)
        )
        cells = [f"{psnr_do:.2f}, {lpips_do:.4f}", f"{psnr_po:.2f}, {lpips_po:.4f}", f"{lpips_po / lpips_do - 1:+.1%}"]
        lines.append(f"| {' | '.join([model, problem, f'{data}, {len(by_method[PO])}', *cells])} |")
    return "\n".join(lines)


def tables(rows: list[dict[str, object]]) -> str:
    """Return Markdown tables: denoising with published values, and all results."""
    lines = ["| set, sigma | level given | level estimated | published |", "|---|---|---|---|"]
    published = read_rows(PUBLISHED, {"psnr": float})
    for row in rows:
        sigma = str(row["problem"]).removeprefix("sigma ")
        reported = [p for p in published if (p["data"], p["sigma"]) == (row["data"], sigma)]
        if row["model"] == "denoise" and row["method"] == "restored" and reported:
            others = ", ".join(f"{p['method']} {p['psnr']:.2f} (level {p['level']})" for p in reported)
            key = [row[name] for name in ("model", "problem", "data")] + ["estimated level"]
            estimated = next(o for o in rows if [o[name] for name in ("model", "problem", "data", "method")] == key)
            lines.append(f"| {row['data']}, {sigma} | {row['psnr']:.2f} | {estimated['psnr']:.2f} | {others} |")
    lines += ["", "| model | problem | data | method | PSNR [dB] | gain [dB] |", "|---|---|---|---|---|---|"]
    for row in rows:
        gain = f"{row['gain']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" if row["method"] != "measurement" else ""
        cells = [row["model"], row["problem"], f"{row['data']}, {row['n']}", row["method"], f"{row['psnr']:.2f}", gain]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Evaluate all methods, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--testsets", type=Path, help="folder with CBSD68 and Kodak24")
    parser.add_argument("--photographs", type=Path, help="folder of other photographs, for example of ImageNet")
    parser.add_argument("--count", type=int, default=50, help="maximum number of --photographs, evenly spaced")
    parser.add_argument(
        "--classical", type=int, default=24, help="number of photographs of Kodak24 for slow classical methods"
    )
    parser.add_argument("--only", nargs="+", help="models to evaluate; default: all")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--output", type=Path, default=FOLDER / "measured.csv", help="CSV file with a row per photograph and method"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    jobs: list[tuple[Problem, str, Path, int, bool]] = []
    if arguments.testsets:
        sets = {name: arguments.testsets / name for name in ("CBSD68", "Kodak24")}
        jobs += [(problem, name, folder, 1000, False) for name, folder in sets.items() for problem in LEVELS]
        jobs += [(problem, "Kodak24", sets["Kodak24"], arguments.classical, True) for problem in LINEAR]
    if arguments.photographs:
        name = "photographs"
        jobs += [(problem, name, arguments.photographs, arguments.count, False) for problem in GAINS]
    for problem, name, folder, count, classical in jobs:
        if not arguments.only or problem.model in arguments.only:
            print(f"{problem.model}, {problem.name}, {name}", flush=True)
            add(problem, name, folder, count, classical, arguments.output)
    rows = summarise(arguments.output)
    write_rows(arguments.output.with_name("results.csv"), rows)
    print(tables(rows), compare_stopping_times(arguments.output), sep="\n\n")


if __name__ == "__main__":
    main()
