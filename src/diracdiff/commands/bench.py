"""Measure speed, part by part: `python -m diracdiff bench model=tiny output=bench.json`."""

import os
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from diracdiff.cli import check_boolean, check_number, command
from diracdiff.utils.console import track


def bench(cfg: DictConfig) -> None:
    """Time the network and what surrounds it; print tables, write them, and name what is slower than before."""
    import torch

    from diracdiff import benchmarks
    from diracdiff.commands.builders.benching import build_suite
    from diracdiff.commands.builders.build import pick_device
    from diracdiff.utils.memory import keep_freed_memory

    for key in ("threads", "rounds", "batch", "train_steps", "walks", "jpegs", "jpeg_side"):
        check_number(key, cfg[key], 1)
    for key, kind in (("warm_up", int), ("seed", int), ("seconds", float)):
        check_number(key, cfg[key], 0, kind=kind)
    check_number("peak_tflops", cfg.peak_tflops, 1e-3, kind=float, optional=True)
    for key in ("overwrite", "fail_on_slowdown"):
        check_boolean(key, cfg[key])
    files = [Path(path) for path in (cfg.output, cfg.markdown) if path is not None]
    benchmarks.check_files(files, cfg.overwrite)
    saved = None if cfg.compare_with is None else benchmarks.read_saved(cfg.compare_with)
    device, threads = torch.device(pick_device(cfg.device)), torch.get_num_threads()
    torch.set_num_threads(cfg.threads)
    settings = benchmarks.settings(cfg, device)
    if saved is not None:
        benchmarks.check_comparable(saved, settings)
    torch.manual_seed(cfg.seed)
    keep_freed_memory()
    peak = benchmarks.peak_tflops(device, cfg.peak_tflops)
    try:
        with tempfile.TemporaryDirectory() as folder:
            suite = build_suite(cfg, device, folder)
            suite.track = lambda rounds: track(rounds, "rounds")
            rows = benchmarks.finished(suite.rows(list(cfg.measure)), peak)
    finally:
        torch.set_num_threads(threads)
    benchmarks.print_tables(rows)
    benchmarks.write(cfg.output, cfg.markdown, rows, settings, benchmarks.machine(device) | {"peak_tflops": peak})
    if saved is not None:
        found = benchmarks.slower(rows, saved["rows"])
        benchmarks.print_slower(found, cfg.compare_with)
        if found and cfg.fail_on_slowdown:
            raise SystemExit(1)


os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")  # for all cases that take turns; 1024 are too few
main = command("bench")(bench)

if __name__ == "__main__":
    main()
