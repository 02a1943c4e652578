"""Does the memory of an evaluation grow with its images? Arguments: of evaluate; images=100,1000."""

import os
import subprocess
import sys

from diracdiff.utils.files import write_rows
from experiments.common import RUNS

arguments = [argument for argument in sys.argv[1:] if not argument.startswith("images=")]
numbers = next((a.partition("=")[2] for a in sys.argv[1:] if a.startswith("images=")), "100,1000").split(",")
rows = []
for number in numbers:
    folder = RUNS / "memory" / number
    asked = [*arguments, f"loader.test_images={number}", f"output={folder}", "overwrite=true", "trainer=cpu"]
    command = [sys.executable, "-m", "diracdiff", "evaluate", *asked, "trainer.enable_progress_bar=false"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(2)
    first = rows[0]["peak_mib"] if rows else used.ru_maxrss / 1024
    peak = used.ru_maxrss / 1024
    rows.append({"images": number, "peak_mib": peak, "growth": peak / first - 1, "cpu_seconds": used.ru_utime})
    print(rows[-1], flush=True)
write_rows(RUNS / "memory" / "results.csv", rows)
