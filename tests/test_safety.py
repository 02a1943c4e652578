"""Nothing of a user's is removed or overwritten that was not asked for by name."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import SMALL, clean_environment, refused

from diracdiff.restorer import load
from diracdiff.run_folder import WRITTEN, fresh
from diracdiff.utils.files import check_output, read_rows

TYPO = ["task=inpaint", "dataset=folder", "dataset.root=nowhere"]
SHORT = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "lpips=null"]
NO_FOLDER = "nowhere does not exist"


def content(folder):
    """Every path beneath a folder, with what a file holds and a link leads to."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else path.is_symlink()
        for path in folder.rglob("*")
    }


# what a training that fails removes


def test_a_fresh_folder_of_a_training_that_fails_goes(call, tmp_path):
    refused(call("train", *TYPO), NO_FOLDER)
    refused(call("train", *TYPO, "hydra.run.dir=new/er/est"), NO_FOLDER)
    refused(call("train", "-m", *TYPO, "seed=1,2"), NO_FOLDER)
    refused(call("train", "-m", *TYPO, "seed=1,2", "hydra.sweep.dir=new/sweep"), NO_FOLDER)
    refused(call("train", "-m", "task=deblurr,inpaint"), "deblurr")
    refused(call("train", *TYPO, "run_dir=else/where"), NO_FOLDER)
    assert content(tmp_path) == {}


@pytest.mark.parametrize("where", ["results", "results/", "link", ".", "results/../results", "results/new"])
def test_a_folder_of_one_s_own_stays(call, tmp_path, where):
    (tmp_path / "results" / "empty").mkdir(parents=True)
    (tmp_path / "results" / "thesis.txt").write_text("precious")
    (tmp_path / "results" / ".hydra").mkdir()
    (tmp_path / "results" / ".hydra" / "config.yaml").write_text("of another program")
    (tmp_path / "results" / "train.log").write_text("of another program")
    (tmp_path / "link").symlink_to("results")
    before = content(tmp_path)
    refused(call("train", *TYPO, f"hydra.run.dir={where}"), NO_FOLDER)
    assert content(tmp_path) == before
    refused(call("train", *TYPO, f"run_dir={where}"), NO_FOLDER)
    assert {name for name in content(tmp_path) if name != "runs"} == set(before)


