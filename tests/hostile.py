"""Load mutated checkpoints and count the outcomes: `python tests/hostile.py COUNT FOLDER`.

The script runs in a separate process with limited memory. An audit hook records every opened file and every started
process. The last line of the output is JSON.
"""

import copy
import json
import os
import random
import resource
import sys
import traceback
import zipfile
from collections import Counter
from itertools import islice
from pathlib import Path

import torch
from test_checkpoints import restorer

from diracdiff.checkpoints.checkpoint import KIND
from diracdiff.restorer import load

EVENTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "os.remove")
"""Audit events of processes, connections and removed files."""

UNNEEDED = {"pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb", "torchmetrics", "kornia", "matplotlib"}
"""Packages that loading and restoring do not need."""

MEMORY = 2**30
"""Bytes of address space available in addition to those in use after the imports."""


def nested(depth, width=1):
    value = []
    for _ in range(depth):
        value = [value] * width
    return value


def hostile(folder):
    """Values that are invalid for every argument."""
    target, other = "_target_", str(folder / "other.ckpt")
    steep = {target: "diracdiff.degradations.LinearSeverity", "start": 0, "end": 1024}
    values = [None, True, -1, 0, 2**31, 2**63, 10**30, 1e308, float("nan"), float("inf"), "", "8", "x" * 10**5]
    values += ["../../etc/passwd", [], {}, [1, 2], [[1]], {"a": {}}, [0.5] * 20_000, nested(20), nested(200)]
    values += [
        {target: "subprocess.Popen", "args": ["touch", str(folder / "PWNED")]},
        {target: "os.system", "command": f"touch {folder / 'PWNED'}"},
        {target: "diracdiff.baselines.Regression", "checkpoint": other, "trusted_modules": ["subprocess"]},
        {target: "diracdiff.restorer.load", "path": other},
        {target: "diracdiff.data.ImageFolder", "root": str(folder)},
        {target: "diracdiff.models.NCSNpp", "channels": 4096, "multipliers": [64] * 10, "blocks": 64},
        {target: "diracdiff.degradations.MotionBlur", "severity": steep, "image_size": 8192},
        {target: 3},
    ]
    tensors = [torch.zeros(3), torch.zeros(1).expand(10**9), torch.zeros(2).to_sparse(), torch.full((8,), torch.nan)]
    tensors += [torch.empty(10**12, device="meta"), torch.zeros(1, dtype=torch.complex64), torch.zeros(4).long()]
    compact = nested(60, 2)  # 2^60 values, but a small pickle
    return [*values, *tensors, compact]


def items_of(value, depth=0):
    """Yield (container, key) of every value in nested containers."""
    if isinstance(value, dict | list) and depth < 12:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from items_of(item, depth + 1)


def mutate(content, rng, values):
    """Change one to three values of nested containers, in place."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(islice(items_of(content), 3000))
        (container, key), (source, name) = rng.choice(places), rng.choice(places)
        kind, value = rng.randrange(8), copy.deepcopy(rng.choice(values))
        if kind > 5 and type(container[key]) in (int, float):  # a mild change
            container[key] += rng.choice((1, -1, 0.5, 2))
        elif kind == 3:
            del container[key]
        elif kind == 4:
            container[key] = copy.deepcopy(source[name])
        elif kind == 5 and isinstance(container, dict):
            container[rng.choice(("future", "args", "_args_", "checkpoint", 3, ""))] = value
        else:
            container[key] = value
    return content


def corrupt(data, rng):
    """Change, remove or insert bytes, including names of functions and huge sizes."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        start, extra = rng.randrange(len(data) or 1), rng.randbytes(rng.randrange(1, 20))
        payloads = (b"cos\nsystem\n", b"cbuiltins\nbytearray\n", b"J\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 8)
        length, inserted = rng.choice(((1, extra[:1]), (len(extra), b""), (0, extra), (0, rng.choice(payloads))))
        data[start : start + length] = inserted
    return bytes(data)


def rezip(source, target, change, method=zipfile.ZIP_STORED, twice=False):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
            if twice and name.endswith("data.pkl"):
                new.writestr(name.upper(), old.read(name))


def write_mutated(path, plain, rng, values):
    """Write a checkpoint with mutated containers, a mutated pickle, or mutated bytes."""
    kind = rng.randrange(10)
    if kind < 6:
        content = torch.load(plain, weights_only=True)
        mutate(content if rng.random() < 0.3 else content[KIND], rng, values)
        torch.save(content, path)
    elif kind < 9:
        rezip(plain, path, lambda name, data: corrupt(data, rng) if name.endswith("data.pkl") else data)
    else:
        path.write_bytes(corrupt(plain.read_bytes(), rng))


def main(count, folder):
    rng, values = random.Random(0), hostile(folder)
    plain, path, original = folder / "plain.ckpt", folder / "case.ckpt", restorer()
    original.curve = [{"t": 1.0, "nfe": 1, "output": "x_hat", "n": 3, "psnr": 20.0}]
    original.save(plain)
    load(plain)
    events, counts, failures, watching = [], Counter(), [], False

    def hook(event, arguments):
        if watching and (event == "open" or event.startswith(EVENTS)):
            events.append((event, arguments))

    sys.addaudithook(hook)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(-40, count):
        write_mutated(path, plain, rng, values)
        events.clear()
        watching = number >= 0  # error paths import modules in the first iterations
        try:
            load(path)
            outcome = "loaded"
        except ValueError as error:
            outcome = "refused"
            if "\n" in str(error) or str(path) not in str(error) or len(str(error)) > 600:
                failures.append(f"{number}: message {str(error)[:300]!r}")
        except BaseException:
            outcome = "failed"
            failures.append(f"{number}: {traceback.format_exc()[-1500:]}")
        watching = False
        counts[outcome] += number >= 0
        others = [event for event in events if event[0] != "open" or Path(os.fsdecode(event[1][0])) != path]
        failures += [f"{number}: {event}" for event in others]
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    executed = (folder / "PWNED").exists()
    load(plain).restore(torch.rand(1, 3, 19, 26), "t=0.5")
    modules = sorted({name.split(".")[0] for name in sys.modules} & UNNEEDED)
    results = {"counts": counts, "wrong": failures, "executed": executed, "megabytes": megabytes, "modules": modules}
    print(json.dumps(results))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
