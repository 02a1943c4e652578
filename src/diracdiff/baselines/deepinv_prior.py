"""Diffusion prior with a guided-diffusion network in the format of deepinv."""

from pathlib import Path

import torch
from torch import Tensor

from diracdiff.checkpoints.weights import are_plain_tensors
from diracdiff.utils.errors import warn
from diracdiff.utils.shapes import apply_padded, as_time

SCHEDULE = ("sqrt_1m_alphas_cumprod", "sqrt_alphas_cumprod")
MULTIPLE = 32


class DiffUNetPrior:
    """Prior with the `DiffUNet` of deepinv (Choi et al. 2021; large model: Dhariwal & Nichol 2021).

    The network is variance preserving with 1000 times. For y = x + sigma z in the [0, 1] range, the time is that with
    (1 - a_t) / a_t nearest to (2 sigma)^2. Here a_t is the cumulative product of 1 - beta, with beta linear from 1e-4
    to 0.02. Therefore sigma is clamped to [0.005, 78.7]. x_hat is clipped to [0, 1]. Images are padded by reflection
    to multiples of 32. Published weights are for images of 256 x 256 pixels and fail at other sizes. Nothing is
    downloaded.

    Args:
        path: file with the state dictionary of a `DiffUNet` of either size with three channels.
        device: device of the network.
        image_size: side of the training images in pixels; other sizes cause a warning.

    Raises:
        ValueError: if the file does not exist or contains other weights, or deepinv is not installed.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu", image_size: int = 256):
        self.path, self.device, self.image_size = Path(path), torch.device(device), int(image_size)
        if not self.path.is_file():
            raise ValueError(f"{path}: does not exist. Download the weights of a DiffUNet, and use their file.")
        wrong = f"{path}: does not contain the weights of a DiffUNet with three channels. Use its state dictionary."
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # any error of a parser of untrusted bytes
            raise ValueError(wrong) from error
        if not isinstance(state, dict) or not are_plain_tensors(state) or "time_embed.0.weight" not in state:
            raise ValueError(wrong)
        try:
            from deepinv.models import DiffUNet
        except ImportError as error:
            raise ValueError("deepinv: is not installed. Run pip install 'diracdiff[baselines]'.") from error
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
        """Denoise images.

        Args:
            y: noisy images, (B, 3, H, W).
            sigma: standard deviation of the noise in units of the [0, 1] range, () or (B,).

        Returns:
            x_hat in [0, 1], (B, 3, H, W).
        """
        if tuple(y.shape[-2:]) != (self.image_size, self.image_size) and not self._warned:
            self._warned = True
            size = f"{self.image_size} x {self.image_size}"
            warn(f"{self.path}: is for images of {size} pixels and may fail at {y.shape[-2]} x {y.shape[-1]}")
        sigma = as_time(sigma, y).to(torch.float32).clamp(self.sigma_min, self.sigma_max).expand(len(y))
        return apply_padded(lambda padded: self.network(padded, sigma), y.float(), MULTIPLE).to(y.dtype)
