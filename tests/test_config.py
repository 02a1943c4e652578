"""Configuration: every file in conf/ composes and builds."""

import itertools
from pathlib import Path

import pytest
import torch
from conftest import ROOT, needs_lpips
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from diracdiff.checkpoints import to_recipe
from diracdiff.checkpoints.registry import from_recipe
from diracdiff.commands.build import build, build_process, build_restorer, build_sampler
from diracdiff.commands.build_training import build_data, build_metrics, build_module, build_trainer
from diracdiff.comparison.comparison import grid
from diracdiff.losses import MatchedLoss
from diracdiff.metrics import METRICS
from diracdiff.restorer import Restorer
from diracdiff.samplers import ExactLookBack, Guidance, Heun, LookAhead, LookBack, ReverseSampler
from diracdiff.training import Optimization

CONF = ROOT / "conf"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
OPTIONS = [
    (str(path.parent.relative_to(CONF)), path.stem)
    for group in GROUPS
    if group not in ("dissimilarity", "published", "baseline")  # groups of other commands
    for path in sorted((CONF / group).rglob("*.yaml"))
]


@pytest.fixture(scope="module", autouse=True)
def hydra():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(tmp_path, *overrides):
    return compose("train", [f"paths.output_dir={tmp_path}", *overrides])


def selected(group, option):
    """Return an option as an override. The groups callbacks, metrics and baseline take lists."""
    return f"[{option}]" if group in ("callbacks", "metrics", "baseline") else option


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=["/".join(o) for o in OPTIONS])
def test_every_option_builds(tmp_path, image_folder, monkeypatch, group, option):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    if (group, option) in (("sampler", "checkpoint"), ("sampler/increment", "network")):
        pytest.skip("needs a checkpoint: tests/test_methods.py")
    if (group, option) == ("task", "pmrf"):
        pytest.skip("needs a checkpoint: tests/test_pmrf.py")
    if group == "logger" and option in ("aim", "mlflow"):
        pytest.importorskip(option)
    needed = {
        ("schedule", "none"): ["task=denoise"],
        ("model", "dncnn"): ["method=paper"],
        ("schedule/noise", "log_logistic"): ["task=prior"],
        ("schedule", "tabulated"): ["schedule.severity.path=published_blur"],
        ("sampler/grid", "adaptive"): [f"sampler.grid.path={tmp_path}/times.csv"],
        ("data", "huggingface"): [f"data.path={image_folder}"],
        **{("sampler", name): [f"experiment={name}"] for name in TRAINED_BRIDGES},
        ("task", "custom"): ["task.degradation._target_=diracdiff.degradations.BoxInpainting"],
    }
    (tmp_path / "times.csv").write_text("t,value\n0,0\n0.5,0.2\n1,1\n")
    overrides = [f"{group}={selected(group, option)}", *needed.get((group, option), [])]
    cfg = composed(tmp_path, *overrides)
    if OmegaConf.is_missing(cfg.data, "root"):
        cfg.data.root = str(image_folder)
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    if group == "model":
        with torch.device("meta"):
            build(cfg.model.network)
    cfg.model.network.channels = 8
    restorer = build_restorer(cfg)
    recipe = to_recipe(restorer)
    assert to_recipe(Restorer.from_recipe(recipe)) == recipe
    module = build_module(cfg, restorer)
    assert to_recipe(from_recipe(to_recipe(module.loss))) == to_recipe(module.loss)
    settings = to_recipe(module.optimization)
    assert to_recipe(Optimization(**{key: settings[key] for key in settings if key != "_target_"})) == settings
    build_data(cfg)
    if cfg.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"^trainer: .*gpu"):
            build_trainer(cfg)
    elif group in ("trainer", "callbacks", "logger", "experiment"):
        assert Path(build_trainer(cfg).default_root_dir) == tmp_path


