"""Mutate checkpoints, load each, and count what happens: `python tests/hostile.py COUNT FOLDER`.

Runs in a separate process: its memory is limited, and an audit hook sees every file that Python opens and every
process that it starts. The last line of the output is JSON.
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

STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "os.remove")
"""Audit events of processes, connections and removed files."""

OUTER = {"pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb", "torchmetrics", "kornia", "matplotlib"}
"""Packages that loading and restoring do not need."""

ROOM = 2**30
"""Bytes of address space beyond those of the process when all is imported."""


def nested(depth, wide=1):
    value = []
    for _ in range(depth):
        value = [value] * wide
    return value


def hostile(folder):
    """Values that no argument expects."""
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
    return [*values, *tensors, nested(60, 2)]  # the last is small in a pickle, and 2^60 values when all are visited


def places(value, depth=0):
    """The (container, key) of every value inside nested containers."""
    if isinstance(value, dict | list) and depth < 12:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from places(item, depth + 1)


def mutate(content, rng, values):
    """Change one to three places of nested containers, in place."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        found = list(islice(places(content), 3000))
        (place, key), (source, name) = rng.choice(found), rng.choice(found)
        how, value = rng.randrange(8), copy.deepcopy(rng.choice(values))
        if how > 5 and type(place[key]) in (int, float):  # a mild change
            place[key] += rng.choice((1, -1, 0.5, 2))
        elif how == 3:
            del place[key]
        elif how == 4:
            place[key] = copy.deepcopy(source[name])
        elif how == 5 and isinstance(place, dict):
            place[rng.choice(("future", "args", "_args_", "checkpoint", 3, ""))] = value
        else:
            place[key] = value
    return content


def corrupt(data, rng):
    """Change, cut or insert some bytes, among them the names of functions and huge sizes."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        start, more = rng.randrange(len(data) or 1), rng.randbytes(rng.randrange(1, 20))
        named = (b"cos\nsystem\n", b"cbuiltins\nbytearray\n", b"J\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 8)
        length, inserted = rng.choice(((1, more[:1]), (len(more), b""), (0, more), (0, rng.choice(named))))
        data[start : start + length] = inserted
    return bytes(data)


def rezip(source, target, change, method=zipfile.ZIP_STORED, twice=False):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
            if twice and name.endswith("data.pkl"):
                new.writestr(name.upper(), old.read(name))


def write_mutated(path, plain, rng, values):
    """Write a mutated checkpoint: its containers, its pickle, or its bytes."""
    how = rng.randrange(10)
    if how < 6:
        content = torch.load(plain, weights_only=True)
        mutate(content if rng.random() < 0.3 else content[KIND], rng, values)
        torch.save(content, path)
    elif how < 9:
        rezip(plain, path, lambda name, data: corrupt(data, rng) if name.endswith("data.pkl") else data)
    else:
        path.write_bytes(corrupt(plain.read_bytes(), rng))


def main(count, folder):
    rng, values = random.Random(0), hostile(folder)
    plain, path, made = folder / "plain.ckpt", folder / "case.ckpt", restorer()
    made.curve = [{"t": 1.0, "nfe": 1, "output": "x_hat", "n": 3, "psnr": 20.0}]
    made.save(plain)
    load(plain)
    events, counts, wrong, watching = [], Counter(), [], False

    def hook(event, arguments):
        if watching and (event == "open" or event.startswith(STARTS)):
            events.append((event, arguments))

    sys.addaudithook(hook)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(-40, count):
        write_mutated(path, plain, rng, values)
        events.clear()
        watching = number >= 0  # the first ones import what errors need
        try:
            load(path)
            outcome = "loaded"
        except ValueError as error:
            outcome = "refused"
            if "\n" in str(error) or str(path) not in str(error) or len(str(error)) > 600:
                wrong.append(f"{number}: message {str(error)[:300]!r}")
        except BaseException:
            outcome = "failed"
            wrong.append(f"{number}: {traceback.format_exc()[-1500:]}")
        watching = False
        counts[outcome] += number >= 0
        others = [event for event in events if event[0] != "open" or Path(os.fsdecode(event[1][0])) != path]
        wrong += [f"{number}: {event}" for event in others]
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    executed = (folder / "PWNED").exists()
    load(plain).restore(torch.rand(1, 3, 19, 26), "t=0.5")
    modules = sorted({name.split(".")[0] for name in sys.modules} & OUTER)
    found = {"counts": counts, "wrong": wrong, "executed": executed, "megabytes": megabytes, "modules": modules}
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
