"""Training in this process: EMA, guards, checkpoints, resume, validation."""

import copy
import signal

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
    Checkpoints,
    ImageDataModule,
    Interrupted,
    Optimization,
    RestorerModule,
    StopOnSignal,
    TradeoffLog,
)
from diracdiff.utils.errors import UserError
from diracdiff.utils.files import read_rows

SIZE = 32
METRICS = [PSNR(), SSIM(), Consistency()]


def make(folder, seed=0, guidance=None, dropout=0.1, lr=1e-3, given=False):
    torch.manual_seed(seed)
    sigma = 0.02 if given else None
    process = StochasticDegradation(GaussianInpainting(LinearSeverity(0.1, 50), SIZE), GeometricNoise(), sigma)
    scales = OperatorPreconditioning(process) if given else "none"
    network = NCSNpp(8, [1, 2], 1, [1], dropout, patch=2, images=2 if given else 1)
    denoiser = Denoiser(network, process.noise, preconditioning=scales)
    module = RestorerModule(
        Restorer(process, denoiser, ReverseSampler(3, guidance=guidance)),
        MatchedLoss(given_measurement=True) if given else IncrementalReconstructionLoss(1.0),
        Optimization(lr, decay="cosine"),
        METRICS,
    )
    data = ImageDataModule(ImageFolder(str(folder), SIZE, 0.1, 0.1), batch_size=4, seed=seed, val_images=2)
    return module, data


