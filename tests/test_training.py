"""Training: weight average, divergence, printed lines, resumed runs and validation."""

import copy
import re

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from diracdiff.data import ImageFolder
from diracdiff.degradations import GaussianInpainting, LinearSeverity
from diracdiff.losses import IncrementalReconstructionLoss, MatchedLoss
from diracdiff.metrics import PSNR, SSIM, Consistency
from diracdiff.models import Denoiser, NCSNpp, OperatorPreconditioning
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer, load
from diracdiff.samplers import Guidance, ReverseSampler
from diracdiff.training import (
    EMA,
    ImageDataModule,
    LastCheckpoint,
    Optimization,
    Progress,
    RestorerModule,
    TradeoffLog,
)
from diracdiff.utils.files import read_rows

SIZE = 32
METRICS = [PSNR(), SSIM(), Consistency()]


def make(folder, seed=0, guidance=None, dropout=0.1, lr=1e-3, conditioned=False, decay="cosine"):
    torch.manual_seed(seed)
    sigma = 0.02 if conditioned else None
    process = StochasticDegradation(GaussianInpainting(LinearSeverity(0.1, 50), SIZE), GeometricNoise(), sigma)
    scales = OperatorPreconditioning() if conditioned else "none"
    network = NCSNpp(8, [1, 2], 1, [1], dropout, patch=2, images=2 if conditioned else 1)
    denoiser = Denoiser(network, preconditioning=scales)
    module = RestorerModule(
        Restorer(process, denoiser, ReverseSampler(3, guidance=guidance)),
        MatchedLoss(condition_on_measurement=True) if conditioned else IncrementalReconstructionLoss(1.0),
        Optimization(lr, decay=decay),
        METRICS,
    )
    data = ImageDataModule(ImageFolder(str(folder), SIZE, 0.1, 0.1), batch_size=4, seed=seed, val_images=2)
    return module, data


def trainer(output_dir, *callbacks, epochs=2, every_n_steps=None, **options):
    last = LastCheckpoint(output_dir, every_n_steps=every_n_steps)
    return pl.Trainer(
        default_root_dir=output_dir,
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        callbacks=[EMA(0.9), *callbacks, last, TradeoffLog(output_dir)],
        inference_mode=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def state(path):
    checkpoint = torch.load(path, weights_only=True)
    weights = {f"average.{k}": v for k, v in checkpoint["state_dict"].items()}
    weights |= {f"current.{k}": v for k, v in checkpoint["current_model_state"].items()}
    for i, moments in checkpoint["optimizer_states"][0]["state"].items():
        weights |= {f"adam.{i}.{k}": v for k, v in moments.items()}
    return checkpoint["global_step"], weights


def assert_same(a, b):
    (step_a, a), (step_b, b) = state(a), state(b)
    assert step_a == step_b and a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a), [key for key in a if not torch.equal(a[key], b[key])]


