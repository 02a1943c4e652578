"""Import the authors' weights: `python -m diracdiff.import_official checkpoint=theirs.ckpt output=ours.ckpt`."""

from argparse import Namespace
from pathlib import Path, PosixPath
from typing import Any

from omegaconf import DictConfig, OmegaConf

from diracdiff.cli import check_boolean, check_number, command
from diracdiff.errors import UserError

GIVEN = ("operator", "severity", "sigma_min", "sigma_max")
STEPS = {"deblur": 50, "inpaint": 100}  # of the paper's walks
WANTED = "one that the authors of DiracDiffusion released"

# What their files may hold besides weights and plain containers: these classes only store what they are given.
HARMLESS = (Namespace, (PosixPath, "pathlib.PosixPath"), (PosixPath, "pathlib._local.PosixPath"))


def import_official(cfg: DictConfig) -> None:
    """Write one of the authors' checkpoints as one of ours."""
    import torch

    from diracdiff import official
    from diracdiff.checkpoint import read_weights
    from diracdiff.files import replacing
    from diracdiff.losses import IncrementalReconstructionLoss
    from diracdiff.models import NCSNpp
    from diracdiff.restorer import Restorer
    from diracdiff.samplers import ReverseSampler

    given = _check(cfg)
    theirs = read_weights(cfg.checkpoint, WANTED, safe=HARMLESS, mmap=True)
    if not isinstance(theirs, dict):
        raise UserError(f"checkpoint={cfg.checkpoint} is of another kind: give {WANTED}")
    hyper = official.hyper_parameters(theirs)
    name, settled = official.architecture(hyper), official.settle(hyper, given)
    image_size, arguments = (official.ARCHITECTURES[name][key] for key in ("image_size", "network"))
    process = official.build_process(settled, image_size)
    weights, which = official.network_weights(theirs, cfg.ema)
    with torch.device("meta"):
        network = NCSNpp(**arguments)
    state = official.translate(weights, network, image_size)
    look_ahead = official.look_ahead(hyper)
    restorer = Restorer(
        process,
        network,
        IncrementalReconstructionLoss(look_ahead or 0.0),
        ReverseSampler(steps=STEPS[settled["operator"]]),
        conditioning=official.conditioning(hyper),
        residual=bool(hyper.get("residual_prediction", True)),
        name=settled["operator"],
    )
    ours = {"state_dict": {f"denoiser.network.{key}": value for key, value in state.items()}}
    restorer.on_save_checkpoint(ours)
    with replacing(cfg.output) as file:
        torch.save(ours, file)

    parameters = sum(p.numel() for p in network.parameters())
    loss = "its look-ahead is unknown, taken as 0" if look_ahead is None else f"look-ahead {look_ahead:g}"
    print(f"imported: {name}, {parameters:,} parameters, {which}")
    print(f"task: {settled['operator']} at {image_size} px, severity {_words(settled['severity'])}")
    print(f"noise: sigma {_words([process.noise.sigma_min, process.noise.sigma_max])}")
    print(
        f"denoiser: told {restorer.conditioning}, residual={restorer.residual}; loss {hyper.get('loss_type')}: {loss}"
    )
    print(f"written: {cfg.output}")
    print("its stopping times are unknown; find them with")
    print(f"  python -m diracdiff.evaluate checkpoint={cfg.output} split=val dataset=… tuned=tuned.ckpt")


def _check(cfg: DictConfig) -> dict[str, Any]:
    """Refuse keys that break their rule; return what the user says of the operator and the noise."""
    from diracdiff.files import check_not_input, check_output

    output = Path(cfg.output)
    if output.suffix != ".ckpt" or output.is_dir():
        raise UserError(f"output must be the path of a .ckpt file, got {output}")
    check_boolean("overwrite", cfg.overwrite)
    check_not_input("output", output, "checkpoint", cfg.checkpoint)
    check_output(output.parent, [output], cfg.overwrite)
    if cfg.ema != "auto" and not isinstance(cfg.ema, bool):
        raise UserError(f"ema must be auto, true or false, got {cfg.ema}")
    check_number("sigma_min", cfg.sigma_min, 0, 1, float)
    check_number("sigma_max", cfg.sigma_max, 0, 1, float)
    return {key: OmegaConf.to_container(cfg)[key] for key in GIVEN}


def _words(values: str | list[float]) -> str:
    return values if isinstance(values, str) else "{:g} to {:g}".format(*values)


main = command("import_official")(import_official)

if __name__ == "__main__":
    main()