def trainer(run_dir, *callbacks, epochs=2, **options):
    return pl.Trainer(
        default_root_dir=run_dir,
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        callbacks=[EMA(0.9), StopOnSignal(run_dir), *callbacks, Checkpoints(run_dir), TradeoffLog(run_dir)],
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
    """Do something after a number of steps."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step == self.step:
            self.action(trainer, module)


def test_a_run_leaves_its_files_and_a_usable_checkpoint(tmp_path, image_folder):
    module, data = make(image_folder)
    trainer(tmp_path).fit(module, data)
    restorer = module.restorer
    rows = read_rows(tmp_path / "tradeoff.csv")
    assert [r["t"] for r in rows if r["epoch"] == "1" and r["output"] == "mean"] == [
        "1.0",
        "0.666666667",
        "0.333333333",
    ]
    metrics = {"psnr", "ssim", "consistency", "seconds"}
    assert rows[0].keys() == {"epoch", "step", "t", "nfe", "output", "n"} | metrics
    loaded = load(tmp_path / "last.ckpt")
    assert loaded.curve == restorer.curve and loaded.stops == restorer.stops
    assert loaded.stops["lpips"] is None and loaded.stops["psnr"] is not None


def test_training_improves_on_the_measurement(tmp_path, image_folder):
    module, data = make(image_folder, dropout=0.0, lr=4e-3)
    trainer(tmp_path, epochs=12, check_val_every_n_epoch=12).fit(module, data)
    restorer = module.restorer
    measurement = next(r for r in restorer.curve if r["output"] == "iterate" and r["t"] == 1)
    assert max(r["psnr"] for r in restorer.curve) > measurement["psnr"] + 2


def test_validation_uses_the_average_and_a_checkpoint_holds_it(tmp_path, image_folder):
    seen = {}

    class Watch(Callback):
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
            seen["validated"] = [p.detach().clone() for p in module.parameters()]

    watch = Watch()
    trainer(tmp_path, watch, epochs=1).fit(*make(image_folder))
    loaded = load(tmp_path / "last.ckpt").denoiser
    for expected, validated, saved in zip(watch.average, seen["validated"], loaded.parameters(), strict=True):
        assert torch.allclose(expected, validated, atol=1e-6) and torch.equal(validated, saved)
    _, weights = state(tmp_path / "last.ckpt")
    assert any(not torch.equal(weights[k], weights[k.replace("average", "current")]) for k in weights if "average" in k)


@pytest.mark.parametrize(("at", "given"), [(2, False), (5, False), (8, False), (5, True)])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, image_folder, at, given):
    """4 batches an epoch and dropout: stopped within an epoch, and at the end of one."""
    whole, parts, resumed = (tmp_path / name for name in ("whole", "parts", "resumed"))
    trainer(whole, epochs=3).fit(*make(image_folder, given=given))
    stop = At(at, lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted):
        pl.seed_everything(5, verbose=False)
        trainer(parts, stop, epochs=3).fit(*make(image_folder, given=given))
    assert state(parts / "last.ckpt")[0] in (at, at + 1)
    pl.seed_everything(6, verbose=False)
    trainer(resumed, epochs=3).fit(*make(image_folder, given=given), ckpt_path=parts / "last.ckpt", weights_only=True)
    assert_same(whole / "last.ckpt", resumed / "last.ckpt")


@pytest.mark.parametrize("moment", ["on_train_batch_end", "on_validation_end"])
def test_what_a_resumed_run_logs_stands_at_its_step(tmp_path, image_folder, moment):
    class Stop(Callback):
        def stop(self, *_):
            signal.raise_signal(signal.SIGINT)

    class Watch(Callback):
        def __init__(self):
            self.steps = []

        def on_before_backward(self, trainer, *_):
            self.steps.append((trainer.global_step, trainer.fit_loop.epoch_loop._batches_that_stepped))

    setattr(Stop, moment, Stop.stop)
    with pytest.raises(Interrupted) as stopped:
        trainer(tmp_path / "parts", Stop()).fit(*make(image_folder))
    watch, at = Watch(), state(stopped.value.checkpoint)[0]
    resumed = trainer(tmp_path / "resumed", watch)
    resumed.fit(*make(image_folder), ckpt_path=stopped.value.checkpoint, weights_only=True)
    assert watch.steps == [(step, step) for step in range(at, resumed.global_step)]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_stop(tmp_path, image_folder, signum):
    before = signal.getsignal(signum)
    with pytest.raises(Interrupted) as stop:
        trainer(tmp_path, At(3, lambda *_: signal.raise_signal(signum))).fit(*make(image_folder))
    assert stop.value.signum == signum and load(stop.value.checkpoint)
    assert signal.getsignal(signum) == before


def test_a_gradient_that_is_not_finite_is_skipped(tmp_path, image_folder):
    restorer, data = make(image_folder)
    weights = {}

    def poison(trainer, module):
        weights["before"] = copy.deepcopy(module.state_dict())
        module.loss.look_ahead = float("nan")

    def cure(trainer, module):
        weights["after"] = copy.deepcopy(module.state_dict())
        module.loss.look_ahead = 1.0

    trainer(tmp_path, At(2, poison), At(4, cure)).fit(restorer, data)
    assert all(torch.equal(weights["before"][k], weights["after"][k]) for k in weights["before"])
    assert all(p.isfinite().all() for p in restorer.parameters())
    assert any(not torch.equal(weights["after"][k], v) for k, v in restorer.state_dict().items())


def test_divergence_ends_training_with_the_remedy(tmp_path, image_folder):
    def poison(trainer, module):
        module.loss.look_ahead = float("nan")

    with pytest.raises(UserError, match=r"training diverged: .* smaller optimizer.lr \(now 0.001\)"):
        trainer(tmp_path, At(2, poison), epochs=5).fit(*make(image_folder))


def test_rates_are_named_as_they_are_set():
    assert Optimization(1e-3).rates == "optimizer.lr (now 0.001)"
    assert Optimization(1e-3, muon_lr=0.03).rates == "optimizer.lr (now 0.001) and optimizer.muon_lr (now 0.03)"


@pytest.mark.parametrize("scaling", ["std", "error"])
def test_guidance_works_in_validation_within_and_outside_training(tmp_path, image_folder, scaling):
    module, data = make(image_folder, guidance=Guidance(scaling, 0.5))
    run = trainer(tmp_path, epochs=1)
    run.fit(module, data)
    within = without_seconds(module.restorer.curve)
    loaded = load(tmp_path / "last.ckpt")
    run.validate(RestorerModule(loaded, metrics=METRICS), data, verbose=False)
    assert without_seconds(loaded.curve) == within


def without_seconds(curve):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in curve]


def test_cosine_decay_ends_at_zero_and_needs_an_end():
    parameter = torch.nn.Parameter(torch.zeros(1))
    built = Optimization(0.1, warmup_steps=4, decay="cosine").build([parameter], lambda: 20)
    scheduler, rates = built["lr_scheduler"]["scheduler"], []
    for _ in range(20):
        rates.append(scheduler.get_last_lr()[0])
        built["optimizer"].step()
        scheduler.step()
    assert rates[0] == pytest.approx(0.02) and max(rates) == pytest.approx(0.1, rel=0.15)
    assert scheduler.get_last_lr()[0] == pytest.approx(0, abs=1e-9)
    endless = Optimization(decay="cosine").build([parameter], lambda: float("inf"))["lr_scheduler"]["scheduler"]
    with pytest.raises(UserError, match=r"needs an end: set trainer.max_steps"):
        endless.step()
