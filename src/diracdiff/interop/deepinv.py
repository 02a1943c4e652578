"""Adapters for deepinv: degradations, denoisers and restorers in deepinv, and operators of deepinv as degradations.

Both libraries use images (B, C, H, W) in [0, 1] and noise levels in units of this range. The import of this module
raises ImportError without deepinv.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diracdiff.baselines.prior import NetworkPrior
from diracdiff.degradations import SVD, Degradation, Operator
from diracdiff.degradations.severity import Severity
from diracdiff.degradations.svd import Mask
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.utils.validate import check_between

try:
    import deepinv
except ImportError as error:
    raise ImportError("deepinv: is not installed. Run pip install 'diracdiff[baselines]'.") from error

OUT_OF_RANGE = 0.01
"""Tolerance for a degraded white image outside [0, 1]."""


class Physics(deepinv.physics.LinearPhysics):  # type: ignore[misc]
    """Linear degradation A_t with Gaussian noise, as a physics of deepinv.

    `physics(x)` returns A_t(x) plus noise with the standard deviation of a measurement taken at t. The adjoint is
    computed by automatic differentiation. As in deepinv, `physics(x, params=…)` and `physics.update(params=…)` change
    the parameters of the operator.

    Args:
        process: stochastic degradation process with a linear degradation.
        t: time of the measurements, in [0, 1].
        params: per-image parameters of the operators, (B or 1, …), see `StochasticDegradation.bind`. None: those of
            `process`.

    Raises:
        ValueError: if the degradation is not linear, t is outside [0, 1], or the degradation has no parameters.
    """

    def __init__(self, process: StochasticDegradation, t: float = 1.0, params: Tensor | None = None):
        check_between(0, 1, t=t)
        if not process.degradation.linear:
            name = type(process.degradation).__name__
            raise ValueError(f"process: must have a linear degradation, and {name} is not linear.")
        process.bind(params)
        sigma = process.sigma_of_measurement(torch.zeros(1, dtype=torch.float64), t).item()
        super().__init__(noise_model=deepinv.physics.GaussianNoise(sigma))
        self.process, self.t = process, t
        self.register_buffer("params", params)

    def A(self, x: Tensor, params: Tensor | None = None, **_: Any) -> Tensor:
        """Return A_t(x), (B, C, H, W), for images x, (B, C, H, W)."""
        self.update_parameters(params=params)
        return self.process.bind(self.params).mean(x, self.t)

    def A_adjoint(self, y: Tensor, params: Tensor | None = None, **_: Any) -> Tensor:
        """Return the adjoint A_t^T y, (B, C, H, W), for measurements y, (B, C, H, W)."""
        self.update_parameters(params=params)
        vjp = torch.func.vjp(self.A, torch.zeros_like(y))[1]
        return vjp(y)[0]

    def decompose(self, x: Tensor) -> deepinv.physics.DecomposablePhysics:
        """Return this operator with its singular value decomposition, which DDRM of deepinv needs.

        Args:
            x: images, (B, C, H, W), that define size, precision and device.

        Raises:
            ValueError: if the degradation has no decomposition in closed form, or one operator per image.
        """
        degradation = self.process.bind(self.params).degradation
        svd = Operator(degradation, x, self.t).svd
        if svd is None:
            raise ValueError(f"physics: {type(degradation).__name__} has no SVD in closed form. Use another method.")
        if svd.values.ndim == 4 and len(svd.values) > 1:
            raise ValueError("physics: must have one operator for all images. Decompose one image at a time.")
        return deepinv.physics.DecomposablePhysics(
            U=svd.u,
            U_adjoint=lambda y: svd.ut(y).clone(),  # DDRM of deepinv writes to the result
            V=svd.v,
            V_adjoint=svd.vt,
            mask=svd.values.expand(1, *x.shape[1:]).contiguous(),
            img_size=tuple(x.shape[1:]),
            noise_model=self.noise_model,
        )


class Denoiser(deepinv.models.Denoiser):  # type: ignore[misc]
    """Denoiser of deepinv with a network that was trained with `task=denoise` or `task=prior`.

    Args:
        prior: denoiser, see `diracdiff.baselines.load_prior`. It clamps noise levels to those of its training.
    """

    def __init__(self, prior: NetworkPrior):
        super().__init__()
        self.prior, self.network = prior, prior.denoiser

    def forward(self, x: Tensor, sigma: float | Tensor, **_: Any) -> Tensor:
        """Denoise images.

        Args:
            x: noisy images, (B, C, H, W), of any floating-point precision.
            sigma: standard deviation of the noise, a number, or a tensor with 1 or B values of any shape.

        Returns:
            Denoised images, like x.

        Raises:
            ValueError: if the network depends on more than the noise level, or `sigma` has another number of values.
        """
        y = x.to(next(self.network.parameters()).dtype)
        levels = torch.as_tensor(sigma, dtype=y.dtype, device=y.device).flatten()
        return self.prior(y, levels if len(levels) > 1 else levels[0]).to(x.dtype)


class Reconstructor(deepinv.models.Reconstructor):  # type: ignore[misc]
    """Reconstruction model of deepinv with a restorer.

    Args:
        restorer: restorer.
        target: target that determines stopping time and output, see `Restorer.restore`.
    """

    def __init__(self, restorer: Restorer, target: str = "psnr"):
        super().__init__()
        self.restorer, self.target, self.denoiser = restorer, target, restorer.denoiser

    def forward(self, y: Tensor, physics: Any = None, names: Sequence[str] | None = None, **_: Any) -> Tensor:
        """Restore measurements.

        Args:
            y: measurements, (B, C, H, W).
            physics: operator of the measurements. A `Physics` binds its per-image parameters. Other operators are
                ignored, because the restorer is trained for its degradation.
            names: one name per image, which determines the noise of sampling. None: its index in the batch.

        Returns:
            Restored images in [0, 1], (B, C, H, W), without gradient.

        Raises:
            ValueError: if an argument breaks a rule of `Restorer.restore`, or the time of the `Physics` is not the
                start time of the sampler.
        """
        restorer = self.restorer
        if isinstance(physics, Physics):
            if physics.t != restorer.sampler.t_start:
                rule = f"must be the start time of the sampler, {restorer.sampler.t_start:g}"
                raise ValueError(f"physics.t={physics.t:g}: {rule}. Change one of them.")
            restorer = restorer.bind(physics.params)
        return restorer.restore(y, self.target, names=names)


class PhysicsDegradation(Degradation):
    """Interpolation between the identity and a linear physics of deepinv, A_t = (1 - s_t) I + s_t A.

    The severity s_t is the weight of A. The noise is that of the process, not of the physics. The degradation is
    gradual if no eigenvalue of A is negative, as for masks and most blurs. Inpainting has a diagonal form, so that all
    methods and preconditionings can be used with it.

    A checkpoint stores the arguments of constructors. To save a restorer, derive a class whose constructor has plain
    arguments and creates the physics, and load with `trusted_modules`.

    Args:
        severity: weight s_t over t, in [0, 1].
        image_size: side of the training images in pixels.
        physics: operator A from images to images of the same shape, in single precision.

    Raises:
        ValueError: if the physics is not linear or does not map images to images.
    """

    in_pixels = False
    limits = (0.0, 1.0)

    def __init__(self, severity: Severity, image_size: int, physics: deepinv.physics.LinearPhysics):
        super().__init__(severity, image_size)
        if not isinstance(physics, deepinv.physics.LinearPhysics):
            raise ValueError(f"physics: must be a LinearPhysics of deepinv, got {type(physics).__name__}.")
        self.physics = physics
        size = tuple(getattr(physics, "img_size", None) or ())
        self._shape = size if len(size) == 3 else None
        white = torch.ones(1, *(self._shape or (3, image_size, image_size)))
        try:
            degraded = self._degrade(white)
            valid = degraded.shape == white.shape and (degraded - degraded.clamp(0, 1)).abs().max() <= OUT_OF_RANGE
        except Exception as error:  # any error of a physics for other images
            raise ValueError(f"physics: {type(physics).__name__} does not degrade colour images: {error}") from error
        if not valid:
            rule = f"must map images in [0, 1] to such images, and {type(physics).__name__} has other measurements"
            raise ValueError(f"physics: {rule}. Use inpainting or a normalised blur with padding.")

    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        """Degrade images, see `Degradation.apply`.

        Raises:
            ValueError: if the size of the images is not that of the physics.
        """
        if self._shape is not None and tuple(x.shape[1:]) != self._shape:
            raise ValueError(f"physics: is for images of {self._shape}, got {tuple(x.shape[1:])}. Use this size.")
        return torch.lerp(x, self._degrade(x), severity.to(x.dtype).reshape(-1, 1, 1, 1))

    def decompose(self, x: Tensor, severity: Tensor) -> SVD | None:
        if not isinstance(self.physics, deepinv.physics.Inpainting):
            return None
        weight = severity.to(x.dtype).reshape(*severity.shape, 1, 1, 1)
        return Mask(1 - weight * (1 - self.physics.mask.to(x)))

    diagonalise = decompose

    def _degrade(self, x: Tensor) -> Tensor:
        degraded: Tensor = self.physics.to(x.device).A(x.float())
        return degraded.to(x.dtype)
