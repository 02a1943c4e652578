"""Files of four other programs, whole, cut, damaged, or with huge headers: the right pixels or one line."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

COUNT = int(os.environ.get("DIRACDIFF_FUZZ", 100))
PART = 500
"""Files that a process reads, so that a crash or its memory is noticed."""


def test_files_are_read_right_or_refused_in_a_line():
    script, counts, memory = Path(__file__).with_name("image_fuzz.py"), Counter(), []
    for seed, first in enumerate(range(0, COUNT, PART)):
        command = [sys.executable, str(script), str(seed), str(min(PART, COUNT - first))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "Traceback" not in done.stderr
        found = json.loads(done.stdout)
        memory.append(found.pop("MB"))
        counts += Counter(found)
    print(dict(sorted(counts.items())), f"at most {max(memory)} MB more")
    assert counts.total() == COUNT and max(memory) < 300
    assert counts["whole: right"] > 0.25 * COUNT
