"""Time the parts of training and sampling: `python -m benchmarks.run --output before.json task=inpaint`.

Arguments without dashes are overrides of `diracdiff train`, such as the model, the data set and the task. Every round
runs all cases once. On a CPU, the benchmark measures the CPU time of this process. Every round also runs a fixed
reference workload. Runs of different days are compared in units of the reference.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")  # the default holds fewer kernels than the cases use

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.benchmark import Timer
from torch.utils.benchmark import timer as wall_clock
from torch.utils.data import default_collate
from torch.utils.flop_counter import FlopCounterMode

from diracdiff.commands.build import build, build_restorer
from diracdiff.commands.build_training import build_data, build_metrics
from diracdiff.evaluation.measurement import training_batch
from diracdiff.metrics import ImageMetric
from diracdiff.samplers import Euler, Exponential, Multistep

CONF = Path(__file__).parents[1] / "conf"
GROUPS = ("network", "training", "sampling", "metrics", "loading")
VARIANTS = ("bf16", "checkpointed", "compiled")
REFERENCE = "reference"
MUST_AGREE = ("network", "image_size", "batch", "device", "threads", "task")
"""Settings that must be equal in two compared runs."""


@dataclass
class Case:
    """A function to time.

    Attributes:
        name: group and part, such as "network, forward, batch 8".
        call: the timed function.
        images: number of images per call.
        flops: floating-point operations per call; 0: not counted.
        nfe: number of function evaluations per call.
        seconds: seconds per call, one value per round.
        memory: peak GPU memory in bytes; 0: unknown.
    """

    name: str
    call: Callable[[], Any]
    images: int
    flops: float = 0.0
    nfe: int = 0
    seconds: list[float] = field(default_factory=list)
    memory: int = 0


class Suite:
    """Cases of one configuration.

    Args:
        cfg: configuration of `diracdiff train`.
        device: device of the networks.
        batch: batch size.
        variants: execution modes of the network, a subset of VARIANTS.
    """

    def __init__(self, cfg: DictConfig, device: torch.device, batch: int, variants: list[str]):
        self.cfg, self.device, self.batch, self.variants = cfg, device, batch, variants
        self.restorer = build_restorer(cfg).to(device)
        self.data = build_data(cfg)
        images = self.data.split("train")
        self.x = torch.stack([images[i % len(images)]["x"] for i in range(batch)]).to(device)

    def cases(self, group: str) -> Iterator[Case]:
        """Return the cases of one of the GROUPS."""
        cases: Iterator[Case] = getattr(self, f"_{group}")()
        return cases

    def _network(self) -> Iterator[Case]:
        network, size = self.restorer.denoiser.network, self.restorer.image_size
        once = flops(network, size)
        for batch in sorted({1, self.batch, 2 * self.batch}):
            yield from passes(network, size, batch, self.device, once, f"batch {batch}")
        for variant in self.variants:
            changed = copy.deepcopy(network)
            if variant == "compiled":
                changed.compile()
            elif variant == "checkpointed":
                changed.checkpoint_activations = True
            yield from passes(changed, size, self.batch, self.device, once, f"batch {self.batch}, {variant}")

    def _training(self) -> Iterator[Case]:
        cfg, denoiser, process = self.cfg, self.restorer.denoiser, self.restorer.process
        loss, x = build(cfg.loss), self.x
        parameters = list(denoiser.parameters())
        optimizer = build(cfg.optimizer).build(denoiser.parameters(), lambda: 1e9)["optimizer"]
        average = [p.detach().clone() for p in parameters]

        def degrade() -> Any:
            return training_batch(process, x, 0, tuple(cfg.task.t_range), denoiser.condition_on_measurement)

        def compute_loss() -> Tensor:
            degraded = degrade()
            x_hat = denoiser(degraded.process, degraded.y, degraded.t, measurement=degraded.measurement)
            value: Tensor = loss(degraded.process, x_hat, degraded.x, degraded.t)
            return value

        def loss_alone() -> None:
            x_hat.grad = None
            loss(degraded.process, x_hat, degraded.x, degraded.t).backward()

        def step() -> None:
            optimizer.zero_grad()
            compute_loss().backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            torch._foreach_lerp_(average, parameters, 1e-3)

        degraded, x_hat = degrade(), (x + 0.01).requires_grad_()
        step()
        yield Case("training, whole step", step, len(x))
        yield Case("training, degradation", degrade, len(x))
        yield Case("training, loss and its gradient", loss_alone, len(x))
        yield Case("training, optimizer", optimizer.step, len(x))

    def _sampling(self) -> Iterator[Case]:
        restorer, names = self.restorer, [str(i) for i in range(self.batch)]
        restorer.denoiser.eval()
        for solver in (Euler(), Exponential(), Multistep()):
            sampler = restorer.sampler.replace(solver=solver)

            @torch.no_grad()
            def sample(sampler: Any = sampler) -> int:
                measured = restorer.measure(self.x, names)
                return [s.nfe for s in sampler.states(measured.process, restorer.denoiser, measured.y, measured.noise)][
                    -1
                ]

            yield Case(f"sampling, {type(solver).__name__}", sample, self.batch, nfe=sample())

    def _metrics(self) -> Iterator[Case]:
        measured = self.restorer.measure(self.x)
        reference = self.restorer.replace(process=measured.process).reference(self.x, measured.y)
        restored = (self.x + 0.02 * torch.randn_like(self.x)).clamp(0, 1)
        for metric in build_metrics(self.cfg):
            if isinstance(metric, ImageMetric):
                yield Case(f"metrics, {metric.name}", lambda m=metric: m(restored, reference), self.batch)

    def _loading(self) -> Iterator[Case]:
        images = self.data.split("train")

        def load() -> None:
            default_collate([images[(0, i % len(images))] for i in range(self.batch)])

        yield Case(f"loading, {type(self.data.dataset).__name__}", load, self.batch)


def passes(
    network: Any, size: int, batch: int, device: torch.device, once: tuple[float, float], name: str
) -> Iterator[Case]:
    """Yield the cases of the forward pass, and of forward and backward pass, of a network."""
    y, level = inputs(network, size, batch, device)

    def autocast() -> Any:
        return torch.autocast(device.type, torch.bfloat16) if name.endswith("bf16") else nullcontext()

    @torch.no_grad()
    def forward() -> None:
        with autocast():
            network(y, level)

    def both() -> None:
        network.zero_grad()
        with autocast():
            loss = network(y, level).float().square().mean()
        loss.backward()

    yield Case(f"network, forward, {name}", forward, batch, once[0] * batch)
    yield Case(f"network, forward and backward, {name}", both, batch, once[1] * batch)


def inputs(network: Any, size: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return random inputs of a network: images (B, C, size, size) and noise levels (B,) or (B, conditions)."""
    shape = (batch,) if network.conditions == 1 else (batch, network.conditions)
    channels = network.image_channels * getattr(network, "images", 1)
    return torch.rand(batch, channels, size, size, device=device), torch.rand(shape, device=device)


