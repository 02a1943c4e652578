"""Compare methods on the same measurements: `python -m diracdiff.compare checkpoint=dirac.ckpt prior=prior.ckpt`."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from diracdiff.cli import check_boolean, check_number, command, given
from diracdiff.errors import UserError

WRITTEN = (
    "comparison.json",
    "images.csv",
    "table.md",
    "table.tex",
    "paired.md",
    "paired.tex",
    "tuning.csv",
    "images.png",
    "plane.png",
)
"""What a comparison writes beside its measurements, where it may replace what an earlier one has left."""


def compare(cfg: DictConfig) -> None:
    """Freeze the measurements, tune every method on the validation split, run all on the test split, and report."""
    import torch
    from rich.progress import Progress

    from diracdiff.comparison.runs import Runner
    from diracdiff.comparison.tuning import TUNERS
    from diracdiff.config import build_contenders, build_data, pick_device
    from diracdiff.fidelity import Extractor
    from diracdiff.files import check_output
    from diracdiff.metrics import ImageMetrics
    from diracdiff.restorer import load

    for key, least in (("seed", 0), ("trials", 1), ("batch_size", 1), ("tune_images", 1), ("test_images", 1)):
        check_number(key, cfg[key], least)
    check_number("picture_rows", cfg.picture_rows, 1)
    check_boolean("allow_other_data", cfg.allow_other_data)
    folder, device = Path(cfg.output), pick_device(cfg.device)
    restorer = load(cfg.checkpoint, device, cfg.trust)
    _check_request(cfg, restorer.process)
    cfg.dataset.image_size = restorer.process.degradation.image_size
    metrics = ImageMetrics(cfg.lpips)
    targets = _targets(cfg, metrics)
    if cfg.tuner not in TUNERS:
        raise UserError(f"tuner must be one of {TUNERS}, got {cfg.tuner!r}")
    extractor = Extractor(cfg.fid, cfg.fid_weights) if cfg.fid else None
    contenders = build_contenders(cfg, restorer, device)
    size = restorer.process.degradation.image_size
    like = torch.zeros(1, restorer.network.image_channels, size, size, device=device)
    for contender in contenders:
        contender.check(like)
    check_output(folder, [], overwrite=True)
    _check_folder(folder)
    data = build_data(cfg, restorer.process)
    with Progress(transient=True) as progress:
        task = progress.add_task("measuring")

        def show(description: str, done: int, of: int) -> None:
            progress.update(task, description=description, completed=done, total=of)

        runner = Runner(folder / "parts", restorer.process, metrics, extractor, cfg.batch_size, device, show)
        frozen = {split: _frozen(folder, data, split) for split in ("val", "test")}
        try:
            with _signals_interrupt():
                _run(cfg, runner, contenders, frozen, targets, folder)
        except KeyboardInterrupt as stop:
            progress.stop()
            print(f"interrupted: what is done is in {folder}; go on with the same command")
            raise SystemExit(128 + stop.args[0]) from None


def _check_folder(folder: Path) -> None:
    """Refuse a folder with files that a comparison would replace and none has written."""
    if not any(folder.glob("measurements_*.pt")):
        for path in (folder / name for name in WRITTEN):
            if os.path.lexists(path):
                raise UserError(f"{path} exists, without the measurements of a comparison: give another output")


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt(number), also where the shell had SIGINT ignored."""

    def interrupt(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt(signum)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_request(cfg: DictConfig, process) -> None:
    """Refuse a noise level or an image size that the checkpoint was not trained for."""
    import torch

    known = process.noise(torch.tensor(1.0, dtype=torch.float64)).item()
    check_number("sigma", cfg.sigma, 0.0, 100.0, float)
    if cfg.sigma is not None and abs(cfg.sigma - known) > 1e-6 * known:
        raise UserError(
            f"sigma={cfg.sigma} differs from that of checkpoint={cfg.checkpoint}, {known:.4g} in units of the [0, 1] "
            "range (a level on [-1, 1] is twice as large): leave it out, or train with schedule.noise.sigma_max="
            f"{cfg.sigma}"
        )
    size = process.degradation.image_size
    if given("dataset.image_size") and cfg.dataset.image_size != size:
        raise UserError(
            f"dataset.image_size={cfg.dataset.image_size} differs from the checkpoint's {size}: leave it out"
        )


def _targets(cfg: DictConfig, metrics) -> list[str]:
    """The columns that tuning optimises."""
    names = {"psnr": "psnr", "lpips": metrics.lpips_name}
    targets = [cfg.tune_for] if isinstance(cfg.tune_for, str) else list(cfg.tune_for)
    for target in targets:
        if target not in names:
            raise UserError(f"tune_for must be psnr, lpips or both, [psnr,lpips], got {target!r}")
        if names[target] is None:
            raise UserError(f"tune_for={target} needs LPIPS, which is not at hand: use tune_for=psnr")
    if not targets:
        raise UserError("tune_for must be psnr, lpips or both, [psnr,lpips], got nothing")
    return [names[target] for target in targets]


def _frozen(folder: Path, data, split: str):
    """The measurements of a split: those in the folder, which are made first if there are none.

    Raises:
        UserError: if the folder holds measurements of another problem.
    """
    from diracdiff.comparison.measurements import Measurements, measure

    path, fresh = folder / f"measurements_{split}.pt", measure(data, split)
    if not path.exists():
        fresh.save(path)
        return fresh
    kept = Measurements.load(path)
    if kept.problem != fresh.problem:
        raise UserError(
            f"{path} holds measurements of other images, another seed, degradation or noise: give another output"
        )
    return kept


def _run(cfg, runner, contenders, frozen, targets: list[str], folder: Path) -> None:
    from diracdiff.comparison.contenders import Dirac
    from diracdiff.comparison.pictures import draw_images, draw_plane
    from diracdiff.comparison.table import Table
    from diracdiff.comparison.tuning import tune
    from diracdiff.files import write_rows

    test, log = frozen["test"], []
    conditions = {
        "measurements": test.digest,
        "n": len(test),
        "sigma": test.sigma,
        "operator": test.operator,
        "lpips": runner.metrics.lpips_name,
        "fid": runner.extractor.fid_name if runner.extractor is not None else None,
    }
    table, pictures, curves = Table(conditions), {}, {}
    for other in cfg.include:
        table.read(Path(other))  # refused before anything is run
    for contender in contenders:
        dirac = isinstance(contender, Dirac)
        wanted = ["psnr"] + [name for name in (runner.metrics.lpips_name,) if name] if dirac else targets
        choices, trials = tune(contender, runner, frozen["val"], wanted, cfg.trials, cfg.tuner, cfg.seed)
        log += trials
        for name, choice in _named(contender.name, choices, dirac).items():
            kept = {other.stop for other in choices if other.setting == choice.setting}
            run = runner.run(contender, choice.setting, test, kept.__contains__, f"testing {contender.name}")
            tuned_for = ", ".join(
                other.metric for other in choices if (other.setting, other.stop) == (choice.setting, choice.stop)
            )
            table.add(
                name, tuned_for if contender.search or dirac else None, choice.setting, choice.stop, run, cfg.seed
            )
            pictures[name] = run.images[choice.stop][: cfg.picture_rows]
            if dirac:
                label = ", ".join(f"{key} {value}" for key, value in choice.setting.items())
                rows = [row for stop, row in run.means().items() if stop.startswith("mean")]
                curves.setdefault(f"Dirac over t_stop{f' ({label})' if label else ''}", rows)
            print(_line(table.rows[-1]), flush=True)
    for other in cfg.include:
        table.include(Path(other))
    title = f"{contenders[-1].restorer.name}, {len(test)} test images, sigma {test.sigma:.3g}"
    names = table.write(folder, title, cfg.seed, _machine(runner.device))
    write_rows(folder / "tuning.csv", log)
    measurement = test.y[: cfg.picture_rows].clamp(0, 1).mul(255).round().byte()
    columns = {"clean": test.clean[: cfg.picture_rows], "measured": measurement}
    draw_images(folder / "images.png", columns | {k: v for k, v in pictures.items() if k != "measurement"})
    drawn = ["images.png"]
    if runner.metrics.lpips_name:
        points = {row["method"]: row for row in table.rows}
        draw_plane(folder / "plane.png", points, curves, runner.metrics.lpips_name)
        drawn.append("plane.png")
    table.print(title)
    print(f"written to {folder}: {' '.join([*names, 'tuning.csv', *drawn])}")


def _named(name: str, choices: list, dirac: bool) -> dict[str, Any]:
    """Choices by the names of their rows: one row for choices that are the same."""
    if dirac:
        return dict(zip(("dirac_do", "dirac_po"), choices, strict=False))
    if all(choice.setting == choices[0].setting for choice in choices):
        return {name: choices[0]}
    return {f"{name} ({choice.metric.partition('_')[0]})": choice for choice in choices}


def _line(row: dict[str, Any]) -> str:
    setting = ", ".join(f"{key} {value}" for key, value in row["setting"].items())
    tuned = (
        f" tuned for {row['for']}: {setting or 'nothing to tune'}{row['stop'] and ', ' + row['stop']};"
        if row["for"]
        else ""
    )
    return f"{row['method']}:{tuned} {row['psnr']:.2f} dB, {row['calls']:.0f} calls, {row['seconds']:.3f} s per image"


def _machine(device: str) -> str:
    """Where the seconds were taken."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


main = command("compare")(compare)

if __name__ == "__main__":
    main()
