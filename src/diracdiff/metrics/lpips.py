"""LPIPS, learned perceptual image patch similarity."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor

from diracdiff.metrics.metric import ImageMetric, Metric, Missing, Reference
from diracdiff.utils.downloads import checkpoints, fetched, first_line
from diracdiff.utils.errors import UserError, warn

BACKBONES = {
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
}
"""The file of weights of each backbone."""

MODELS = {"squeeze": "SqueezeNet1_1", "alex": "AlexNet", "vgg": "VGG16"}
"""The network of each backbone in torchvision."""

SMALLEST = {"squeeze": 17, "alex": 31, "vgg": 16}
"""Images that pass a backbone, in pixels a side."""


class LPIPS(ImageMetric):
    """LPIPS (Zhang et al. 2018) of clipped images.

    It is named by its backbone, `lpips_squeeze` say, because values of different backbones do not compare.

    Args:
        backbone: "squeeze", "alex" or "vgg" (the paper's).

    Raises:
        UserError: if there is no such backbone, or its weights are missing and cannot be downloaded.
    """

    title, higher_is_better = "LPIPS", False
    target, abbreviation, depends_on = "lpips", "PO", "the backbone of LPIPS"

    def __init__(self, backbone: str = "squeeze"):
        check_backbone(backbone)
        self.backbone, self.name = backbone, f"lpips_{backbone}"
        self._network = load_lpips(backbone)

    @classmethod
    def if_available(cls, backbone: str | None) -> Metric | None:
        """The metric; None where no backbone is asked for; `Missing`, with one warning, where its weights are missing.

        Raises:
            UserError: if there is no such backbone.
        """
        if backbone is None:
            return None
        check_backbone(backbone)
        return _available(backbone, torch.hub.get_dir())

    @property
    def label(self) -> str:
        return f"LPIPS ({self.backbone}), lower is better"

    def check_size(self, side: int) -> None:
        if side < SMALLEST[self.backbone]:
            raise UserError(
                f"LPIPS with the backbone {self.backbone} needs images of at least {SMALLEST[self.backbone]} pixels a "
                f"side, got {side}: use larger ones, or lpips=null"
            )

    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        network = self._network.to(images.device)
        if self.name not in reference.kept:
            reference.kept[self.name] = features(network, reference.clean.float())
        found = zip(network.lins, features(network, images.clamp(0, 1)), reference.kept[self.name], strict=True)
        values = torch.zeros(len(images), device=images.device)
        for weigh, restored, clean in found:
            values = values + weigh((restored - clean) ** 2).mean((2, 3)).flatten()
        return values


def features(network: Any, images: Tensor) -> list[Tensor]:
    """What LPIPS compares of images in [0, 1], (B, 3, H, W): unit features of every layer, (B, D, h, w) each."""
    from lpips import normalize_tensor

    return [normalize_tensor(layer) for layer in network.net(network.scaling_layer(2 * images - 1))]


def check_backbone(backbone: str) -> None:
    """Raise UserError unless there is such a backbone."""
    if backbone not in BACKBONES:
        raise UserError(f"lpips must be one of {sorted(BACKBONES)} or null, got {backbone!r}")


@functools.cache
def _available(backbone: str, folder: str) -> Metric:
    """One for each folder of weights, so that there is one warning."""
    try:
        return LPIPS(backbone)
    except UserError as error:
        warn(f"LPIPS is left out: {error}. Without LPIPS there is no t_PO.")
        return Missing(LPIPS, f"lpips_{backbone}")


def load_lpips(backbone: str) -> Any:
    """Return the LPIPS network with a backbone of BACKBONES, frozen, for images in [-1, 1].

    The backbone's weights are read as plain tensors: a pickle in their place is refused, not run.

    Raises:
        UserError: if the backbone's weights are missing and cannot be downloaded, or the file holds something else.
    """
    from lpips import LPIPS as Network
    from torchvision.models import get_weight

    file, enumeration = BACKBONES[backbone], f"{MODELS[backbone]}_Weights.IMAGENET1K_V1"
    try:
        path = fetched(get_weight(enumeration).url)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the weights of LPIPS' backbone {backbone!r} are missing and cannot be downloaded ({first_line(error)}). "
            f"Connect once, or copy {file} into {checkpoints()}"
        ) from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pretrained.*|.*weight enum.*")
        network = Network(net=backbone, pnet_rand=True, verbose=False)
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        network.net.load_state_dict({name: weights[trunk(name)] for name in network.net.state_dict()})
    except Exception as error:  # of a parser of untrusted bytes, whatever it raises
        raise UserError(
            f"{path} does not hold the weights of LPIPS' backbone {backbone!r}: replace it with torchvision's {file}"
        ) from error
    return network.eval().requires_grad_(False)


def trunk(name: str) -> str:
    """Return the name that torchvision has for a tensor of LPIPS' trunk, "features.3.weight" for "slice2.3.weight"."""
    return f"features.{name.partition('.')[2]}"