def test_an_empty_folder_of_one_s_own_stays(call, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(call("train", *TYPO, "hydra.run.dir=empty"), NO_FOLDER)
    refused(call("train", "-m", *TYPO, "hydra.sweep.dir=empty"), NO_FOLDER)
    assert content(tmp_path) == {"empty": False}


def test_earlier_runs_stay(call, tmp_path):
    for job in ("2020-01-01_00-00-00_inpaint", "0_deblur", "1_inpaint/empty"):
        (tmp_path / "runs" / job).mkdir(parents=True)
        (tmp_path / "runs" / job / "best.ckpt").write_text("precious")
    before = content(tmp_path)
    refused(call("train", *TYPO, "hydra.run.dir=runs"), NO_FOLDER)
    assert content(tmp_path) == before
    refused(call("train", "-m", *TYPO, "seed=1,2", "hydra.sweep.dir=runs"), NO_FOLDER)
    assert content(tmp_path) == before
    refused(call("train", "-m", *TYPO, "task=deblur,inpaint", "hydra.sweep.dir=runs"), "0_deblur/best.ckpt exists")
    assert content(tmp_path) == before


# one training, one folder


@pytest.mark.parametrize("name", [*WRITTEN, "best.ckpt", "other.ckpt"])
def test_a_folder_that_holds_a_training_is_refused(call, tmp_path, name):
    path = tmp_path / "old" / name
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    before = content(tmp_path)
    asked = ["task=inpaint", "checkpoint=old/last.ckpt", "hydra.run.dir=old"]
    refused(call("train", *asked), f"^error: old/{name} exists .* one training: give another one, or move")
    assert content(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_refused(call, tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "dangling").symlink_to("nowhere")
    for where in ("file", "file/new", "dangling", "/proc/new"):
        refused(call("train", *TYPO, f"hydra.run.dir={where}"), f"hydra.run.dir={where} cannot be made")
    refused(call("train", *TYPO, "hydra.run.dir=/proc/self"), "cannot be written")
    assert content(tmp_path) == {"file": b"in the way", "dangling": True}


def test_a_sweep_does_not_replace_the_record_of_another(call, tmp_path):
    (tmp_path / "multirun.yaml").write_text("precious")
    refused(call("train", "-m", *TYPO, "hydra.sweep.dir=."), "multirun.yaml exists", "hydra.sweep.dir")
    refused(call("evaluate", "-m", "checkpoint=absent.ckpt"), "multirun.yaml exists")
    assert content(tmp_path) == {"multirun.yaml": b"precious"}
    (tmp_path / "multirun.yaml").write_text("hydra:\n")
    refused(call("evaluate", "-m", "checkpoint=absent.ckpt"), "absent.ckpt does not exist")


def test_a_folder_is_given_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(fresh, [tmp_path / "runs" / "a"] * 40))
    assert set(given) == {tmp_path / "runs" / name for name in ["a", *(f"a_{i}" for i in range(2, 41))]}


SAME_SECOND = """
import datetime, sys
import hydra.core.utils

class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2020, 1, 1)

hydra.core.utils.datetime = Fixed
from diracdiff.commands.train import main
main()
"""


def both(cwd, *words):
    """Two commands at the same time: the exit status and the errors of each."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SAME_SECOND, *words, f"seed={seed}"],
            cwd=cwd,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    errors = [process.communicate(timeout=240)[1] for process in started]
    return [(process.returncode, error) for process, error in zip(started, errors, strict=True)]


def test_two_trainings_of_one_second_have_a_folder_each(tmp_path, folder):
    done = both(tmp_path, "task=inpaint", *folder, *SMALL, *SHORT)
    assert [status for status, _ in done] == [0, 0], done
    runs = [tmp_path / "runs" / name for name in ("2020-01-01_00-00-00_inpaint", "2020-01-01_00-00-00_inpaint_2")]
    assert set((tmp_path / "runs").iterdir()) == {*runs, tmp_path / "runs" / "latest"}
    assert {load(run / "best.ckpt").seed for run in runs} == {1, 2}
    for run in runs:
        assert f"seed: {load(run / 'best.ckpt').seed}\n" in (run / "config.yaml").read_text()
        assert len([row for row in read_rows(run / "metrics.csv") if row["train/loss"]]) == 4
    assert (tmp_path / "runs" / "latest").resolve() in runs


def test_of_two_trainings_into_one_folder_one_is_refused(tmp_path, folder):
    done = both(tmp_path, "task=inpaint", *folder, *SMALL, *SHORT, "hydra.run.dir=same")
    assert sorted(status for status, _ in done) == [0, 2], done
    assert any("same/" in error and "exists" in error and error.count("\n") == 1 for _, error in done)
    (won,) = [seed for seed, (status, _) in zip((1, 2), done, strict=True) if status == 0]
    assert load(tmp_path / "same" / "best.ckpt").seed == won
    assert (tmp_path / "same" / "overrides.yaml").read_text().endswith(f"- seed={won}\n")


# what is there is not written over


def test_a_comparison_writes_over_comparisons_alone(call, run, folder, tmp_path):
    from diracdiff.comparison.comparison import WRITTEN as COMPARED

    asked = [
        f"checkpoint={run[1]}/best.ckpt",
        *folder[:2],
        *folder[3:],
        "baseline=[measurement]",
        "lpips=null",
        "tune_for=psnr",
    ]
    asked += ["dirac.search=null", "tune_images=2", "test_images=2", "device=cpu", "output=mine"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("precious")
    for name in COMPARED:
        (mine / name).write_text("precious")
        refused(call("compare", *asked), f"mine/{name} exists, without the measurements of a comparison", "output")
        assert set(content(mine)) == {"notes.txt", name} and (mine / name).read_text() == "precious"
        (mine / name).unlink()
    for _ in range(2):
        assert call("compare", *asked) == (0, [])
    assert (mine / "notes.txt").read_text() == "precious"
    kept = {"notes.txt", "measurements_val.pt", "measurements_test.pt", "parts"}
    made = {path.name for path in mine.iterdir()} - kept
    assert made <= set(COMPARED) and {*COMPARED} - made == {"plane.png", "dials.csv"}


def test_a_folder_is_no_file_to_be_replaced(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ValueError, match=r"a\.png must be a file, but is a folder"):
        check_output(tmp_path, [tmp_path / "a.png"], overwrite=True)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ValueError, match="link exists"):
        check_output(tmp_path, [tmp_path / "link"], overwrite=False)


def test_what_is_read_is_not_written(call, run, image_folder, tmp_path):
    checkpoint = f"{run[1]}/best.ckpt"
    asked = [f"checkpoint={checkpoint}", "overwrite=true"]
    refused(call("import_official", *asked, f"output={checkpoint}"), "would replace the input checkpoint=")
    tuned = f"tuned={run[1]}/../latest/best.ckpt"
    refused(call("evaluate", *asked, "split=val", tuned), "would replace the input checkpoint=")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "a_measurement.png"):
        (photos / name).write_bytes((image_folder / "00.png").read_bytes())
    asked += ["input=photos", "output=out"]
    status, lines = call("restore", *asked, "degrade=true")
    assert status == 2 and "a_measurement.png would replace that of photos/a.png" in lines[0]


# yes and no


@pytest.mark.parametrize("value", ["no", "abc", "1", "0", "null", "'true'", "[]"])
@pytest.mark.parametrize(
    ("name", "key", "more"),
    [
        ("restore", "overwrite", ["input=x"]),
        ("restore", "degrade", ["input=x"]),
        ("evaluate", "overwrite", []),
        ("evaluate", "trainer.enable_progress_bar", []),
        ("evaluate", "trainer.enable_model_summary", []),
        ("sample", "overwrite", []),
        ("schedule", "overwrite", ["output=x.csv"]),
        ("import_official", "overwrite", ["output=x.ckpt"]),
        ("compare", "allow_other_data", []),
        ("train", "model.residual", []),
        ("train", "model.interpolate", []),
        ("train", "trainer.enable_progress_bar", []),
        ("train", "trainer.enable_model_summary", []),
    ],
)
def test_yes_and_no_are_true_and_false(call, name, key, more, value):
    asked = [*more, *(["checkpoint=x"] if name != "train" else [])]
    said = re.escape(value.strip("'"))
    refused(call(name, *asked, f"{key}={value}"), rf"^error: {key} must be true or false, got {said}$")


@pytest.mark.parametrize("value", ["no", "1"])
def test_the_average_is_asked_for_by_true_or_false(call, value):
    refused(call("import_official", "checkpoint=x", "output=x.ckpt", f"ema={value}"), "ema must be auto, true or false")


def test_no_is_not_yes(call, run, image_folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "05.png").write_text("precious")
    asked = [f"checkpoint={run[1]}/best.ckpt", f"input={image_folder}/05.png", "output=out"]
    refused(call("restore", *asked, "overwrite=no"), "^error: overwrite must be true or false, got no$")
    refused(call("restore", *asked, "overwrite=false"), "out/05.png exists")
    assert content(tmp_path / "out") == {"05.png": b"precious"}


def test_the_channels_of_total_variation_are_coupled_by_true_or_false():
    from diracdiff.baselines import ADMMTV

    with pytest.raises(ValueError, match="coupled must be true or false, got no"):
        ADMMTV(coupled="no")


def test_sweeps_of_one_second_have_a_folder_each(tmp_path, folder):
    """Each has one job that fails late, so that its folder stays, with its own list of failures."""
    small = [word for word in SMALL if not word.startswith("sampler.steps")]
    done = both(tmp_path, "-m", "task=inpaint", *folder, *small, *SHORT, "sampler.steps=1,0")
    assert [status for status, _ in done] == [2, 2], done
    sweeps = sorted(path for path in (tmp_path / "runs").iterdir() if path.name != "latest")
    assert [path.name for path in sweeps] == ["sweep_2020-01-01_00-00-00", "sweep_2020-01-01_00-00-00_2"]
    assert {load(sweep / "0_inpaint" / "best.ckpt").seed for sweep in sweeps} == {1, 2}
    for sweep in sweeps:
        seed = load(sweep / "0_inpaint" / "best.ckpt").seed
        (failed,) = (sweep / "failed.txt").read_text().splitlines()
        assert failed.startswith("job 1 failed (") and f"seed={seed}" in failed
