"""Commands of several processes that are started from outside."""

from conftest import SMALL, begin, refused

from diracdiff.restorer import load

TWO = ["task=inpaint", "trainer=ddp", "trainer.devices=2", "loader.batch_size=2", "metrics=[psnr]", "lpips=null"]


def test_processes_from_outside_need_a_folder(folder, call, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused(call("train", *folder, *SMALL, *TWO), "hydra.run.dir: must be given")


def test_torchrun_trains(tmp_path, folder):
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "diracdiff", "train"]
    short = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "hydra.run.dir=run"]
    process = begin("-m", *torchrun, *folder, *SMALL, *TWO, *short, cwd=tmp_path)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert load(tmp_path / "run" / "best.ckpt").stops["psnr"] and (tmp_path / "run" / "summary.json").exists()
