"""A prior from a network of the guided-diffusion family, in the format of deepinv."""

from pathlib import Path

import torch
from torch import Tensor

from diracdiff.checkpoints.weights import are_plain_tensors
from diracdiff.utils.errors import warn
from diracdiff.utils.shapes import apply_padded, as_time

SCHEDULE = ("sqrt_1m_alphas_cumprod", "sqrt_alphas_cumprod")
MULTIPLE = 32


class DiffUNetPrior:
    """deepinv's `DiffUNet` (Choi et al. 2021; the larger one: Dhariwal & Nichol 2021), from a file of weights.

    The network is variance preserving: for y = x + sigma z in the [0, 1] range its time is the one of 1000 whose
    (1 - a_t) / a_t is nearest to (2 sigma)^2, a_t the cumulative product of 1 - beta, beta linear from 1e-4 to 0.02. So
    sigma is clamped to 0.005 … 78.7. x_hat is clipped to [0, 1]. Images are padded by reflection to multiples of 32.
    Published weights are of 256 x 256 images and fail at other sizes. Nothing is downloaded.

    Args:
        path: weights, the state of a `DiffUNet` of either size with three channels.
        device: of the network.
        image_size: side in pixels of the images it was trained on; for others there is one warning.

    Raises:
        ValueError: if there is no such file, it holds other weights, or deepinv is not installed.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu", image_size: int = 256):
        self.path, self.device, self.image_size = Path(path), torch.device(device), int(image_size)
        if not self.path.is_file():
            raise ValueError(f"no weights at {path}: download those of a DiffUNet yourself and give their file")
        wrong = f"{path} does not hold the weights of a DiffUNet with three channels: give the state of such a network"
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # any error of a parser of untrusted bytes
            raise ValueError(wrong) from error
        if not isinstance(state, dict) or not are_plain_tensors(state) or "time_embed.0.weight" not in state:
            raise ValueError(wrong)
        try:
            from deepinv.models import DiffUNet
        except ImportError as error:
            raise ValueError("a DiffUNet prior needs deepinv: pip install 'diracdiff[baselines]'") from error
        network = DiffUNet(large_model=state["time_embed.0.weight"].shape[1] == 256, pretrained=None)
        signal, noise = network.sqrt_alphas_cumprod, network.sqrt_1m_alphas_cumprod
        try:
            network.load_state_dict({**state, SCHEDULE[0]: noise, SCHEDULE[1]: signal})
        except RuntimeError as error:
            raise ValueError(wrong) from error
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.sigma_min, self.sigma_max = ((noise / signal)[i].item() / 2 for i in (0, -1))
        self._warned = False

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Return x_hat, (B, 3, H, W), for y (B, 3, H, W) with noise sigma, () or (B,), in units of the [0, 1] range."""
        if tuple(y.shape[-2:]) != (self.image_size, self.image_size) and not self._warned:
            self._warned = True
            size = f"{self.image_size} x {self.image_size}"
            warn(f"{self.path} is for images of {size} pixels and may fail at {y.shape[-2]} x {y.shape[-1]}")
        sigma = as_time(sigma, y).to(torch.float32).clamp(self.sigma_min, self.sigma_max).expand(len(y))
        return apply_padded(lambda padded: self.network(padded, sigma), y.float(), MULTIPLE).to(y.dtype)
