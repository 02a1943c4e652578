"""End-to-end runs of the commands, and errors on the command line."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import (
    BRIEF,
    HAS_LPIPS,
    SHARED,
    SMALL,
    STEPS_PER_EPOCH,
    begin,
    clean_environment,
    full_disk,
    needs_lpips,
    needs_shared,
    refused,
    run_here,
)
from PIL import Image
from test_export import restorer as small_restorer

from diracdiff.__main__ import main
from diracdiff.checkpoints.checkpoint import KIND
from diracdiff.restorer import load
from diracdiff.training.module import RestorerModule
from diracdiff.training.saving import link_latest
from diracdiff.utils.files import read_rows

# training


def test_a_training_run_writes_its_files(run):
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


def test_the_summary_measures_test_images_at_the_stopping_times_of_validation(run):
    _, latest, _ = run
    summary, restorer = json.loads((latest / "summary.json").read_text()), load(latest / "best.ckpt")
    assert (summary["n"], summary["seed"], summary["steps"]) == (3, 0, 4)
    assert summary["measurement"]["nfe"] == 0 and summary["one_shot"]["nfe"] == 1
    assert {k: summary["do"][k] for k in ("t", "output")} == vars(restorer.stopping_points["psnr"])
    metrics = {"psnr", "ssim", "lpips_squeeze", "swd", "residual_noise", "consistency"}
    assert summary["measurement"].keys() == {"t", "output", "nfe", "seconds", "interval"} | metrics
    assert {k: summary["swd"][k] for k in ("t", "output")} == vars(restorer.stopping_points["swd"])
    assert set(summary["do"]["interval"].values()) == {None}  # no interval for three images
    if HAS_LPIPS:
        assert {k: summary["po"][k] for k in ("t", "output")} == vars(restorer.stopping_points["lpips"])


def test_without_lpips_weights_there_is_no_perceptual_stopping_time(tmp_path, folder, call, without_weights, capsys):
    brief = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]
    assert run_here(tmp_path, "train", "task=inpaint", *folder, *SMALL, *brief) == 0
    printed, errors = capsys.readouterr()
    warned = [line for line in errors.splitlines() if line.startswith("warning: LPIPS is left out")]
    assert len(warned) == 1 and "squeezenet1_1-b8a52dc0.pth" in warned[0]
    summary = json.loads((tmp_path / "runs/latest/summary.json").read_text())
    assert summary["po"] is None and "lpips_squeeze" not in summary["do"]
    assert summary["swd"]["swd"] <= summary["do"]["swd"] and "target=swd" in printed
    assert "lpips" not in (tmp_path / "runs/latest/tradeoff.csv").read_text()
    refused(
        call("restore", "checkpoint=runs/latest/best.ckpt", "input=x", "target=lpips"),
        "target=lpips: .* no stopping time for LPIPS",
    )


@needs_shared
@pytest.mark.parametrize(("dataset", "root"), [("celebahq", "data/celeba-128"), ("imagenet", "data/imagenet-sample")])
def test_real_faces_and_photographs_train_and_validate(tmp_path, dataset, root, call):
    real = [f"data={dataset}", f"data.root={SHARED / root}", "data.image_size=32", "lpips=null"]
    brief = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "trainer.limit_train_batches=3"]
    assert call("train", "task=inpaint", *real, *SMALL, *brief) == (0, [])
    assert json.loads((tmp_path / "runs/latest/summary.json").read_text())["n"] == 3


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_training_run_resumes_after_a_signal(tmp_path, folder, monkeypatch, capsys, signum, status):
    step = RestorerModule.training_step

    def interrupted(module, batch, index):
        if module.global_step == STEPS_PER_EPOCH + 2:
            os.kill(os.getpid(), signum)
        return step(module, batch, index)

    options = ["task=inpaint", *folder, *SMALL, "lpips=null", "trainer.check_val_every_n_epoch=1", "hydra.run.dir=run"]
    monkeypatch.setattr(RestorerModule, "training_step", interrupted)
    assert run_here(tmp_path, "train", *options, "trainer.max_epochs=3") == status
    monkeypatch.setattr(RestorerModule, "training_step", step)
    printed, errors = capsys.readouterr()
    assert "interrupted" in printed + errors and "Traceback" not in errors
    assert signum == signal.SIGTERM or f"partial results are in {tmp_path}/run" in errors
    last = tmp_path / "run" / "last.ckpt"
    saved_step = torch.load(last, weights_only=True)["global_step"]
    assert load(last) and saved_step == (STEPS_PER_EPOCH if signum == signal.SIGINT else STEPS_PER_EPOCH + 3)
    assert run_here(tmp_path, "train", *options, "trainer.max_epochs=3", "ckpt_path=auto") == 0
    steps = [int(row["step"]) for row in read_rows(tmp_path / "run" / "metrics.csv") if row["train/loss"]]
    assert steps == list(range(3 * STEPS_PER_EPOCH))


def test_the_console_command_imports_nothing_from_the_working_folder(tmp_path):
    small_restorer().save(tmp_path / "model.ckpt")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "photo.png")
    for module in ("numpy", "torch", "hydra", "json", "random"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('imported from the working folder')")
    script = Path(sys.executable).with_name("diracdiff")
    overrides = ["restore", "checkpoint=model.ckpt", "input=photo.png", "output=out", "device=cpu", "target=t:0"]
    result = subprocess.run([script, *overrides], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "photo.png").is_file()


def test_an_unknown_command_is_refused_with_the_known_ones(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["diracdiff", "trian"])
    with pytest.raises(SystemExit) as stop:
        main()
    refused((stop.value.code, capsys.readouterr().err.splitlines()), "train, restore, evaluate")


# restoration


def test_restore_reads_every_kind_of_image(run, tmp_path, call):
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
    options = [f"checkpoint={latest}/best.ckpt", f"input='{photos}'", f"output='{out}'", "target=t:1"]
    assert call("restore", *options) == (0, [])
    results = {path.relative_to(out).as_posix(): Image.open(path) for path in out.rglob("*.png")}
    assert set(results) == {"a.png.png", "a.jpg.png", "grey.png", "rgba.png", "sixteen.png", "sub/turned.png"}
    assert {image.size for name, image in results.items() if "turned" not in name} == {(50, 37)}
    assert results["sub/turned.png"].size == (37, 50)
    assert [results[f"{name}.png"].mode for name in ("grey", "sixteen", "rgba")] == ["L", "I;16", "RGBA"]
    assert np.array_equal(np.asarray(results["rgba.png"])[..., 3], pixels[..., 0])
    assert abs(np.asarray(results["grey.png"]) - np.asarray(results["sixteen.png"]) / 257).max() <= 0.51


def test_a_result_does_not_depend_on_other_images(run, tmp_path, call, image_folder):
    _, latest, _ = run
    options = [f"checkpoint={latest}/best.ckpt", "target=t:0"]
    assert call("restore", *options, f"input={image_folder}", "output=all")[0] == 0
    assert call("restore", *options, f"input={image_folder}/05.png", "output=one", "batch_size=1")[0] == 0
    together, alone = (np.asarray(Image.open(tmp_path / f / "05.png"), dtype=int) for f in ("all", "one"))
    assert abs(together - alone).max() <= 1


def test_degrade_simulates_the_measurement(run, tmp_path, call, image_folder):
    _, latest, _ = run
    options = [f"checkpoint={latest}/best.ckpt", f"input={image_folder}/05.png", "output=out", "degrade=true"]
    assert call("restore", *options) == (0, [])
    measurement = np.asarray(Image.open(tmp_path / "out" / "05_measurement.png"))
    assert measurement[18:22, 18:22].mean() < 20 < measurement[:4].mean()
    refused(call("restore", *options), "05.*png: exists", "if_exists=overwrite")
    assert call("restore", *options, "if_exists=overwrite") == (0, [])


@needs_lpips
def test_evaluate_reproduces_the_summary_for_another_batch_size(run, folder, tmp_path, call, torch_home):
    _, latest, _ = run
    options = [f"checkpoint={latest}/best.ckpt", *folder[:2], *folder[3:], "data.test_images=3", "trainer=cpu"]
    assert call("evaluate", *options, "data.eval_batch_size=1", "output=out")[0] == 0
    result, expected = (json.loads(p.read_text()) for p in (tmp_path / "out/evaluation.json", latest / "summary.json"))
    assert result["n"] == expected["n"] == 3
    for stop in ("measurement", "one_shot", "do", "po"):
        for entry in (result[stop], expected[stop]):
            del entry["seconds"]
        assert result[stop].pop("output") == expected[stop].pop("output")
        ends, expected_ends = result[stop].pop("interval"), expected[stop].pop("interval")
        assert result[stop] == pytest.approx(expected[stop], abs=1e-4)
        assert all(ends[metric] == pytest.approx(expected_ends[metric], abs=1e-4) for metric in expected_ends)
    rows = read_rows(tmp_path / "out" / "images.csv")
    assert len({row["name"] for row in rows}) == 3 and len(rows) == 3 * (4 * 2 + 1)


# existing files


def test_latest_replaces_only_a_link(tmp_path):
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "latest").write_text("precious")
    for _ in range(2):
        link_latest(tmp_path / "runs" / "one")
    assert (tmp_path / "runs" / "latest").read_text() == "precious" and len(list((tmp_path / "runs").iterdir())) == 2


def test_a_comparison_replaces_only_files_of_a_comparison(call, run, folder, tmp_path):
    from diracdiff.comparison.comparison import WRITTEN as COMPARED

    options = [f"checkpoint={run[1]}/best.ckpt", *folder[:2], *folder[3:], "baseline=[measurement]", "lpips=null"]
    options += ["tune_for=psnr", "dirac.search=null", "tune_images=2", "test_images=2", "device=cpu", "output=mine"]
    output = tmp_path / "mine"
    output.mkdir()
    (output / "notes.txt").write_text("precious")
    (output / COMPARED[0]).write_text("precious")
    refused(call("compare", *options), f"mine/{COMPARED[0]}: exists. Give another output")
    assert {path.name: path.read_text() for path in output.iterdir()} == dict.fromkeys(
        ["notes.txt", COMPARED[0]], "precious"
    )
    (output / COMPARED[0]).unlink()
    assert call("compare", *options) == (0, [])
    assert (output / "notes.txt").read_text() == "precious"
    kept = {"notes.txt", "measurements_val.pt", "measurements_test.pt", "parts"}
    written = {path.name for path in output.iterdir()} - kept
    assert written <= set(COMPARED) and {*COMPARED} - written == {"plane.png"}


def test_inputs_are_not_replaced(call, run, image_folder, tmp_path):
    checkpoint, message = f"checkpoint={run[1]}/best.ckpt", "would replace the input checkpoint="
    os.link(run[1] / "best.ckpt", tmp_path / "same.ckpt")
    refused(call("import_official", checkpoint, "output=same.ckpt", "if_exists=overwrite"), message)
    refused(call("evaluate", checkpoint, "split=val", "save_tuned=same.ckpt", "if_exists=overwrite"), message)
    (tmp_path / "calibration").mkdir()
    os.link(run[1] / "best.ckpt", tmp_path / "calibration" / "calibrated.ckpt")
    refused(call("calibrate", checkpoint, "if_exists=overwrite"), message)
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "a_measurement.png"):
        (photos / name).write_bytes((image_folder / "00.png").read_bytes())
    status, lines = call("restore", checkpoint, "if_exists=overwrite", "input=photos", "output=out", "degrade=true")
    assert status == 2 and "a_measurement.png would replace that of photos/a.png" in lines[0]


def test_a_folder_of_another_run_is_refused(call, run, folder, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "last.ckpt").write_text("precious")
    options = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null"]
    refused(call("train", *options, "hydra.run.dir=old"), "hydra.run.dir=.*old: holds a training run. Resume it with")
    assert (tmp_path / "old" / "last.ckpt").read_text() == "precious"


def test_a_run_starts_from_the_weights_of_another_run(call, run, tmp_path, image_folder):
    folder = ["data=folder", f"data.root={image_folder}", "data.image_size=32"]
    frozen = ["optimizer=adam", "optimizer.lr=1e-12", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]
    options = ["task=inpaint", *folder, *SMALL, *frozen, "lpips=null", f"init_from={run[1]}/best.ckpt"]
    status, output = call("train", *options, "hydra.run.dir=tuned")
    assert status == 0, output
    before, after = (
        load(path).denoiser.state_dict() for path in (f"{run[1]}/best.ckpt", tmp_path / "tuned" / "best.ckpt")
    )
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)


def test_a_checkpoint_is_tested_without_training(call, run, folder, tmp_path):
    small = [word for word in SMALL if not word.startswith("sampler")]
    options = ["train=false", "task=inpaint", *folder, *small, *BRIEF, "lpips=null", f"ckpt_path={run[1]}/best.ckpt"]
    status, output = call("train", *options, "hydra.run.dir=tested")
    assert status == 0, output
    summaries = [json.loads((path / "summary.json").read_text()) for path in (tmp_path / "tested", run[1])]
    assert summaries[0]["do"]["psnr"] == pytest.approx(summaries[1]["do"]["psnr"], abs=1e-4)
    for override in ("sampler.num_steps=7", "sampler=fast", "seed=3"):
        refused(call("train", *options, override), f"{override}: train=false uses that of the checkpoint")


def test_a_run_without_validation_is_refused(call, folder):
    options = ["task=inpaint", *folder, *SMALL, "trainer.max_epochs=5", "trainer.max_time='00:00:00:00'"]
    refused(call("train", *options, "lpips=null"), "trainer.check_val_every_n_epoch=3: the run ended before a valid")


def test_an_unreadable_image_is_left_out_of_an_evaluation(call, run, image_folder, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(image_folder, tmp_path / "photos" / split)
    names = sorted(path.name for path in image_folder.iterdir())
    (tmp_path / "photos" / "test" / names[1]).write_bytes(b"not an image")
    options = ["data=folder", "data.root=photos", "data.on_error=skip", "data.test_images=24", "metrics=[psnr]"]
    status, output = call("evaluate", f"checkpoint={run[1]}/best.ckpt", *options, "trainer=cpu")
    assert status == 0, output
    rows = read_rows(tmp_path / "evaluation" / "images.csv")
    assert {Path(row["name"]).name for row in rows} == {*names} - {names[1]}


def test_a_fast_dev_run_without_loggers(call, tmp_path, image_folder):
    folder = ["data=folder", f"data.root={image_folder}", "data.image_size=32"]
    options = ["task=inpaint", "debug=fast_dev_run", "logger=null", *folder, *SMALL, "lpips=null"]
    status, output = call("train", *options, "hydra.run.dir=run")
    assert status == 0, output
    assert (tmp_path / "run" / "tradeoff.csv").is_file() and not (tmp_path / "run" / "metrics.csv").exists()


# errors

IMAGE, MODEL = "input={images}/05.png", "checkpoint={model}"
ERRORS = [
    # keys and syntax
    ("train", ["task=debl"], "task=debl: is not an option. Did you mean deblur"),
    ("train", ["tusk=deblur"], "tusk: train has no such key. Did you mean task"),
    ("train", ["--help", "tusk=deblur"], "tusk"),
    ("train", ["sampler.stepz=3"], "sampler.stepz", "Did you mean sampler.num_steps"),
    ("train", ["model=null"], "remove a group with ~GROUP"),
    ("restore", ["target=t" + "=1"], "target=t.1: .* Quote it"),
    ("restore", ["input=my photo (1).png"], "Quote it"),
    ("restore", [MODEL], "input: must be given. Add input=…"),
    ("train", ["data=celebahq"], "data.root: must be given"),
    # paths
    ("restore", [MODEL, IMAGE, "if_exists=no"], "if_exists=no: must be one of error, skip, overwrite"),
    ("restore", [MODEL, "input=2024"], "input=2024: must be a path. Write input=./2024"),
    ("restore", [MODEL, "input=null"], "input=null: must be given"),
    ("train", ["data=folder", "data.root=1_0"], "data.root=10: must be a path"),
    ("restore", [MODEL, "input=absent"], "input=absent: does not exist"),
    ("restore", [MODEL, "input='~/absent'"], f"input={Path.home()}/absent: does not exist"),
    ("train", ["data=huggingface", "data.path=1_0"], "data.path=10: must be a path"),
    ("restore", ["checkpoint=absent", IMAGE], "absent: does not exist"),
    ("restore", ["checkpoint=/etc/passwd", IMAGE], "/etc/passwd"),
    ("restore", [MODEL, "input=file"], "file: is not an image"),
    ("restore", [MODEL, IMAGE, "output=file"], "output=file: must be a folder"),
    ("evaluate", [MODEL, "output=/proc/out"], "/proc/out"),
    # values
    ("train", ["seed=abc"], "seed=abc: must be a number"),
    ("train", ["seed=-1"], "seed=-1"),
    ("train", ["seed=null"], "seed=null: must be given"),
    ("train", ["optimizer.lr=abc"], "optimizer.lr=abc: must be a number"),
    ("train", ["trainer.enable_progress_bar=no"], "trainer.enable_progress_bar=no: must be true or false"),
    ("train", ["sampler=checkpoint"], "sampler=checkpoint: needs a checkpoint"),
    ("train", ["sampler.num_steps=0"], "sampler.*steps"),
    ("train", ["sampler/solver=heun", "sampler.eta=1"], "sampler.*eta"),
    ("train", ["task.t_range=[0.5,2]"], "t_range"),
    ("train", ["schedule.noise.sigma_max=-1"], "schedule.noise.sigma_max=-1"),
    ("train", ["trainer.max_epochs=many"], "trainer.max_epochs=many"),
    ("train", ["trainer.accumulate_grad_batches=0"], "trainer.*accumulate_grad_batches"),
    ("train", ["data.batch_size=400"], "data.batch_size=400: .* fewer than one batch"),
    ("train", ["metrics=[]"], "must not be empty"),
    ("train", ["+data.foo=1"], "data: .*foo"),
    ("train", ["data.image_size=60"], "image_size.*60"),
    ("train", ["trainer.precision=fp7"], "trainer.*fp7"),
    ("train", ["task.predict=increment"], "task.predict=increment: .*method=paper"),
    ("train", ["ckpt_path=absent.ckpt"], "absent.ckpt: does not exist"),
    ("train", ["init_from=absent.ckpt"], "init_from=absent.ckpt: does not exist"),
    ("train", ["task=inpaint", "init_from={model}"], "has another network. Use its settings of model"),
    ("train", ["optimized_metric=val/acc"], "optimized_metric=val/acc"),
    ("restore", [MODEL, IMAGE, "target=t:1.5"], "target.*1.5"),
    ("restore", [MODEL, IMAGE, "target=nfe:2", "sampler.num_steps=9"], "target=nfe:2: counts the calls of the check"),
    ("restore", [MODEL, IMAGE, "device=cuda:9"], "device=cuda:9: is not available"),
    ("restore", [MODEL, "input={images}", "output={images}"], "is the input folder"),
    ("evaluate", [MODEL, "times=some"], "times=some: must be test or val, and all or stopping"),
    ("train", ["task.measurement_sigma=0.1"], "task.measurement_sigma=0.1: must be above 0 and at most 0.05"),
    ("evaluate", [MODEL, "split=train"], "split=train .*must be test or val"),
    ("evaluate", [MODEL, "data.image_size=64"], "data.image_size=64.*32"),
    ("compare", [MODEL, "dirac=null"], "dirac=null: must hold keys"),
    ("schedule", ["output=t.csv", "dissimilarity=mse", "budget=2000"], "budget=2000: must lie in"),
]


@pytest.fixture(scope="session")
def files(tmp_path_factory, run, image_folder):
    return {"images": image_folder, "model": run[1].resolve() / "best.ckpt"}


@pytest.mark.parametrize(
    ("name", "overrides", "parts"), [(name, overrides, parts) for name, overrides, *parts in ERRORS]
)
def test_an_error_is_one_line_and_status_2(call, tmp_path, files, folder, name, overrides, parts):
    (tmp_path / "file").write_text("in the way")
    usual = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null"] if name == "train" else []
    if any(word.startswith(("data=", "task=")) for word in overrides):
        usual = []
    refused(call(name, *usual, *(word.format(**files) for word in overrides)), *parts)
    assert not list(tmp_path.rglob("*.ckpt")) and not (tmp_path / "evaluation").exists()


def test_a_truncated_image_is_named(call, tmp_path, image_folder):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in image_folder.iterdir():
        (photos / path.name).write_bytes(path.read_bytes()[: None if path.name in ("00.png", "01.png") else 400])
    data = ["data=folder", f"data.root={photos}", "data.image_size=32", "data.num_workers=0"]
    refused(call("train", "task=inpaint", *data, *SMALL, *BRIEF, "lpips=null"), r"photos/\d\d.png: cannot be decoded")


def test_a_full_disk_ends_a_training_run_with_one_line(call, folder):
    with full_disk(12_000):
        refused(
            call("train", "task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null"),
            r"cannot be written \(File too large\)",
        )


def test_resuming_another_task_or_without_optimizer_state_is_refused(call, run, folder, tmp_path):
    options = [*folder, *SMALL, *BRIEF, "lpips=null"]
    refused(call("train", "task=deblur", *options, f"ckpt_path={run[1]}/last.ckpt"), "was trained with another process")
    content = torch.load(run[1] / "last.ckpt", weights_only=True)
    torch.save({key: content[key] for key in ("state_dict", KIND)}, tmp_path / "weights.ckpt")
    refused(call("train", "task=inpaint", *options, f"ckpt_path={tmp_path}/weights.ckpt"), "weights.ckpt")


@pytest.mark.parametrize("name", ["it's, [1] {2}=b", "2024", "-m é 写真"])
def test_quoted_paths_may_contain_special_characters(call, run, image_folder, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "05.png").write_bytes((image_folder / "05.png").read_bytes())
    quoted = "'" + name.replace("'", "\\'") + "'"
    options = [f"checkpoint={run[1]}/best.ckpt", f"input={quoted}", f"output={quoted[:-1]}_out'", "target=t:1"]
    assert call("restore", *options)[0] == 0
    assert (tmp_path / f"{name}_out" / "05.png").is_file()


def test_an_unexpected_exception_shows_its_traceback(call, run, image_folder, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("diracdiff.commands.build.load", broken)
    with pytest.raises(ZeroDivisionError):
        call("restore", f"checkpoint={run[1]}/best.ckpt", f"input={image_folder}")


@pytest.mark.parametrize("overrides", [["train", "--help"], ["train", "tusk=deblur"]])
def test_help_and_unknown_keys_import_nothing_slow(tmp_path, overrides):
    slow = {"torch", "pytorch_lightning", "wandb", "matplotlib", "scipy", "kornia", "lpips"}
    process = begin("-X", "importtime", "-m", "diracdiff", *overrides, cwd=tmp_path)
    _, errors = process.communicate(timeout=240)
    names = {line.rpartition("|")[2].strip() for line in errors.splitlines() if line.startswith("import time:")}
    assert "hydra" in names and not names & slow
    assert list(tmp_path.iterdir()) == []
