"""What must agree before a training goes on from a checkpoint."""

from diracdiff.errors import UserError
from diracdiff.restorer import Restorer
from diracdiff.storage import Checkpoint, completed, to_recipe


def check_same(restorer: Restorer, checkpoint: Checkpoint, name: str) -> None:
    """Refuse to go on from a checkpoint of another process or denoiser, or of weights alone.

    Args:
        restorer: that is to be trained.
        checkpoint: to go on from.
        name: its path, for messages.

    Raises:
        UserError: naming what differs.
    """
    if not checkpoint.resumable:
        raise UserError(
            f"checkpoint={name} holds weights but no training to go on with: give a last.ckpt of diracdiff.train"
        )
    ours, theirs = to_recipe(restorer), completed(checkpoint.recipe)
    pairs = {"process": (ours["process"], theirs.get("process"))}
    pairs |= {key: (ours["denoiser"][key], theirs["denoiser"].get(key)) for key in ours["denoiser"]}
    for part, (our, their) in pairs.items():
        if our != their:
            raise UserError(
                f"checkpoint={name} was trained with another {part}: give the command that made it, "
                "with checkpoint=… added; to a command of an earlier version also add method=paper"
            )
