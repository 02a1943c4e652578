"""The trade-off between distortion and perception along the reverse process, and where to stop on it.

PSNR of x_hat peaks early in the reverse process while LPIPS goes on improving (paper, Fig. 3). The
distortion-optimised time t_DO is where mean PSNR is highest, the perception-optimised time t_PO where mean
LPIPS, or FID, is lowest, of x_hat or of the iterate, both on validation images.
"""

from typing import Any

from diracdiff.errors import UserError

TARGETS = {"psnr": "DO, the best PSNR", "lpips": "PO, the best LPIPS", "fid": "the best FID"}
TARGET_RULE = "target must be psnr, lpips, fid, nfe=N or t=T"

Stop = dict[str, Any]
"""A stopping time and what to take there: {"t": float, "output": "mean" or "iterate"}."""


def stopped(curve: list[dict[str, Any]], stop: float, output: str) -> dict[str, Any]:
    """The row of a curve where a walk with this stopping time ends: the last time that is at least `stop`."""
    rows = [row for row in curve if row["output"] == output]
    return min((r for r in rows if r["t"] >= stop - 1e-9), key=lambda r: r["t"], default=rows[0])


def metric_of(target: str, row: dict[str, Any]) -> str | None:
    """The column that a target optimises: "psnr", or "lpips_<backbone>", "fid_<network>"; None where there is none."""
    return next((key for key in row if key == target or key.startswith(f"{target}_")), None)


def stopping_points(curve: list[dict[str, Any]]) -> dict[str, Stop | None]:
    """Where to stop, and with which output, for each of TARGETS; None where its metric was not measured.

    Of equal values the earlier stop, which needs fewer network calls, counts.

    Args:
        curve: rows as `ImageRows.curve` makes them.
    """
    rows = sorted(curve, key=lambda row: row["nfe"])
    stopping: dict[str, Stop | None] = {}
    for target in TARGETS:
        metric, better = metric_of(target, rows[0]), max if target == "psnr" else min
        best = better(rows, key=lambda row: row[metric]) if metric else None
        stopping[target] = best and {"t": best["t"], "output": best["output"]}
    return stopping


def stop_for(target: str, stopping: dict[str, Stop | None], curve: list[dict[str, Any]], output: str = "mean") -> Stop:
    """Where to stop for a target.

    Args:
        target: one of TARGETS; "nfe=N", the last x_hat that N network calls reach; or "t=T".
        stopping: as `stopping_points` gives it.
        curve: the validation's, for nfe.
        output: what to take at "t=T".

    Raises:
        UserError: if the target is unknown or has no stop.
    """
    kind, _, value = str(target).partition("=")
    if kind in ("nfe", "t") and value:
        number = _number(target, value, int if kind == "nfe" else float)
        if kind == "t":
            return {"t": number, "output": output}
        reached = [row for row in curve if row["output"] == "mean" and row["nfe"] <= number]
        if not curve:
            raise UserError(f"target={target} needs a validation's curve, which this checkpoint lacks: use target=t=…")
        return {"t": min(row["t"] for row in reached), "output": "mean"}
    if target not in TARGETS:
        raise UserError(f"{TARGET_RULE}, got {target!r}")
    stop = stopping.get(target)
    if not any(stopping.values()):
        raise UserError(
            f"target={target} needs {TARGETS[target]}, but this checkpoint was never validated: give target=t=T, or "
            "find its stopping times with python -m diracdiff.evaluate split=val tuned=…"
        )
    if stop is None:
        remedy = {
            "psnr": "measure it with python -m diracdiff.evaluate split=val tuned=…",
            "lpips": "use target=psnr, or train again with the LPIPS weights at hand",
            "fid": "measure it with python -m diracdiff.evaluate split=val fid=… tuned=…",
        }[target]
        raise UserError(f"target={target} needs {TARGETS[target]}, which this checkpoint does not know: {remedy}")
    return stop


def _number(target: str, value: str, kind: type) -> int | float:
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if (kind is int and number < 1) or (kind is float and not 0 <= number <= 1):
        rule = "N an integer of at least 1" if kind is int else "T in [0, 1]"
        raise UserError(f"{TARGET_RULE} with {rule}, got {target!r}")
    return number


def summarise(curve: list[dict[str, Any]], stopping: dict[str, Stop | None]) -> dict[str, dict | None]:
    """The rows of a curve that matter: measurement, one_shot, do, po and, where it was measured, fid."""
    rows = {"measurement": stopped(curve, 1.0, "iterate"), "one_shot": stopped(curve, 1.0, "mean")}
    for name, target in (("do", "psnr"), ("po", "lpips"), ("fid", "fid"), ("target", "target")):
        stop = stopping.get(target)
        if stop is not None or name in ("do", "po"):
            rows[name] = stopped(curve, stop["t"], stop["output"]) if stop is not None else None
    return rows