def flops(network: nn.Module, size: int) -> tuple[float, float]:
    """Count the operations for one image of size x size pixels: (forward pass, forward and backward pass)."""
    empty = copy.deepcopy(network).to("meta")
    y, level = inputs(empty, size, 1, torch.device("meta"))
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        empty(y, level)
    with FlopCounterMode(display=False) as both:
        empty(y, level).sum().backward()
    return float(forward.get_total_flops()), float(both.get_total_flops())


def saved_bytes(network: nn.Module, size: int) -> int:
    """Return the bytes that autograd saves for the backward pass of one float32 image of size x size pixels."""
    empty = copy.deepcopy(network).to("meta")
    saved, weights = {}, {id(p.untyped_storage()) for p in empty.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[id(storage)] = storage  # storages stay alive, so that their ids are unique
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        empty(*inputs(empty, size, 1, torch.device("meta")))
    return sum(storage.nbytes() for key, storage in saved.items() if key not in weights)


def reference_case(device: torch.device) -> Case:
    """Return the reference workload: a convolution, a group normalisation and a SiLU of fixed size."""
    images = torch.linspace(0, 1, 4 * 32 * 32 * 32, device=device).reshape(4, 32, 32, 32)
    weight = torch.linspace(-1, 1, 32 * 32 * 9, device=device).reshape(32, 32, 3, 3) / 17

    @torch.no_grad()
    def call() -> Tensor:
        return nn.functional.silu(nn.functional.group_norm(nn.functional.conv2d(images, weight, padding=1), 8))

    return Case(REFERENCE, call, 4)


def measure(cases: list[Case], device: torch.device, rounds: int, seconds: float) -> None:
    """Time all cases in every round, in reversed order in every second round.

    Args:
        cases: cases, whose `seconds` and `memory` are set.
        device: wall time is measured for CUDA, CPU time of the process otherwise.
        rounds: number of rounds.
        seconds: approximate duration of a case per round.
    """
    timer_function = wall_clock if device.type == "cuda" else time.process_time
    timed = []
    for case in cases:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        case.call()  # compiles and allocates
        case.memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
        threads = torch.get_num_threads()
        timed.append((case, Timer("call()", globals={"call": case.call}, timer=timer_function, num_threads=threads)))
    for number in range(rounds):
        for case, timer in timed if number % 2 == 0 else reversed(timed):
            case.seconds.append(timer.blocked_autorange(min_run_time=seconds).median)


def row(case: Case, reference: Case, peak: float | None) -> dict[str, Any]:
    """Return the results of a case: quartiles in seconds and in units of the reference, throughput and memory."""
    relative = [a / b for a, b in zip(case.seconds, reference.seconds, strict=True)]
    result: dict[str, Any] = {"name": case.name, "images": case.images, "seconds": quartiles(case.seconds)}
    result |= {"relative": quartiles(relative), "images_per_second": case.images / result["seconds"][1]}
    if case.nfe:
        result["seconds_per_nfe"] = result["seconds"][1] / case.nfe
    if case.flops:
        result["tflops"] = case.flops / result["seconds"][1] / 1e12
        result["fraction_of_peak"] = result["tflops"] / peak if peak else None
    if case.memory:
        result["memory"] = case.memory
    return result


def quartiles(values: list[float]) -> list[float]:
    """Return the first quartile, the median and the third quartile."""
    return [values[0]] * 3 if len(values) == 1 else statistics.quantiles(values, n=4, method="inclusive")


def table(rows: list[dict[str, Any]]) -> str:
    """Return results as a Markdown table."""
    lines = ["| case | ms | quartiles | images/s | ms per NFE | TFLOP/s | of peak | GPU MiB |", "|---|" + "---:|" * 7]
    for result in rows:
        low, median, high = (f"{1000 * value:.4g}" for value in result["seconds"])
        per_nfe = f"{1000 * result['seconds_per_nfe']:.4g}" if "seconds_per_nfe" in result else ""
        peak = f"{result['fraction_of_peak']:.1%}" if result.get("fraction_of_peak") else ""
        rate = f"{result['tflops']:.3g}" if "tflops" in result else ""
        memory = f"{result['memory'] / 2**20:.0f}" if "memory" in result else ""
        cells = [
            result["name"],
            median,
            f"{low}–{high}",
            f"{result['images_per_second']:.4g}",
            per_nfe,
            rate,
            peak,
            memory,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cost_table(network: Any, sizes: list[int]) -> str:
    """Return a Markdown table of the cost per image for several image sizes."""
    parameters = sum(p.numel() for p in network.parameters())
    lines = ["| side | network call [GFLOP] | with gradient [GFLOP] | weights [MiB] | saved for backward [MiB] |"]
    lines.append("|---:|---:|---:|---:|---:|")
    for size in sizes:
        forward, both = flops(network, size)
        saved = saved_bytes(network, size) / 2**20
        lines.append(
            f"| {size} | {forward / 1e9:.4g} | {both / 1e9:.4g} | {4 * parameters / 2**20:.4g} | {saved:.0f} |"
        )
    return "\n".join(lines)


def slower(rows: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[str]:
    """Describe the cases whose first quartile is above the third quartile of the other run."""
    previous = {result["name"]: result["relative"] for result in before}
    return [
        f"slower: {result['name']}: {result['relative'][1] / previous[result['name']][1]:.2f} times"
        for result in rows
        if result["name"] in previous
        and result["name"] != REFERENCE
        and result["relative"][0] > previous[result["name"]][2]
    ]


def settings(cfg: DictConfig, device: torch.device, batch: int) -> dict[str, Any]:
    """Return the settings of a run: date, network, task, batch size and machine."""
    network = {str(key): list(v) if not isinstance(v, int | float | str) else v for key, v in cfg.model.network.items()}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "network": network,
        "image_size": cfg.data.image_size,
        "task": cfg.task.name,
        "batch": batch,
        "device": name,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }


def main() -> None:
    """Run the benchmark, print and write the results, and compare them with another run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "overrides", nargs="*", help="overrides of diracdiff train, such as model=base data.image_size=128"
    )
    parser.add_argument("--measure", nargs="+", default=GROUPS, choices=GROUPS, help="groups of cases")
    parser.add_argument(
        "--cost", nargs="+", type=int, metavar="SIDE", help="only count the cost for these image sizes in pixels"
    )
    parser.add_argument("--batch", type=int, default=8, help="batch size")
    parser.add_argument("--variants", nargs="*", default=["bf16", "checkpointed"], choices=VARIANTS)
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    parser.add_argument("--seconds", type=float, default=0.1, help="duration of a case per round")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--peak-tflops", type=float, help="peak throughput of the GPU in bfloat16")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument(
        "--compare", type=Path, help="JSON file of another run; the exit status is 1 if a case is slower"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("train", overrides=options.overrides)
    if options.cost:
        print(cost_table(build_restorer(cfg).denoiser.network, options.cost))
        return
    current = settings(cfg, device, options.batch)
    before = json.loads(options.compare.read_text()) if options.compare else None
    differing = [key for key in MUST_AGREE if before and before["settings"].get(key) != current[key]]
    if differing:
        parser.error(f"--compare: {options.compare} has another {', '.join(differing)}")
    suite = Suite(cfg, device, options.batch, options.variants)
    cases = [reference_case(device), *(case for group in options.measure for case in suite.cases(group))]
    measure(cases, device, options.rounds, options.seconds)
    rows = [row(case, cases[0], options.peak_tflops) for case in cases]
    print(table(rows))
    if options.output:
        options.output.write_text(json.dumps({"settings": current, "rows": rows}, indent=1) + "\n")
    if before:
        lines = slower(rows, before["rows"])
        print("\n".join(lines) or f"nothing is slower than in {options.compare}")
        raise SystemExit(bool(lines))


if __name__ == "__main__":
    main()