class At(Callback):
    """Callback that runs an action after a number of steps."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step == self.step:
            self.action(trainer, module)


class Killed(BaseException):
    """Simulates SIGKILL."""


def kill(*_):
    raise Killed


def test_a_run_writes_its_files_and_a_usable_checkpoint(tmp_path, image_folder):
    module, data = make(image_folder)
    trainer(tmp_path).fit(module, data)
    restorer = module.restorer
    rows = read_rows(tmp_path / "tradeoff.csv")
    times = [r["t"] for r in rows if r["epoch"] == "1" and r["output"] == "x_hat"]
    assert times == ["1.0", "0.666666667", "0.333333333"]
    metrics = {"psnr", "ssim", "consistency", "seconds"}
    assert rows[0].keys() == {"epoch", "step", "t", "nfe", "output", "n"} | metrics
    loaded = load(tmp_path / "last.ckpt")
    assert loaded.curve == restorer.curve and loaded.stopping_points == restorer.stopping_points
    assert loaded.stopping_points["lpips"] is None and loaded.stopping_points["psnr"] is not None


def test_training_improves_on_the_measurement(tmp_path, image_folder):
    module, data = make(image_folder, dropout=0.0, lr=4e-3)
    trainer(tmp_path, epochs=12, check_val_every_n_epoch=12).fit(module, data)
    restorer = module.restorer
    measurement = next(r for r in restorer.curve if r["output"] == "iterate" and r["t"] == 1)
    assert max(r["psnr"] for r in restorer.curve) > measurement["psnr"] + 2


def test_validation_and_checkpoint_use_the_average(tmp_path, image_folder):
    parameters_at = {}

    class Tracker(Callback):
        average = None

        def on_train_batch_end(self, trainer, module, *_):
            n = trainer.global_step - 1
            current = [p.detach().clone() for p in module.parameters()]
            if n == 0:
                self.average = current
            else:
                decay = min(0.9, (1 + n) / (10 + n))
                self.average = [decay * a + (1 - decay) * c for a, c in zip(self.average, current, strict=True)]

        def on_validation_batch_start(self, trainer, module, *_):
            parameters_at["validated"] = [p.detach().clone() for p in module.parameters()]

    tracker = Tracker()
    trainer(tmp_path, tracker, epochs=1).fit(*make(image_folder))
    loaded = load(tmp_path / "last.ckpt").denoiser
    for expected, validated, saved in zip(
        tracker.average, parameters_at["validated"], loaded.parameters(), strict=True
    ):
        assert torch.allclose(expected, validated, atol=1e-6) and torch.equal(validated, saved)
    _, weights = state(tmp_path / "last.ckpt")
    assert any(not torch.equal(weights[k], weights[k.replace("average", "current")]) for k in weights if "average" in k)


RESUMED = {
    "within an epoch, conditioned on the measurement": ([3], {}, True),
    "at both ends of an epoch, and before the last batch": ([5, 6, 10, 11], {}, False),
    "twice within an epoch": ([3, 4], {"limit_train_batches": 4, "check_val_every_n_epoch": 2}, False),
    "with accumulated gradients and validations within epochs": (
        [2, 3, 5],
        {"accumulate_grad_batches": 2, "val_check_interval": 2},
        False,
    ),
}


@pytest.mark.parametrize("kind", RESUMED)
def test_a_killed_run_resumes_bitwise_equal(tmp_path, image_folder, kind):
    """Train with five batches per epoch, dropout, and a checkpoint after every step."""
    steps, options, conditioned = RESUMED[kind]
    trainer(tmp_path / "whole", epochs=3, **options).fit(*make(image_folder, conditioned=conditioned))
    path = None
    for seed, step in enumerate(steps):
        pl.seed_everything(seed, verbose=False)
        with pytest.raises(Killed):
            killed = trainer(tmp_path / "parts", At(step, kill), epochs=3, every_n_steps=1, **options)
            killed.fit(*make(image_folder, conditioned=conditioned), ckpt_path=path, weights_only=True)
        path = tmp_path / "parts" / "last.ckpt"
        assert state(path)[0] == step - 1
    trainer(tmp_path / "parts", epochs=3, **options).fit(
        *make(image_folder, conditioned=conditioned), ckpt_path=path, weights_only=True
    )
    assert_same(tmp_path / "whole" / "last.ckpt", tmp_path / "parts" / "last.ckpt")


def test_a_stopped_or_extended_run_resumes_bitwise_equal(tmp_path, image_folder):
    trainer(tmp_path / "whole", epochs=3).fit(*make(image_folder, decay="none"))
    stop = At(7, lambda trainer, _: setattr(trainer, "should_stop", True))
    trainer(tmp_path / "parts", stop, epochs=3).fit(*make(image_folder, decay="none"))
    path = tmp_path / "parts" / "last.ckpt"
    assert state(path)[0] == 7
    for epochs in (2, 3):
        trainer(tmp_path / "parts", epochs=epochs).fit(
            *make(image_folder, decay="none"), ckpt_path=path, weights_only=True
        )
        assert state(path)[0] == 5 * epochs
    assert_same(tmp_path / "whole" / "last.ckpt", path)


def test_steps_with_nan_gradients_are_skipped_and_ten_in_a_row_stop_training(tmp_path, image_folder, capsys):
    module, data = make(image_folder)
    weights = {}

    def set_nan(trainer, module):
        weights[trainer.global_step] = copy.deepcopy(module.state_dict())
        module.loss.look_ahead = float("nan")

    def reset(trainer, module):
        weights[trainer.global_step] = copy.deepcopy(module.state_dict())
        module.loss.look_ahead = 1.0

    with pytest.raises(ValueError, match=r"training diverged: .* smaller optimizer.lr"):
        trainer(tmp_path, At(2, set_nan), At(4, reset), At(6, set_nan), epochs=5).fit(module, data)
    assert all(torch.equal(weights[2][k], weights[4][k]) for k in weights[2])
    assert any(not torch.equal(weights[4][k], weights[6][k]) for k in weights[4])
    assert all(p.isfinite().all() for p in module.parameters())
    assert capsys.readouterr().err.count("is skipped: the gradient norm is nan") == 2


def test_guidance_works_in_validation_within_and_outside_training(tmp_path, image_folder):
    module, data = make(image_folder, guidance=Guidance("error", 0.5))
    run = trainer(tmp_path, epochs=1)
    run.fit(module, data)
    within = without_seconds(module.restorer.curve)
    loaded = load(tmp_path / "last.ckpt")
    run.validate(RestorerModule(loaded, metrics=METRICS), data, verbose=False)
    assert without_seconds(loaded.curve) == within


def without_seconds(curve):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in curve]


def test_printed_lines_of_a_run(image_folder, tmp_path, capsys):
    module, data = make(image_folder)
    trainer(tmp_path, Progress(), epochs=1, limit_train_batches=3).fit(module, data)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "3 steps, 20 images of 32 px, 1 process(es)"
    assert re.fullmatch(r"validation after step 3: best PSNR [\d.]+ at t = [\d.]+", lines[-1])


def test_the_fraction_at_the_last_time_is_interpolated_over_the_run(tmp_path, image_folder):
    module, data = make(image_folder)
    module = RestorerModule(module.restorer, prob_terminal=[0.75, 0.25])
    fractions = []
    degrade = module.degrade
    module.degrade = lambda *args: (fractions.append(module.terminal_probability()), degrade(*args))[1]
    trainer(tmp_path).fit(module, data)
    expected = [0.75 - 0.5 * step / len(fractions) for step in range(len(fractions))]
    assert len(fractions) > 2 and fractions == pytest.approx(expected)
    for bad in ([0.1, 0.2, 0.3], [0.5, 2.0], "all"):
        with pytest.raises(ValueError, match="prob_terminal="):
            RestorerModule(module.restorer, prob_terminal=bad)
