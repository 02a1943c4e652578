"""The page: photographs go in, and what the slider stops at comes out.

It asks nothing of other machines: fonts are the system's, and Gradio's statistics are off.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diracdiff.errors import UserError
from diracdiff.pixels import to_pixels
from diracdiff.studio.photograph import MOST_BYTES, read
from diracdiff.studio.studio import Noise, Restored, Studio

DEGRADED, CLEAN = "It is degraded", "It is clean: degrade it for me"
MODEL, AUTO, GIVEN = "the model's", "estimated", "given"
LONGEST, LARGEST = 512, 4096
"""Side in pixels that photographs are worked with, unless the user says otherwise, and at most."""

MOVED = "The camera moved"
BLURS = {
    "A soft lens (Gaussian)": ("gaussian", "Its standard deviation, in pixels"),
    "Out of focus (disc)": ("disc", "Its radius, in pixels"),
    MOVED: ("line", "Its length, in pixels"),
}
"""{what a user knows: the kind of kernel, what its size is}."""

KEPT = 3600
"""Seconds after which pictures that were shown are removed."""

FONTS = ["system-ui", "sans-serif"]


def build(studio: Studio, folder: Path) -> gr.Blocks:
    """The page of a studio, whose pictures are written into a folder."""
    models = list(studio.models)
    page: gr.Blocks
    with gr.Blocks(title="diracdiff", analytics_enabled=False, delete_cache=(KEPT, KEPT)) as page:
        state = gr.State(None, time_to_live=KEPT)
        gr.Markdown("# diracdiff\nRestore a photograph, and stop where you want: faithful, or good-looking.")
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                photo = gr.Image(label="Photograph", sources=["upload", "clipboard"], type="filepath", image_mode=None)
                photo.preprocess = _path  # type: ignore[method-assign]  # Gradio's own would decode what it is given
                model = gr.Dropdown(models, value=models[0], label="Model", visible=len(models) > 1)
                paint = gr.ImageEditor(
                    label="Paint the hole",
                    type="numpy",
                    format="png",
                    sources=(),
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(default_size=14, colors=["#e8590c"], color_mode="fixed"),
                    visible=False,
                )
                kind = gr.Radio([DEGRADED, CLEAN], value=CLEAN, label="The photograph")
                with gr.Group(visible=studio.takes_kernels(models[0])) as blur:
                    shape = gr.Dropdown(list(BLURS), value=next(iter(BLURS)), label="What blurred it")
                    width = gr.Slider(0.3, 20, value=1.5, step=0.1, label=next(iter(BLURS.values()))[1])
                    angle = gr.Slider(-90, 90, value=0, step=1, label="Its angle, in degrees", visible=False)
                with gr.Accordion("More", open=False):
                    longest = gr.Slider(64, LARGEST, value=LONGEST, step=32, label="Longest side, in pixels")
                    noise = gr.Radio([MODEL, AUTO, GIVEN], value=MODEL, label="Noise of a degraded photograph")
                    sigma = gr.Number(
                        0.02, minimum=0, maximum=1, step=0.005, label="Given: standard deviation, range [0, 1]"
                    )
                go = gr.Button("Restore", variant="primary")
            with gr.Column(scale=3, min_width=320):
                pair = gr.ImageSlider(
                    label="Degraded | restored", type="numpy", format="png", interactive=False, max_height=640
                )
                dial = gr.Slider(0, 1, value=0, step=1, label="faithful ↔ good-looking", interactive=False)
                told = gr.Markdown("Drop a photograph, and press Restore.")
                file = gr.DownloadButton("Download", interactive=False)
                with gr.Accordion("How sure is it?", open=False):
                    count = gr.Slider(2, 16, value=4, step=1, label="Samples")
                    draw = gr.Button("Draw samples", interactive=False)
                    heat = gr.Image(
                        label="Where they differ: black, they agree", format="png", interactive=False, visible=False
                    )
                    drawn = gr.Gallery(
                        label="Samples", format="png", columns=4, height="auto", interactive=False, visible=False
                    )

        def canvas(path: str | None, model: str, longest: int) -> Any:
            with _told():
                if path is None or not studio.takes_holes(model):
                    return gr.update(value=None, visible=False)
                picture = _picture(to_pixels(read(Path(path), int(longest)).image))
            return gr.update(value={"background": picture, "layers": [], "composite": picture}, visible=True)

        def kernels(model: str, shape: str) -> tuple[Any, ...]:
            shown = gr.update(visible=studio.takes_kernels(model))
            return shown, gr.update(label=BLURS[shape][1]), gr.update(visible=shape == MOVED)

        def restore(
            path: str | None,
            model: str,
            painted: dict[str, Any] | None,
            kind: str,
            longest: int,
            noise: str,
            sigma: float,
            shape: str,
            width: float,
            angle: float,
            progress: gr.Progress = gr.Progress(),  # noqa: B008
        ) -> tuple[Any, ...]:
            if path is None:
                raise gr.Error("Give a photograph first.", print_exception=False)
            with _told():
                level: Noise = sigma if noise == GIVEN else "auto" if noise == AUTO else "model"
                words = f"{BLURS[shape][0]}:{width:g}" + (f":{angle:g}" if shape == MOVED else "")
                asked = (kind == CLEAN, int(longest), level, _hole(painted), words)
                restored = studio.restore(model, Path(path), *asked, progress)
            last = len(restored.walked.frames) - 1
            knob = gr.Slider(maximum=max(last, 1), value=0, interactive=last > 0)
            hide = gr.update(visible=False)
            return restored, knob, *show(restored, 0), gr.update(interactive=True), hide, hide

        def show(restored: Restored | None, place: int) -> tuple[Any, ...]:
            if restored is None:
                raise gr.Error("Restore a photograph first.", print_exception=False)
            place = min(int(place), len(restored.walked.frames) - 1)
            before, after = to_pixels(restored.walked.measured), restored.walked.picture(place)
            text = "\n\n".join([studio.told(restored, place), *restored.notes])
            saved = str(studio.save(restored, place, folder))
            return (_picture(before), _picture(after)), text, gr.update(value=saved, interactive=True)

        def sample(restored: Restored | None, count: int) -> tuple[Any, Any]:
            if restored is None:
                raise gr.Error("Restore a photograph first.", print_exception=False)
            with _told():
                spread, samples = studio.samples(restored, int(count))
            pictures = [_picture(each) for each in samples]
            return gr.update(value=_picture(spread), visible=True), gr.update(value=pictures, visible=True)

        shown = [pair, told, file]
        asked = [photo, model, paint, kind, longest, noise, sigma, shape, width, angle]
        for changed in (model.change, shape.change):
            changed(kernels, [model, shape], [blur, width, angle], concurrency_id="network", show_progress="hidden")
        for changed in (photo.change, model.change, longest.release):
            changed(canvas, [photo, model, longest], paint, concurrency_id="network", show_progress="hidden")
        go.click(restore, asked, [state, dial, *shown, draw, heat, drawn], concurrency_id="network")
        dial.input(show, [state, dial], shown, show_progress="hidden", trigger_mode="always_last")
        draw.click(sample, [state, count], [heat, drawn], concurrency_id="network")
    return page


def serve(page: gr.Blocks, port: int | None) -> str:
    """Serve a page on this machine alone, in threads of its own; returns its address.

    Raises:
        UserError: if the port is taken.
    """
    page.queue(default_concurrency_limit=1, max_size=8)
    try:
        _, address, _ = page.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            show_error=True,
            max_file_size=MOST_BYTES,
            state_session_capacity=16,
            footer_links=[],
            theme=gr.themes.Default(font=FONTS, font_mono=["monospace"]),
        )
    except OSError as error:
        raise UserError(
            f"port={port} cannot be served ({' '.join(str(error).split())}): take another, or null"
        ) from None
    return str(address)


def _path(payload: Any) -> str | None:
    """The file of a photograph that was given."""
    return payload.path if payload is not None else None


@contextmanager
def _told() -> Iterator[None]:
    """Let the page say what a user did wrong."""
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None


def _hole(painted: dict[str, Any] | None) -> Tensor | None:
    """What was painted, bool (H, W), or None."""
    layers = [torch.from_numpy(layer[..., 3] > 0) for layer in (painted or {}).get("layers", [])]
    return torch.stack(layers).any(0) if layers else None


def _picture(pixels: Tensor) -> NDArray[np.uint8]:
    """uint8 (3, H, W) as (H, W, 3)."""
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())
