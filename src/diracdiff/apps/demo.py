"""Page of the demo: upload a photograph, restore it, and choose the stopping time with a slider.

Gradio has no limits on images. It therefore does not decode the photograph (`preprocess=False`), and the handlers check
all values.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from starlette.middleware import Middleware
from torch import Tensor
from torch.nn import functional as F

from diracdiff.apps.guard import MAX_UPLOAD, Guard, is_inside
from diracdiff.apps.service import Batch, RestoreOptions, SourceImage, check_operator_input, prepare
from diracdiff.data.image_io import read_image, write_image
from diracdiff.evaluation.results import Result, trajectory_results
from diracdiff.metrics import PSNR
from diracdiff.restorer import Restorer
from diracdiff.utils.pixels import from_pixels, to_pixels

MAX_PIXELS = 60_000_000
"""Maximum number of pixels of a photograph, checked before decoding."""

SIDES = (64, 1024)
"""Range of the longest side of a photograph after shrinking, in pixels."""

QUEUE, PAGES = 8, 16
"""Maximum number of waiting events, and of open pages whose results stay in memory."""


@dataclass(frozen=True)
class Trajectory:
    """Trajectory of the reverse process for one photograph.

    Attributes:
        batch: measurement of the photograph.
        frames: x_hat at all times of the reverse process, and the iterate at t = 0, as uint8.
        index: index of the frame at the distortion-optimised stopping time.
    """

    batch: Batch
    frames: list[Result]
    index: int

    def picture(self, index: int) -> Tensor:
        """Return a finished frame, uint8 (3, H, W)."""
        return to_pixels(self.batch.finish(from_pixels(self.frames[index].images))[0]).cpu()

    def describe(self, index: int) -> str:
        """Describe a frame: time, NFE, PSNR and data consistency."""
        frame, batch, image = self.frames[index], self.batch, self.batch.images[0]
        x_hat, name = from_pixels(frame.images).to(batch.y.device), {"x_hat": "Denoised image", "iterate": "Iterate"}
        text = f"{name[frame.output]} at t = {frame.t:.2f}, NFE {frame.nfe}."
        if batch.options.degrade:
            reference = batch.restorer.reference(image.pixels.unsqueeze(0).to(x_hat), batch.y)
            after, before = (PSNR()(images, reference).item() for images in (x_hat, batch.y))
            text += f" PSNR {after:.2f} dB; of the degraded photograph {before:.2f} dB."
        test = batch.test_consistency(0, x_hat[0])
        return (
            f"{text} {'Consistent' if test['consistent'] else 'Not consistent'} with the degraded photograph: the "
            f"residual is {test['residual_over_sigma']:.3g} of its noise (standard deviation {test['sigma']:.3g})."
        )


@torch.no_grad()
def restore(
    restorer: Restorer,
    path: Path,
    degrade: bool,
    longest: int = SIDES[1],
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Trajectory:
    """Restore a photograph, and keep the states of the reverse process.

    Args:
        restorer: the model.
        path: file of the photograph.
        degrade: degrade the photograph first.
        longest: maximum side in pixels; larger photographs are shrunk.
        on_progress: callback with the finished fraction of the reverse process.

    Raises:
        ValueError: if the photograph is invalid, or the model needs a mask, a kernel or a factor.
    """
    check_operator_input(restorer, None, degrade)
    try:
        source = SourceImage.from_decoded(read_image(path, max_pixels=MAX_PIXELS, max_bytes=MAX_UPLOAD), path.name)
    except ValueError as error:
        raise ValueError(str(error).replace(str(path), path.name)) from None
    height, width = source.pixels.shape[-2:]
    if (scale := longest / max(height, width)) < 1:
        sides = [max(1, round(scale * side)) for side in (height, width)]
        pixels = F.interpolate(source.pixels[None], sides, mode="bicubic", antialias=True)[0].clamp(0, 1)
        source = replace(source, pixels=pixels, step=0.0)
    batch = prepare(restorer, [source], RestoreOptions(degrade=degrade))
    restorer, y, frames = batch.restorer, batch.y, []
    denoiser, sampler = restorer.tiles.apply_to(restorer.denoiser, restorer.sampler, y)
    noise = restorer.sampling_noise([path.name], y)
    for result in trajectory_results(sampler.states(restorer.process, denoiser, y, noise), y):
        on_progress(1 - result.t)
        if result.output == "x_hat" or result.t == 0:
            image = result.images.clamp(0, 1)
            image = image.mean(1, keepdim=True).expand_as(y) if source.grey and not degrade else image
            frames.append(replace(result, images=to_pixels(image).cpu()))
    stop = restorer.stopping_points.get("psnr")
    index = max(0, sum(stop is not None and frame.t >= stop.t - 1e-6 for frame in frames) - 1)
    return Trajectory(batch, frames, index)


def build(restorer: Restorer, folder: Path) -> gr.Blocks:
    """Build the page of a model. The page shows the errors that its events raise.

    Args:
        restorer: the model, in evaluation mode.
        folder: temporary folder of Gradio.
    """
    page: gr.Blocks
    with gr.Blocks(title="diracdiff", analytics_enabled=False) as page:
        gr.Markdown("# diracdiff\nRestore a photograph, and choose between an accurate and a sharp result.")
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                photo = gr.Image(label="Photograph", sources=["upload", "clipboard"], type="filepath")
                clean = gr.Checkbox(True, label="The photograph is clean: degrade it first")
                longest = gr.Slider(*SIDES, value=512, step=32, label="Longest side, in pixels")
                go = gr.Button("Restore", variant="primary")
            with gr.Column(scale=3, min_width=320):
                pair = gr.ImageSlider(label="Degraded | restored", type="filepath", interactive=False, max_height=640)
                slider = gr.Slider(0, 1, value=0, step=1, label="stopping time: t = 1 ↔ t = 0", interactive=False)
                text = gr.Markdown("Upload a photograph, and press Restore.")
                result = gr.DownloadButton("Download", interactive=False)
        state = gr.State()

        def on_restore(photo: Any, clean: Any, longest: Any, progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008
            with _errors_on_page():
                if not photo:
                    raise ValueError("Upload a photograph first.")
                if not is_inside(folder, photo["path"]):
                    raise ValueError("This file is not available. Upload it again.")
                side = int(min(max(longest, SIDES[0]), SIDES[1]))
                restored = restore(restorer, Path(photo["path"]), bool(clean), side, progress)
            last = len(restored.frames) - 1
            moved = gr.Slider(maximum=max(last, 1), value=restored.index, interactive=last > 0)
            return restored, moved, *on_move(restored, restored.index)

        def on_move(restored: Trajectory | None, index: Any) -> tuple[Any, ...]:
            with _errors_on_page():
                if restored is None:
                    raise ValueError("Restore a photograph first.")
                index = min(max(int(index), 0), len(restored.frames) - 1)
                name, t = Path(restored.batch.images[0].name).stem, restored.frames[index].t
                before, after = to_pixels(restored.batch.measurement(0)).cpu(), restored.picture(index)
                shown = _write(folder, f"{name}_degraded.png", before), _write(folder, f"{name}_t{t:.2f}.png", after)
                return shown, restored.describe(index), gr.update(value=shown[1], interactive=True)

        outputs = [pair, text, result]
        go.click(on_restore, [photo, clean, longest], [state, slider, *outputs], preprocess=False)
        quick: Any = {"preprocess": False, "show_progress": "hidden", "trigger_mode": "always_last"}
        slider.input(on_move, [state, slider], outputs, **quick)
    page.queue(default_concurrency_limit=1, max_size=QUEUE)
    return page


@contextmanager
def serve(restorer: Restorer, folder: Path, port: int | None = None, browser: bool = False) -> Iterator[str]:
    """Serve the page to this machine only, until the context ends. Yield the address of the page.

    Args:
        restorer: the model, in evaluation mode.
        folder: temporary folder of Gradio.
        port: port of the page; None: the first free port from 7860.
        browser: open the page in a browser.

    Raises:
        ValueError: if the port is not available.
    """
    page = build(restorer, folder)
    options: dict[str, Any] = {"share": False, "quiet": True, "prevent_thread_lock": True, "footer_links": []}
    options |= {"run_history": False, "enable_monitoring": False, "ssr_mode": False, "pwa": False}
    options |= {"theme": gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])}
    options |= {"app_kwargs": {"middleware": [Middleware(Guard, folder=folder)], "openapi_url": None}}
    options |= {"state_session_capacity": PAGES, "max_file_size": MAX_UPLOAD, "inbrowser": browser}
    try:
        _, address, _ = page.launch(server_name="127.0.0.1", server_port=port, **options)
    except OSError as error:
        raise ValueError(f"port={port}: cannot be served ({error}). Choose another port, or null.") from None
    try:
        yield address
    finally:
        page.close(verbose=False)


@contextmanager
def _errors_on_page() -> Iterator[None]:
    """Show errors of the user on the page."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise gr.Error(str(error), print_exception=False) from None


def _write(folder: Path, name: str, pixels: Tensor) -> str:
    """Write pixels, uint8 (3, H, W), to a file with a random path, and return the path."""
    path = folder / secrets.token_hex(16) / name
    write_image(path, np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    return str(path)
