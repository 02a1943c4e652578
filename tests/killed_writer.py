"""Kill ten processes while they write a checkpoint again and again, and read what is there: JSON on stdout."""

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from test_checkpoints import restorer

from diracdiff.checkpoints import Checkpoint


def write_forever(path, checkpoint):
    step = 0
    while True:
        step += 1
        weights = {name: torch.full_like(weight, step) for name, weight in checkpoint.weights.items()}
        replace(checkpoint, weights=weights, rest={"global_step": step, "state": torch.zeros(500_000)}).write(path)


def main(folder):
    made, draw, found = restorer().checkpoint(), random.Random(0), []
    for number in range(10):
        path = folder / str(number) / "last.ckpt"
        made.write(path)
        child = os.fork()
        if not child:
            write_forever(path, made)
        time.sleep(draw.uniform(0.05, 0.3))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        read = Checkpoint.read(path)
        values = {value for weight in read.weights.values() for value in (weight.min().item(), weight.max().item())}
        whole = values == {float(read.rest["global_step"])} if read.rest else True
        found.append(
            {"step": read.rest.get("global_step"), "whole": whole, "during": len(list(path.parent.iterdir())) > 1}
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