@pytest.mark.parametrize(
    ("task", "start", "end", "look_ahead"),
    [
        ("deblur", 0.3, 3.0, 0.0),
        ("inpaint", 0.1, 50.0, 1.0),
        ("inpaint_box", 0.0, 128.0, 1.0),
        ("super_resolution", 1.0, 4.0, 0.0),
        ("motion_deblur", 0.0, 40.0, 0.0),
        ("dequantise", 1.0, 8.0, 0.0),
        ("mri", 0.0, 0.75, 1.0),
    ],
)
def test_a_task_sets_its_schedule_and_loss(tmp_path, task, start, end, look_ahead):
    cfg = composed(tmp_path, f"task={task}", "method=paper")
    severity = build_process(cfg).degradation.severity
    assert severity(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([start, end])
    assert cfg.loss.look_ahead == look_ahead


@needs_lpips
@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF / "metrics").glob("*.yaml")))
def test_every_metric_builds(tmp_path, torch_home, option):
    for command in ("train", "evaluate", "compare"):
        required = [f"paths.output_dir={tmp_path}"] if command == "train" else ["checkpoint=x"]
        (metric,) = build_metrics(compose(command, [*required, f"metrics=[{option}]", "fid=squeezenet"]))
        assert type(metric) in METRICS and metric.name.startswith(option)


@needs_lpips
def test_metrics_have_the_order_of_the_tables(tmp_path, torch_home):
    built = build_metrics(composed(tmp_path, "fid=squeezenet", "metrics=[consistency,kid,fid,swd,lpips,ssim,psnr]"))
    assert [type(metric) for metric in built] == [kind for kind in METRICS if kind in {type(m) for m in built}]
    assert len(built) == 7


def test_a_metric_without_weights_is_skipped(tmp_path, without_weights, capsys):
    built = build_metrics(composed(tmp_path, "metrics=[psnr,lpips]", "lpips=alex"))
    assert [metric.name for metric in built] == ["psnr"]
    assert "LPIPS is left out" in capsys.readouterr().err


METHODS = sorted(path.stem for path in (CONF / "baseline").glob("*.yaml"))
TRAINED_BRIDGES = ("i2sb", "indi", "palette")


@pytest.mark.parametrize("name", METHODS)
def test_every_comparison_method_builds_with_every_setting(name):
    cfg = compose("compare", [f"baseline=[{name}]", "checkpoint=x"])
    node = cfg.baseline[name]
    messages = {"regression": "regression=", "pmrf": "regression=", "pnp_admm_dncnn": "dncnn="}
    messages |= dict.fromkeys(TRAINED_BRIDGES, "method.checkpoint=null")
    if name in messages:
        with pytest.raises(ValueError, match=messages[name]):
            build(node.method)
        return
    for setting in grid(OmegaConf.to_container(node).get("search") or {}, 100):
        method = build(node.method, **setting)
        assert {key: getattr(method, key) for key in setting} == setting


def test_a_comparison_includes_all_methods_without_a_checkpoint():
    trained = {"regression", "pmrf", "pnp_admm_dncnn", *TRAINED_BRIDGES}
    assert set(compose("compare", ["checkpoint=x"]).baseline) == {*METHODS} - trained


def test_the_command_line_overrides_the_task(tmp_path):
    cfg = composed(tmp_path, "task=deblur", "schedule=linear", "loss=clean_image", "schedule/noise=constant")
    process = build_process(cfg)
    assert process.degradation.severity(torch.tensor(0.5)).item() == pytest.approx(1.65)
    assert process.noise(torch.tensor(0.5)).item() == pytest.approx(0.05)
    assert cfg.loss.look_ahead == 1.0


def test_an_experiment_overrides_other_options(tmp_path):
    """The result does not depend on the order of overrides on the command line."""
    for task in (["experiment=regression", "task=inpaint"], ["task=inpaint", "experiment=regression"]):
        assert composed(tmp_path, *task).task.t_range == [1.0, 1.0] and composed(tmp_path, *task).task.name == "inpaint"
    for name in ("paper", *(path.stem for path in (CONF / "experiment").glob("*_*.yaml"))):
        cfg = composed(tmp_path, f"experiment={name}")
        assert cfg.data.batch_size == 32 and cfg.lpips == "vgg"
        experiment = OmegaConf.load(CONF / "experiment" / f"{name}.yaml")
        del experiment["defaults"]
        assert OmegaConf.merge(cfg, experiment) == cfg
    assert composed(tmp_path, "task=pmrf").task.t_range == [0.001, 1.0]
    assert composed(tmp_path, "experiment=paper", "data.batch_size=4").data.batch_size == 4


def test_the_average_is_updated_before_checkpoints_are_saved(tmp_path):
    callbacks = list(composed(tmp_path).callbacks)
    assert callbacks.index("ema") < callbacks.index("last")


