"""The networks whose features metrics of sets compare."""

import functools
import hashlib
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diracdiff.utils.downloads import checkpoints, fetched, first_line
from diracdiff.utils.errors import UserError
from diracdiff.utils.pixels import from_pixels, to_pixels
from diracdiff.utils.validate import check_images

# The name that torch-fidelity has for the network, and its layer that is compared.
NETWORKS = {
    "inception": ("inception-v3-compat", "2048"),
    "squeezenet": ("diracdiff-squeezenet1_1", "512"),
}
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SQUEEZENET_SIDE = 17


class Extractor:
    """The network whose features FID and KID compare.

    "inception" is torch-fidelity's Inception, 2048 features of images resized to 299 px: the FID and KID of the
    literature. Its file must be the published one, by SHA-256. "squeezenet" is the trunk of torchvision's
    SqueezeNet 1.1, its 512 last features averaged over the image, which keeps its size: a file of 5 MB and fast on
    a CPU, but its numbers compare among themselves only, at one image size. So every number carries the name of its
    network, and where the weights are missing there is none.

    Args:
        name: "inception" or "squeezenet".
        weights: its file of weights, or None for the one in torch hub's folder, downloaded if it is not there.

    Raises:
        UserError: if there is no such network, or its weights are missing and cannot be downloaded.
    """

    def __init__(self, name: str, weights: str | Path | None = None):
        if name not in NETWORKS:
            raise UserError(f"fid must be one of {sorted(NETWORKS)} or null, got {name!r}")
        self.name, self.weights = name, weights
        self._network = _load(name, _weights_file(name, weights))

    def features(self, images: Tensor) -> Tensor:
        """Features of images in [0, 1], (B, 3, H, W), clipped and rounded to 8 bits as in a PNG: (B, D) on the CPU.

        They are float32 and belong to the image: up to rounding they do not depend on the rest of the batch. An
        image with a NaN has NaN features.

        Raises:
            UserError: if the images are not RGB, or too small for the network.
        """
        check_images(images, "images", channels=3)
        if self.name == "squeezenet" and min(images.shape[-2:]) < SQUEEZENET_SIDE:
            raise UserError(
                f"fid=squeezenet needs images of at least {SQUEEZENET_SIDE} pixels a side, got {tuple(images.shape)}"
            )
        broken = images.isnan().flatten(1).any(1)
        pixels = to_pixels(images)
        full_precision = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
        with torch.autocast(images.device.type, enabled=False), full_precision:
            (features,) = self._network.to(images.device)(pixels)
        marked: Tensor = features.masked_fill(broken.unsqueeze(1), math.nan).cpu()
        return marked


def shared_extractor(name: str, weights: str | None) -> Extractor:
    """One extractor for all metrics that ask for the same one."""
    return _shared(name, weights, torch.hub.get_dir())


@functools.cache
def _shared(name: str, weights: str | None, folder: str) -> Extractor:
    return Extractor(name, weights)


def _load(name: str, path: Path) -> nn.Module:
    from torch_fidelity.utils import create_feature_extractor

    _register_squeezenet()
    registered, layer = NETWORKS[name]
    options = {"cuda": False, "feature_extractor_weights_path": str(path), "verbose": False}
    try:
        with torch.random.fork_rng(devices=[]):  # networks draw their initial weights first
            network: nn.Module = create_feature_extractor(registered, [layer], **options)
            return network
    except Exception as error:  # of a parser of untrusted bytes, whatever it raises
        raise UserError(f"{path} does not hold the weights of {name}: replace it with the published file") from error


def _weights_file(name: str, weights: str | Path | None) -> Path:
    url = _url(name)
    file = url.rsplit("/", 1)[-1]
    if weights is not None and not Path(weights).is_file():
        raise UserError(f"weights={weights} of fid={name} does not exist: give the path of {file}")
    try:
        path = Path(weights) if weights is not None else fetched(url)
    except (OSError, RuntimeError) as error:
        other = "" if name == "squeezenet" else ", or take fid=squeezenet, which has its own name and another scale"
        raise UserError(
            f"fid={name} needs {file}, which is missing and cannot be downloaded ({first_line(error)}): connect once, "
            f"or copy it into {checkpoints()}{other}"
        ) from error
    if name == "inception":
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if digest != INCEPTION_SHA256:
            raise UserError(
                f"{path} is not the published {file}: its SHA-256 is {digest[:8]}..., not {INCEPTION_SHA256[:8]}...; "
                "other weights would give other numbers under the same name"
            )
    return path


def _url(name: str) -> str:
    if name == "inception":
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

        inception: str = URL_INCEPTION_V3
        return inception
    from torchvision.models import SqueezeNet1_1_Weights

    squeezenet: str = SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    return squeezenet


@functools.cache
def _register_squeezenet() -> None:
    """Make torch-fidelity know the network, once: a second registration is an error there."""
    from torch_fidelity import FeatureExtractorBase, register_feature_extractor
    from torchvision.models import squeezenet1_1

    registered, layer = NETWORKS["squeezenet"]

    class SqueezeNet(FeatureExtractorBase):  # type: ignore[misc]
        def __init__(
            self, name: str, features_list: list[str], feature_extractor_weights_path: str | None = None, **kwargs: Any
        ):
            super().__init__(name, features_list)
            path = _weights_file("squeezenet", feature_extractor_weights_path)
            network = squeezenet1_1()
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
            self.trunk = network.features
            self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(3, 1, 1))
            self.register_buffer("std", torch.tensor(IMAGENET_STD).reshape(3, 1, 1))

        def forward(self, input: Tensor) -> tuple[Tensor]:
            return (self.trunk((from_pixels(input) - self.mean) / self.std).mean((2, 3)),)

        @staticmethod
        def get_provided_features_list() -> tuple[str]:
            return (layer,)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return layer

        @staticmethod
        def can_be_compiled() -> bool:
            return False

    register_feature_extractor(registered, SqueezeNet)
