"""The commands as a user types them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import (
    BRIEF,
    HAS_LPIPS,
    ROOT,
    SHARED,
    SMALL,
    STEPS_PER_EPOCH,
    clean_environment,
    command,
    needs_lpips,
    needs_shared,
    refused,
    run_here,
)
from PIL import Image
from test_export import restorer as small_restorer

from diracdiff.checkpoints.checkpoint import KIND
from diracdiff.restorer import load
from diracdiff.utils.files import read_rows

# training


def test_a_training_leaves_what_it_promises(run):
    cwd, latest, printed = run
    names = {path.name for path in latest.iterdir()}
    expected = {"best.ckpt", "last.ckpt", "config.yaml", "metrics.csv", "tradeoff.csv", "summary.json"}
    assert expected | {"tradeoff.png", "samples.png"} <= names
    assert (cwd / "runs" / "latest").is_symlink()
    rows = read_rows(latest / "tradeoff.csv")
    lpips = [key for key in rows[0] if key.startswith("lpips_")]
    assert list(rows[0])[:5] == ["epoch", "step", "t", "nfe", "output"] and {"psnr", "ssim"} <= rows[0].keys()
    assert lpips == (["lpips_squeeze"] if HAS_LPIPS else [])
    assert {(r["epoch"], r["n"]) for r in rows} == {("0", "3"), ("1", "3")}
    logged = read_rows(latest / "metrics.csv")
    assert {"train/loss", "train/grad_norm", "train/lr", "val/psnr", "val/t_do"} <= logged[0].keys()
    for picture in ("tradeoff.png", "samples.png"):
        assert min(Image.open(latest / picture).size) > 300
    assert "best PSNR" in printed and "diracdiff restore checkpoint=" in printed


def test_the_summary_is_of_test_images_at_validation_s_times(run):
    _, latest, _ = run
    summary, restorer = json.loads((latest / "summary.json").read_text()), load(latest / "best.ckpt")
    assert (summary["n"], summary["seed"], summary["steps"]) == (3, 0, 4)
    assert summary["measurement"]["nfe"] == 0 and summary["one_shot"]["nfe"] == 1
    assert {k: summary["do"][k] for k in ("t", "output")} == restorer.stops["psnr"].plain()
    metrics = {"psnr", "ssim", "lpips_squeeze", "swd", "consistency"}
    assert summary["measurement"].keys() == {"t", "output", "nfe", "seconds", "interval"} | metrics
    assert {k: summary["swd"][k] for k in ("t", "output")} == restorer.stops["swd"].plain()
    assert set(summary["do"]["interval"].values()) == {None}  # three images are too few for an interval
    if HAS_LPIPS:
        assert {k: summary["po"][k] for k in ("t", "output")} == restorer.stops["lpips"].plain()


def test_without_weights_there_is_no_perceptual_stop(tmp_path, folder, call, without_weights, capsys):
    brief = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]
    assert run_here(tmp_path, "train", "task=inpaint", *folder, *SMALL, *brief) == 0
    printed, errors = capsys.readouterr()
    warned = [line for line in errors.splitlines() if line.startswith("warning: LPIPS is left out")]
    assert len(warned) == 1 and "squeezenet1_1-b8a52dc0.pth" in warned[0]
    summary = json.loads((tmp_path / "runs/latest/summary.json").read_text())
    assert summary["po"] is None and summary["do"]["lpips_squeeze"] is None
    assert summary["swd"]["swd"] <= summary["do"]["swd"] and "target=swd" in printed
    assert "lpips" not in (tmp_path / "runs/latest/tradeoff.csv").read_text()
    refused(call("restore", "checkpoint=runs/latest/best.ckpt", "input=x", "target=lpips"), "target=lpips needs PO")


def test_multirun_makes_one_folder_and_one_wandb_run_per_job(tmp_path, folder, call, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    brief = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "lpips=null", "logger=wandb"]
    sweep = ["-m", "task=deblur,inpaint", "sampler.steps=1,2"]
    small = [o for o in SMALL if not o.startswith("sampler.steps")]
    assert call("train", *sweep, *folder, *small, *brief)[0] == 0
    (sweep_dir,) = (tmp_path / "runs").glob("sweep_*")
    jobs = sorted(path for path in sweep_dir.iterdir() if path.is_dir())
    assert len(jobs) == 4
    for job, (task, steps) in zip(jobs, [("deblur", 1), ("deblur", 2), ("inpaint", 1), ("inpaint", 2)], strict=True):
        restorer = load(job / "best.ckpt")
        assert (restorer.name, restorer.sampler.steps) == (task, steps)
        assert len(list(job.glob("wandb/offline-run-*/run-*.wandb"))) == 1
        assert "=" not in job.name


@needs_shared
@pytest.mark.parametrize(("dataset", "root"), [("celebahq", "data/celeba-128"), ("imagenet", "data/imagenet-sample")])
def test_real_faces_and_photographs_train_and_validate(tmp_path, dataset, root, call):
    real = [f"dataset={dataset}", f"dataset.root={SHARED / root}", "dataset.image_size=32", "lpips=null"]
    brief = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "trainer.limit_train_batches=3"]
    assert call("train", "task=inpaint", *real, *SMALL, *brief) == (0, [])
    assert json.loads((tmp_path / "runs/latest/summary.json").read_text())["n"] == 3


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_checkpoint_to_go_on_from(tmp_path, folder, signum, status):
    overrides = ["task=inpaint", *folder, *SMALL, "lpips=null", "trainer.check_val_every_n_epoch=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "diracdiff", "train", *overrides, "trainer.max_epochs=500"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "runs/latest/best.ckpt").exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        process.send_signal(signum)
        printed, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == status, printed
    assert "interrupted: saved " in printed and "Traceback" not in printed
    last = (tmp_path / "runs/latest/last.ckpt").resolve()
    assert load(last)
    step = torch.load(last, weights_only=True)["global_step"]
    epochs = step // STEPS_PER_EPOCH + 2
    more = command("train", *overrides, f"trainer.max_epochs={epochs}", f"checkpoint={last}", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    steps = [int(row["step"]) for row in read_rows(tmp_path / "runs/latest/metrics.csv") if row["train/loss"]]
    assert steps[0] == step and steps[-1] == epochs * STEPS_PER_EPOCH - 1


def test_console_command_reaches_the_same_code(tmp_path):
    script = Path(sys.executable).with_name("diracdiff")
    asked = ["task=inpaint", "--cfg", "job"]
    by_script = subprocess.run([script, "train", *asked], cwd=tmp_path, capture_output=True, text=True)
    by_module = command("train", *asked, cwd=tmp_path)
    assert by_script.returncode == by_module.returncode == 0
    assert by_script.stdout == by_module.stdout != ""
    wrong = subprocess.run([script, "trian"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "train, restore, evaluate" in wrong.stderr


def test_console_command_imports_nothing_from_the_working_folder(tmp_path):
    small_restorer().save(tmp_path / "model.ckpt")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "photo.png")
    for module in ("numpy", "torch", "hydra", "json", "random"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('imported from the working folder')")
    script = Path(sys.executable).with_name("diracdiff")
    words = ["restore", "checkpoint=model.ckpt", "input=photo.png", "output=out", "device=cpu", "target=t=0"]
    done = subprocess.run([script, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "photo.png").is_file()


# restoring


def test_restore_takes_every_kind_of_image(run, tmp_path, call):
    _, latest, _ = run
    photos, out = tmp_path / "my photos (1)", tmp_path / "out, restored"
    (photos / "sub").mkdir(parents=True)
    pixels = (np.random.default_rng(0).random((37, 50, 3)) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(photos / "a.png")
    Image.fromarray(pixels).save(photos / "a.jpg")
    Image.fromarray(pixels[..., 0]).save(photos / "grey.png")
    Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(photos / "rgba.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(photos / "sixteen.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(photos / "sub" / "turned.jpg", exif=exif)
    status, errors = call("restore", f"checkpoint={latest}/best.ckpt", f"input={photos}", f"output={out}", "target=t=1")
    assert (
        status == 0 and len(errors) == 1 and "turned.jpg: its centre is not hidden as task=inpaint expects" in errors[0]
    )
    results = {path.relative_to(out).as_posix(): Image.open(path) for path in out.rglob("*.png")}
    assert set(results) == {"a.png.png", "a.jpg.png", "grey.png", "rgba.png", "sixteen.png", "sub/turned.png"}
    assert {image.size for name, image in results.items() if "turned" not in name} == {(50, 37)}
    assert results["sub/turned.png"].size == (37, 50)
    assert [results[f"{name}.png"].mode for name in ("grey", "sixteen", "rgba")] == ["L", "I;16", "RGBA"]
    assert np.array_equal(np.asarray(results["rgba.png"])[..., 3], pixels[..., 0])
    assert abs(np.asarray(results["grey.png"]) - np.asarray(results["sixteen.png"]) / 257).max() <= 0.51


def test_restoring_does_not_depend_on_company(run, tmp_path, call, image_folder):
    _, latest, _ = run
    asked = [f"checkpoint={latest}/best.ckpt", "target=t=0"]
    assert call("restore", *asked, f"input={image_folder}", "output=all")[0] == 0
    assert call("restore", *asked, f"input={image_folder}/05.png", "output=one", "batch_size=1")[0] == 0
    together, alone = (np.asarray(Image.open(tmp_path / f / "05.png"), dtype=int) for f in ("all", "one"))
    assert abs(together - alone).max() <= 1


def test_degrade_makes_the_measurement_first(run, tmp_path, call, image_folder):
    _, latest, _ = run
    asked = [f"checkpoint={latest}/best.ckpt", f"input={image_folder}/05.png", "output=out", "degrade=true"]
    assert call("restore", *asked) == (0, [])
    measurement = np.asarray(Image.open(tmp_path / "out" / "05_measurement.png"))
    assert measurement[18:22, 18:22].mean() < 20 < measurement[:4].mean()
    refused(call("restore", *asked), "05.*png exists", "overwrite=true")
    assert call("restore", *asked, "overwrite=true") == (0, [])


@needs_lpips
def test_evaluate_repeats_the_summary_and_does_not_depend_on_the_batch(run, folder, tmp_path, call, torch_home):
    _, latest, _ = run
    asked = [f"checkpoint={latest}/best.ckpt", *folder[:2], *folder[3:], "loader.test_images=3", "trainer=cpu"]
    for size in (1, 7):
        assert call("evaluate", *asked, f"loader.eval_batch_size={size}", f"output=out{size}")[0] == 0
    one, seven = (json.loads((tmp_path / f"out{size}" / "evaluation.json").read_text()) for size in (1, 7))
    expected = json.loads((latest / "summary.json").read_text())
    assert one["n"] == expected["n"] == 3
    for stop in ("measurement", "one_shot", "do", "po"):
        assert one[stop].pop("output") == seven[stop].pop("output") == expected[stop].pop("output")
        intervals = [summary[stop].pop("interval") for summary in (one, seven, expected)]
        for metric, ends in intervals[2].items():
            assert intervals[0][metric] == pytest.approx(ends, abs=1e-4)
            assert intervals[1][metric] == pytest.approx(ends, abs=1e-4)
        for key, value in expected[stop].items():
            if key != "seconds":
                assert one[stop][key] == pytest.approx(value, abs=1e-4)
                assert seven[stop][key] == pytest.approx(value, abs=1e-4)
    rows = read_rows(tmp_path / "out1" / "images.csv")
    assert len({row["name"] for row in rows}) == 3 and len(rows) == 3 * (4 * 2 + 1)


# mistakes


def test_mistakes_in_training(call, tmp_path, folder, image_folder):
    good = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null"]
    empty, text = tmp_path / "empty", tmp_path / "text"
    for path in (empty, text):
        path.mkdir()
    (text / "notes.txt").write_text("no image")
    refused(call("train", "task=deblurr"), "deblurr", "deblur", "inpaint")
    refused(call("train", "tusk=deblur"), "tusk")
    refused(call("train", "sampler.stepz=3"), "stepz")
    refused(call("train", "dataset=celebahq"), "dataset.root must be given: add dataset.root=")
    refused(call("train", "dataset=folder", "dataset.root=nowhere"), "nowhere does not exist", "dataset.root=")
    refused(call("train", "dataset=folder", f"dataset.root={empty}"), "holds no images")
    refused(call("train", "dataset=folder", f"dataset.root={text}"), "holds no images", "png")
    refused(call("train", *good, "dataset.image_size=48"), r"40x40 pixels, smaller than dataset.image_size=48")
    refused(call("train", *good, "loader.batch_size=400"), "training images are fewer than one batch of 400")
    refused(call("train", *good, "sampler.steps=0"), "sampler: steps must be an integer of at least 1, got 0")
    refused(call("train", *good, "take=median"), r"take must be one of .* got 'median'")
    refused(call("train", *good, "sampler/step=heun", "sampler.stochasticity=1"), "sampler: Heun's steps are")
    refused(call("train", *good, "task.predict=all"), "task.predict must be clean or increment, got 'all'")
    refused(call("train", *good, "task.times=[0.5,2]"), "task.times: times must be two numbers")
    refused(call("train", *good, "task.share_at_end=2"), r"task.share_at_end must be a number from 0.0 to 1.0, got 2")
    deblur = [part for part in good if not part.startswith("task=")]
    refused(call("train", "task=deblur", "task.severity=[0.3,5]", *deblur), r"task.severity=\[0.3, 5\] has no effect")
    refused(
        call("train", *good, "schedule.noise.sigma_max=-1"),
        r"schedule.noise.sigma_max=-1: must be from 0.01 to 100, in units of the \[0, 1\]",
    )
    refused(call("train", *good, "trainer.max_epochs=many"), "trainer.*many")
    refused(call("train", *good, "checkpoint=absent.ckpt"), "absent.ckpt does not exist")
    refused(call("train", *good, "lpips=resnet"), "lpips must be one of", "resnet")
    refused(call("train", *good, "dataset.image_size=8"), "SSIM needs images of at least 11 pixels a side, got 8")
    refused(call("train", *good, "trainer.check_val_every_n_epoch=3"), "would never validate", "max_epochs")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"notes.txt"}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_image_is_named(call, tmp_path, image_folder, workers):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in image_folder.iterdir():
        (photos / path.name).write_bytes(path.read_bytes())
    for path in photos.iterdir():
        if path.name not in ("00.png", "01.png"):
            path.write_bytes(path.read_bytes()[:400])
    data = ["dataset=folder", f"dataset.root={photos}", "dataset.image_size=32", f"loader.num_workers={workers}"]
    refused(
        call("train", "task=inpaint", *data, *SMALL, *BRIEF, "lpips=null"), r"photos/\d\d.png: the file is truncated"
    )


def test_mistakes_in_restoring_and_evaluating(call, run, tmp_path, image_folder):
    _, latest, _ = run
    image, checkpoint = f"input={image_folder}/05.png", f"checkpoint={latest}/best.ckpt"
    other, pickled = tmp_path / "other.ckpt", tmp_path / "pickled.ckpt"
    torch.save({"state_dict": {}}, other)
    torch.save({KIND: {}, "extra": Path("a")}, pickled)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "broken.png").write_bytes((image_folder / "05.png").read_bytes()[:300])
    for name in ("restore", "evaluate"):
        more = [image] if name == "restore" else []
        refused(call(name, *more), "checkpoint must be given: add checkpoint=")
        refused(call(name, *more, "checkpoint=absent"), "absent does not exist")
        refused(call(name, *more, f"checkpoint={image_folder}/05.png"), "is not a checkpoint")
        refused(call(name, *more, f"checkpoint={other}"), "is of another kind")
        refused(call(name, *more, f"checkpoint={pickled}"), "holds pickled objects")
        refused(call(name, *more, checkpoint, "output=file"), "output=file must be a folder")
        refused(call(name, *more, checkpoint, "sampler.steps=0"), "steps must be an integer of at least 1, got 0")
    refused(call("restore", checkpoint), "input must be given")
    refused(call("restore", checkpoint, "input=absent"), "input=absent does not exist: give an image, or a folder")
    refused(call("restore", checkpoint, image, "target=t=1.5"), r"target must be .* T in \[0, 1\], got 't=1.5'")
    refused(call("restore", checkpoint, image, "target=t=soon"), r"T in \[0, 1\], got 't=soon'")
    refused(call("restore", checkpoint, image, "samples=0"), "samples must be an integer of at least 1, got 0")
    refused(call("restore", checkpoint, image, "target=fid"), "target=fid needs the best FID")
    refused(
        call("restore", checkpoint, image, "target=ssim"),
        "target must be psnr, lpips, swd, fid, nfe=N, t=T, .* got 'ssim'",
    )
    refused(call("restore", checkpoint, image, "device=cuda:9"), "device=cuda:9 is not available")
    refused(call("restore", checkpoint, image, "samples=null"), "samples must be given: add samples=")
    refused(call("restore", checkpoint, "input=absent"), "absent does not exist")
    refused(call("restore", checkpoint, f"input={tmp_path / 'broken.png'}"), "broken.png: the file is truncated")
    refused(call("restore", checkpoint, f"input={tmp_path / 'file'}"), "file: not an image")
    refused(call("restore", checkpoint, image, f"output={image_folder}"), "would replace the input")
    refused(call("evaluate", checkpoint, "split=train"), "split must be test or val, got 'train'")
    refused(call("evaluate", checkpoint, "dataset.image_size=64"), "dataset.image_size=64 differs from .* 32")
    assert not (tmp_path / "restored").exists() and not (tmp_path / "evaluation").exists()


def test_an_unwritable_output_is_refused(call, run, image_folder):
    _, latest, _ = run
    asked = [f"checkpoint={latest}/best.ckpt", "output=/proc/out"]
    refused(call("restore", *asked, f"input={image_folder}/05.png"), "output=/proc/out cannot be written")
    refused(call("evaluate", *asked), "output=/proc/out cannot be written")


def test_resuming_another_task_is_refused(call, run, folder):
    _, latest, _ = run
    asked = ["task=deblur", *folder, *SMALL, *BRIEF, "lpips=null", f"checkpoint={latest}/last.ckpt"]
    refused(call("train", *asked), "was trained with another process")


def test_resuming_from_weights_alone_is_refused(call, run, folder, tmp_path):
    content = torch.load(run[1] / "last.ckpt", weights_only=True)
    torch.save({key: content[key] for key in ("state_dict", KIND)}, tmp_path / "weights.ckpt")
    asked = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null", f"checkpoint={tmp_path}/weights.ckpt"]
    refused(call("train", *asked), "holds weights but no training to go on with")


def test_help_of_make_names_every_target():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    for target in (
        "setup",
        "train",
        "test",
        "lint",
        "format",
        "sweep",
        "evaluate",
        "restore",
        "bench",
        "models",
        "wheel",
        "report",
        "docs",
        "clean",
    ):
        assert f"make {target}" in listed