def test_the_network_is_conditioned_on_the_measurement_for_diagonal_operators(tmp_path):
    for task in ("deblur", "inpaint", "inpaint_box", "super_resolution", "mri"):
        cfg = composed(tmp_path, f"task={task}")
        assert cfg.model.condition_on_measurement and cfg.model.preconditioning == "operator"
        assert isinstance(build(cfg.loss), MatchedLoss)
    for task in ("motion_deblur", "dequantise", "denoise", "denoise_fixed", "prior"):
        cfg = composed(tmp_path, f"task={task}")
        assert not cfg.model.condition_on_measurement and cfg.model.preconditioning in ("none", "edm")
    with pytest.raises(
        ValueError, match=r"^model\.preconditioning=operator: .*MotionBlur does not have. Use .*method=paper"
    ):
        build_restorer(composed(tmp_path, "task=motion_deblur", "method=posterior"))
    with pytest.raises(ValueError, match=r"^output_type=mean: must be one of x_hat, iterate"):
        build_restorer(composed(tmp_path, "output_type=mean"))


def test_settings_of_the_paper(tmp_path):
    for task, data in itertools.product(("deblur", "inpaint"), ("celebahq", "imagenet")):
        cfg = composed(tmp_path, f"experiment={task}_{data}", "data.root=x")
        assert (cfg.data.image_size, cfg.optimizer.lr, cfg.optimizer.decay) == (256, 1e-4, "none")
        assert cfg.loss.look_ahead == (1.0 if task == "inpaint" else 0.0)
        assert cfg.sampler.eta == 1.0
        assert (cfg.model.preconditioning, cfg.model.conditioning) == ("none", "sigma")
        assert not cfg.model.condition_on_measurement


@pytest.mark.parametrize(
    ("name", "steps", "target", "increment", "guidance", "output"),
    [
        ("deblur_celebahq_po", 50, "t:0.25", LookAhead, ("std", 0.5), "x_hat"),
        ("deblur_celebahq_do", 50, "t:1", LookAhead, ("std", 0.5), "x_hat"),
        ("deblur_imagenet_po", 50, "t:0", LookBack, ("std", 0.2), "x_hat"),
        ("deblur_imagenet_do", 50, "t:0.7", LookBack, ("std", 1.5), "x_hat"),
        ("inpaint_celebahq_po", 200, "t:0", LookAhead, ("error", 1.0), "iterate"),
        ("inpaint_celebahq_do", 5, "t:1", LookAhead, None, "x_hat"),
        ("inpaint_imagenet_po", 100, "t:0", LookAhead, None, "iterate"),
        ("inpaint_imagenet_do", 100, "t:1", LookAhead, None, "x_hat"),
    ],
)
def test_published_samplers(name, steps, target, increment, guidance, output):
    current = ReverseSampler(7, increment=ExactLookBack(), guidance=Guidance("error", 9.0), eta=0.0)
    for command in ("evaluate", "restore"):
        cfg = compose(command, [f"published={name}", "checkpoint=x"])
        sampler = build_sampler(cfg.sampler, current)
        assert (sampler.num_steps, cfg.target, cfg.output_type, sampler.eta) == (steps, target, output, 1.0)
        assert type(sampler.increment) is increment
        parts = sampler.guidance and (sampler.guidance.scaling, sampler.guidance.step)
        assert parts == guidance


def test_the_sampler_of_the_checkpoint_is_the_default():
    current = ReverseSampler(7, increment=ExactLookBack(), guidance=Guidance("error", 9.0), t_start=0.9, sigma=0.01)
    assert to_recipe(build_sampler(compose("evaluate", ["checkpoint=x"]).sampler, current)) == to_recipe(current)
    whole = build_sampler(compose("evaluate", ["checkpoint=x", "sampler=heun"]).sampler, current)
    assert (type(whole.solver), whole.num_steps, whole.guidance) == (Heun, 10, None)


def test_the_keys_of_the_wandb_sweep_exist(tmp_path):
    sweep = OmegaConf.to_container(OmegaConf.load(ROOT / "sweeps" / "wandb.yaml"), resolve=False)
    values = {
        key: values.get("value", values.get("min", values.get("values"))) for key, values in sweep["parameters"].items()
    }
    overrides = {key: value[0] if isinstance(value, list) else value for key, value in values.items()}
    cfg = composed(tmp_path, *(f"{key}={value}" for key, value in overrides.items()))
    assert cfg.optimizer.muon_lr == overrides["optimizer.muon_lr"]
    assert sweep["metric"] == {"name": "val/psnr", "goal": "maximize"}
