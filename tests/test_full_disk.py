"""A disk that is full, and files that are read and written: one line, and what was there stays."""

import os
import resource
import subprocess
import sys

from conftest import SMALL, clean_environment, refused


def test_a_full_disk_ends_a_training_run_with_one_line(tmp_path, folder):
    words = ["task=inpaint", *folder, *SMALL, "trainer.max_epochs=200", "lpips=null", "hydra.run.dir=run", "threads=1"]
    done = subprocess.run(
        [sys.executable, "-m", "diracdiff", "train", *words, "trainer.check_val_every_n_epoch=200"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000)),
    )
    errors = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    refused((done.returncode, errors), r"cannot be written \(File too large\)")


def test_what_is_read_under_any_key_is_not_written(call, run, tmp_path):
    checkpoint, would = f"checkpoint={run[1]}/best.ckpt", "would replace the input "
    os.link(run[1] / "best.ckpt", tmp_path / "same.ckpt")
    refused(call("import_official", checkpoint, "output=same.ckpt", "overwrite=true"), f"output=same.ckpt {would}")
    refused(call("evaluate", checkpoint, "split=val", "tuned=same.ckpt", "overwrite=true"), f"tuned=same.ckpt {would}")
    (tmp_path / "calibration").mkdir()
    os.link(run[1] / "best.ckpt", tmp_path / "calibration" / "calibrated.ckpt")
    refused(call("calibrate", checkpoint, "overwrite=true"), f"calibrated.ckpt {would}checkpoint=")
