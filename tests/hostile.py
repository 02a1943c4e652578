"""Mutate checkpoints and exported models, load each, and count what happens: `python tests/hostile.py COUNT FOLDER`.

Runs in a separate process: its memory is limited, and an audit hook sees every file that Python opens and every
process that it starts. The last line of the output is JSON.
"""

import copy
import hashlib
import json
import os
import random
import resource
import sys
import traceback
import zipfile
from collections import Counter
from contextlib import suppress
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save
from test_recipe import restorer

from diracdiff.checkpoints.checkpoint import KIND
from diracdiff.checkpoints.exported import write_exported
from diracdiff.checkpoints.places import CONFIG, WEIGHTS
from diracdiff.restorer import load

STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "os.remove")
"""Audit events of processes, connections and removed files."""

ROOM = 2**30
"""Bytes of address space beyond what the process has when all is imported."""


def nested(depth, wide=1):
    value = []
    for _ in range(depth):
        value = [value] * wide
    return value


DAG = nested(60, 2)
"""Small in a pickle, and 2^60 values for whoever visits them all."""


def hostile(folder):
    """Values that no argument expects."""
    target, pwned, other = "_target_", str(folder / "PWNED"), str(folder / "other.ckpt")
    popen = {target: "subprocess.Popen", "args": ["touch", pwned]}
    yield from (None, True, False, -1, 0, 2**31, 2**63, 10**30, 1e308, -1e-300, float("nan"), float("inf"))
    yield from ("", "8", "x" * 10**5, "../../etc/passwd", [], {}, [1, 2], [[1]], {"a": {}}, [0.5] * 20_000)
    yield from (nested(20), nested(200), nested(14, 2), DAG)
    yield from (popen, {target: "os.system", "command": f"touch {pwned}"}, {target: 3}, {target: None})
    yield {target: "diracdiff.baselines.Regression", "checkpoint": other, "trusted_modules": ["subprocess"]}
    yield {target: "diracdiff.baselines.PMRF", "regression": other, "flow": None}
    yield {target: "diracdiff.restorer.load", "path": other}
    yield from ({target: f"diracdiff.data.{name}", "root": str(folder)} for name in ("ImageFolder", "Packed"))
    yield {target: "diracdiff.models.NCSNpp", "channels": 4096, "multipliers": [64] * 10, "blocks": 64}
    yield {target: "diracdiff.models.DnCNN", "depth": 256, "channels": 4096}
    steep = {target: "diracdiff.degradations.LinearSeverity", "start": 0, "end": 1024}
    yield {target: "diracdiff.degradations.MotionBlur", "severity": steep, "image_size": 8192}
    yield from (torch.zeros(3), torch.zeros(1).expand(10**9), torch.zeros(2).to_sparse(), torch.zeros(0))
    yield from (torch.empty(10**12, device="meta"), torch.zeros(1, dtype=torch.complex64))
    yield from (torch.full((8,), float("nan")), torch.zeros(4, dtype=torch.int64))


