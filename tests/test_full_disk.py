"""A disk that is full, and files that are read and written: one line, and what was there stays."""

import os
import resource
import subprocess
import sys

from conftest import SMALL, clean_environment, refused


def limited(name, *words, cwd, size):
    """Run a command whose files cannot become larger than `size` bytes, as on a full disk or under a quota."""
    return subprocess.run(
        [sys.executable, "-m", "diracdiff", name, *words],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


def errors(done):
    return [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]


def test_metrics_on_a_full_disk_end_a_training_with_one_line(tmp_path, folder):
    words = ["task=inpaint", *folder, *SMALL, "trainer.max_epochs=200", "lpips=null", "hydra.run.dir=run", "threads=1"]
    words += ["trainer.check_val_every_n_epoch=200", "callbacks.last.every_n_steps=null"]
    done = limited("train", *words, cwd=tmp_path, size=12_000)
    assert done.returncode == 2 and len(errors(done)) == 1, done.stderr
    assert "cannot be written (File too large)" in errors(done)[0]


# files that are read and written


def test_what_is_read_under_any_key_is_not_written(call, run, image_folder, tmp_path):
    checkpoint = f"checkpoint={run[1]}/best.ckpt"
    os.link(run[1] / "best.ckpt", tmp_path / "same.ckpt")
    (tmp_path / "masks").mkdir()
    (tmp_path / "table.csv").write_text("t,value\n0,0.3\n1,3\n")
    before = (tmp_path / "table.csv").read_bytes()
    would = "would replace the input "
    refused(call("import_official", checkpoint, "output=same.ckpt", "overwrite=true"), f"output=same.ckpt {would}")
    refused(call("evaluate", checkpoint, "split=val", "tuned=same.ckpt", "overwrite=true"), f"tuned=same.ckpt {would}")
    asked = [checkpoint, f"input={image_folder}", "output=./masks", "mask=masks", "existing=replace"]
    refused(call("restore", *asked), f"output=./masks {would}mask=masks: give another output")
    asked = ["schedule=tabulated", "schedule.severity.path=table.csv", "output=table.csv", "overwrite=true"]
    refused(call("schedule", *asked), f"output=table.csv {would}schedule.severity.path=table.csv")
    (tmp_path / "calibration").mkdir()
    os.link(run[1] / "best.ckpt", tmp_path / "calibration" / "calibrated.ckpt")
    refused(call("calibrate", checkpoint, "overwrite=true"), f"calibrated.ckpt {would}checkpoint=")
    assert (tmp_path / "table.csv").read_bytes() == before
