"""Pack a data set: `diracdiff pack data=folder data.root=photos/ output=packed`, for `data=huggingface`."""

import os
from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.errors import echo


@command
def pack(cfg: DictConfig) -> None:
    """Write the cropped and resized images of a data set to a folder in the format of Hugging Face `datasets`."""
    from diracdiff.commands.build import build
    from diracdiff.data.datasets import SPLITS
    from diracdiff.data.packing import pack as pack_data_set
    from diracdiff.utils.validate import check_count

    check_count(cfg.num_workers, "num_workers", 0)
    names, output = list(cfg.splits or []), Path(cfg.output)
    if not names or set(names) - set(SPLITS) or len(set(names)) < len(names):
        raise ValueError(f"splits={names}: must be some of {', '.join(SPLITS)}, each once. Try splits=[train,val].")
    if os.path.lexists(output):
        raise ValueError(f"output={output}: exists. Give another folder, or remove it.")
    counts = pack_data_set(build(cfg.data), names, output, cfg.num_workers)
    packed = ", ".join(f"{count} {name}" for name, count in counts.items())
    size = cfg.data.image_size
    echo(f"packed {packed} images: data=huggingface data.path={output} data.image_size={size}")


if __name__ == "__main__":
    pack()