def paths(value, prefix=()):
    yield prefix
    if isinstance(value, dict | list) and len(prefix) < 12:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(item, (*prefix, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def mutate(content, rng, values):
    """Change one to three places of nested containers, in place."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = [path for path in islice(paths(content), 3000) if path]
        path = rng.choice(places)
        place, key = at(content, path[:-1]), path[-1]
        how = rng.randrange(8)
        if how > 5 and type(place[key]) in (int, float):  # a mild change
            place[key] += rng.choice((1, -1, 0.5, 2))
        elif how < 3:
            place[key] = copy.deepcopy(rng.choice(values))
        elif how == 3:
            del place[key]
        elif how == 4:  # a part of another place
            place[key] = copy.deepcopy(at(content, rng.choice(places)))
        elif isinstance(place, dict):
            place[rng.choice(("future", "args", "_args_", "_partial_", "checkpoint", 3, ""))] = copy.deepcopy(
                rng.choice(values)
            )
    return content


def rezip(source, target, change, method=zipfile.ZIP_STORED, twice=False):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
            if twice and name.endswith("data.pkl"):
                new.writestr(name.upper(), old.read(name))


def corrupt(data, rng):
    """Change, cut, insert or repeat some bytes."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        start = rng.randrange(len(data) or 1)
        how = rng.randrange(4)
        if how == 0 and data:
            data[start] = rng.randrange(256)
        elif how == 1:
            del data[start : start + rng.randrange(1, 20)]
        elif how == 2:
            data[start:start] = rng.randbytes(rng.randrange(1, 20))
        else:
            data[start:start] = rng.choice(
                (b"cos\nsystem\n", b"cbuiltins\nbytearray\n", b"J\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 8)
            )
    return bytes(data)


def a_file(folder, plain, rng, values):
    """A mutated .ckpt: its containers, its pickle, its archive or its bytes."""
    path, how = folder / "case.ckpt", rng.randrange(10)
    if how < 6:
        content = torch.load(plain, weights_only=True)
        part = content if rng.random() < 0.3 else content[KIND]
        mutate(part, rng, values)
        torch.save(content, path)
    elif how == 6:
        rezip(plain, path, lambda name, data: corrupt(data, rng) if name.endswith("data.pkl") else data)
    elif how == 7:
        rezip(
            plain,
            path,
            lambda name, data: data + bytes(2**24 if name.endswith("data/0") else 0),
            zipfile.ZIP_DEFLATED,
        )
    elif how == 8:
        rezip(plain, path, lambda name, data: corrupt(data, rng) if rng.random() < 0.1 else data, twice=True)
    else:
        path.write_bytes(corrupt(plain.read_bytes(), rng))
    return path, {path}


def a_folder(folder, exported, rng, values):
    """A mutated exported model: its JSON as containers or text, or the header of its weights."""
    path, how = folder / "case", rng.randrange(8)
    path.mkdir(exist_ok=True)
    data, text = (exported / WEIGHTS).read_bytes(), (exported / CONFIG).read_text()
    plain = [value for value in values if not isinstance(value, torch.Tensor) and value is not DAG]
    if how < 4:
        content = json.loads(text)
        mutate(content if rng.random() < 0.2 else content[KIND], rng, plain)
        text = json.dumps(content)
    elif how == 4:
        text = corrupt(text.encode(), rng).decode(errors="replace")
    else:
        if how == 5:
            data = corrupt(data, rng)
        else:
            size = int.from_bytes(data[:8], "little")
            header = mutate(json.loads(data[8 : 8 + size]), rng, plain)
            encoded = json.dumps(header).encode()
            length = rng.choice((len(encoded), len(encoded), 2**62, 0))
            data = length.to_bytes(8, "little") + encoded + data[8 + size :]
        text = json.dumps(json.loads(text) | {"sha256": hashlib.sha256(data).hexdigest()})
    (path / WEIGHTS).write_bytes(data)
    (path / CONFIG).write_text(text)
    return path, {path / WEIGHTS, path / CONFIG}


def main(count, folder):
    rng, values = random.Random(0), list(hostile(folder))
    plain, exported = folder / "plain.ckpt", folder / "plain"
    made = restorer()
    made.curve = [{"t": 1.0, "nfe": 1, "output": "mean", "n": 3, "psnr": 20.0}]
    made.save(plain)
    write_exported(made.checkpoint(), exported, "card")
    save({"a": torch.zeros(1)})
    events, tally, wrong, opened = [], Counter(), [], Counter()
    watching = False

    def hook(event, arguments):
        if watching and (event == "open" or event.startswith(STARTS)):
            events.append((event, arguments))

    for path in (plain, exported):
        load(path)
    for make in (a_file, a_folder):  # imports that only errors need
        for _ in range(20):
            path, _ = make(folder, plain if make is a_file else exported, rng, values)
            with suppress(ValueError):
                load(path)
    sys.addaudithook(hook)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        make, source = ((a_file, plain), (a_folder, exported))[number % 3 == 2]
        path, named = make(folder, source, rng, values)
        events.clear()
        watching = True
        try:
            load(path)
            outcome = "loaded"
        except ValueError as error:
            outcome = "refused"
            if "\n" in str(error) or str(path) not in str(error) or len(str(error)) > 600:
                wrong.append(f"{number}: message {str(error)[:300]!r}")
        except BaseException as error:
            outcome = "failed"
            wrong.append(f"{number} {make.__name__}: {type(error).__name__} {''.join(traceback.format_exc())[-1500:]}")
        watching = False
        tally[make.__name__, outcome] += 1
        for event, arguments in events:
            if event != "open":
                wrong.append(f"{number}: {event} {arguments}")
            elif Path(os.fsdecode(arguments[0])) not in named:
                opened[str(arguments[0])] += 1
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {"counts": {" ".join(key): n for key, n in sorted(tally.items())}, "wrong": wrong, "opened": dict(opened)}
    print(json.dumps(result | {"megabytes": (after - before) / 1024, "executed": (folder / "PWNED").exists()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
