"""Pack a data set: `python -m diracdiff pack dataset=folder dataset.root=photos/ output=packed`; use dataset=packed."""

from pathlib import Path

from omegaconf import DictConfig

from diracdiff.commands.command import command
from diracdiff.utils.console import track
from diracdiff.utils.errors import UserError, say


def pack(cfg: DictConfig) -> None:
    """Write the images of a data set, as it serves them, into one file per split."""
    from diracdiff.commands.builders.build import build, plain
    from diracdiff.data import Packed
    from diracdiff.data.datasets import SPLITS
    from diracdiff.data.listing import check_root
    from diracdiff.data.packing import Packer
    from diracdiff.utils.files import check_not_input, check_output
    from diracdiff.utils.validate import check_count

    check_count(cfg.num_workers, "num_workers", 0)
    names = list(cfg.splits or [])
    if not names or set(names) - set(SPLITS) or len(set(names)) < len(names):
        raise UserError(f"splits must be some of {', '.join(SPLITS)}, each once, got {names}: try splits=[train,val]")
    folder, node, dataset = Path(cfg.output), plain(cfg.dataset), build(cfg.dataset)
    if node.get("root"):
        root = check_root(node["root"])
        for array in ("", *(f"{name}.npy" for name in names)):
            check_not_input("output", folder / array, "dataset.root", root / array)
        node["root"] = str(root.absolute())
    check_output(folder, [], cfg.overwrite)
    splits = {name: dataset.split(name) for name in names}
    skip = node.pop("on_error", "error") == "skip"
    source = {key: value for key, value in node.items() if key not in ("decoder", "max_pixels")}
    packer = Packer(folder, splits, source, cfg.num_workers, skip)
    use = f"dataset=packed dataset.root={folder} dataset.image_size={packer.size}"
    if packer.is_complete(cfg.overwrite):
        for name in names:
            Packed(folder, packer.size, verify=True).split(name)
        say(f"{folder} is packed already, and every image is as it was written: {use}")
        return
    done = packer.pack(cfg.overwrite, track)
    left_out = sum(len(progress.skipped) for progress in done.values())
    packed = ", ".join(f"{len(progress.crc32)} {name}" for name, progress in done.items())
    say(f"packed {packed} images{f', skipped {left_out} that cannot be read' * bool(left_out)}: {use}")


main = command(pack)

if __name__ == "__main__":
    main()
