"""The page: upload a photograph, restore it, and choose where sampling stops with a slider.

The page requests nothing of other machines: fonts are the system's, and Gradio's statistics are off. Gradio does not
process the values of events (`preprocess=False`), because that would decode images without limits: handlers check
them. The files in events are those of their session, see `diracdiff.studio.guard.Guard`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
import numpy as np
import torch
from starlette.exceptions import HTTPException
from torch import Tensor

from diracdiff.data.image_io import read_image, write_image
from diracdiff.studio.photograph import LIMITS, read
from diracdiff.studio.sessions import MAX_PAGES, MAX_SESSIONS, Session, Sessions
from diracdiff.studio.studio import Restored, Studio
from diracdiff.utils.errors import UserError
from diracdiff.utils.pixels import to_pixels

DEGRADED, CLEAN = "It is degraded", "It is clean: degrade it for me"
MODEL, AUTO, GIVEN = "the model's", "estimated", "given"
DEFAULT_SIDE, SIDES = 512, (64, 4096)
"""Longest side in pixels to which photographs are shrunk, and its range."""

CANVAS_SIDE = 768
"""Longest side in pixels of the picture to paint on, which the browser sends back several times."""

MOVED = "The camera moved"
BLURS = {
    "A soft lens (Gaussian)": ("gaussian", "Its standard deviation, in pixels"),
    "Out of focus (disc)": ("disc", "Its radius, in pixels"),
    MOVED: ("line", "Its length, in pixels"),
}
"""{blur: (kind of kernel, label of its width)}."""

QUEUE = 8
"""Events that wait while one restoration runs."""

UNKNOWN = "The page does not offer this value: reload it."

WIDTHS, ANGLES, SIGMAS, SAMPLES = (0.3, 20.0), (-90.0, 90.0), (0.001, 1.0), (2, 16)


def build(studio: Studio, sessions: Sessions) -> gr.Blocks:
    """Build the page of a studio. Nothing raises a UserError: its event handlers show the message on the page."""
    models = list(studio.models)
    page: gr.Blocks
    with gr.Blocks(title="diracdiff", analytics_enabled=False) as page:
        gr.Markdown("# diracdiff\nRestore a photograph, and choose between an accurate and a sharp result.")
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                photo = gr.Image(label="Photograph", sources=["upload", "clipboard"], type="filepath")
                model = gr.Dropdown(models, value=models[0], label="Model", visible=len(models) > 1)
                paint = gr.ImageEditor(
                    label="Paint the region to fill",
                    type="filepath",
                    format="png",
                    sources=(),
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(default_size=14, colors=["#e8590c"], color_mode="fixed"),
                    visible=False,
                )
                kind = gr.Radio([DEGRADED, CLEAN], value=CLEAN, label="The photograph")
                with gr.Group(visible=studio.takes_kernels(models[0])) as blur:
                    shape = gr.Dropdown(list(BLURS), value=next(iter(BLURS)), label="Blur")
                    width = gr.Slider(*WIDTHS, value=1.5, step=0.1, label=next(iter(BLURS.values()))[1])
                    angle = gr.Slider(*ANGLES, value=0, step=1, label="Its angle, in degrees", visible=False)
                with gr.Accordion("More", open=False):
                    longest = gr.Slider(*SIDES, value=DEFAULT_SIDE, step=32, label="Longest side, in pixels")
                    noise = gr.Radio([MODEL, AUTO, GIVEN], value=MODEL, label="Noise of a degraded photograph")
                    sigma = gr.Number(
                        0.02,
                        minimum=SIGMAS[0],
                        maximum=SIGMAS[1],
                        step=0.005,
                        label="Given: standard deviation, range [0, 1]",
                    )
                go = gr.Button("Restore", variant="primary")
            with gr.Column(scale=3, min_width=320):
                pair = gr.ImageSlider(label="Degraded | restored", type="filepath", interactive=False, max_height=640)
                place = gr.Slider(0, 1, value=0, step=1, label="accurate ↔ sharp", interactive=False)
                text = gr.Markdown("Upload a photograph, and press Restore.")
                file = gr.DownloadButton("Download", interactive=False)
                with gr.Accordion("Uncertainty", open=False):
                    count = gr.Slider(*SAMPLES, value=4, step=1, label="Samples")
                    draw = gr.Button("Draw samples", interactive=False)
                    heat = gr.Image(
                        label="Standard deviation of the samples (black: none)", interactive=False, visible=False
                    )
                    drawn = gr.Gallery(label="Samples", columns=4, height="auto", interactive=False, visible=False)

        def canvas(photo: Any, model: Any, longest: Any, request: gr.Request) -> Any:
            with _session(sessions, request) as session:
                if not photo or not studio.takes_masks(_one_of(models, model)):
                    return gr.update(value=None, visible=False)
                photograph = read(_file(session, photo), min(int(_number(longest, SIDES)), CANVAS_SIDE))
                picture = _picture(session, "photograph.png", to_pixels(photograph.image), photograph.grey)
            return gr.update(value={"background": picture, "layers": [], "composite": picture}, visible=True)

        def kernels(model: Any, shape: Any) -> tuple[Any, ...]:
            shown = gr.update(visible=studio.takes_kernels(_one_of(models, model)))
            shape = _one_of(BLURS, shape)
            return shown, gr.update(label=BLURS[shape][1]), gr.update(visible=shape == MOVED)

        def restore(
            photo: Any,
            model: Any,
            painted: Any,
            kind: Any,
            longest: Any,
            noise: Any,
            sigma: Any,
            shape: Any,
            width: Any,
            angle: Any,
            request: gr.Request,
            progress: gr.Progress = gr.Progress(),  # noqa: B008
        ) -> tuple[Any, ...]:
            def advance(fraction: float) -> None:
                if sessions.closing.is_set():
                    raise UserError("The page is closed.")
                progress(fraction)

            with _session(sessions, request) as session:
                if not photo:
                    raise UserError("Upload a photograph first.")
                noise = _one_of((MODEL, AUTO, GIVEN), noise)
                level: float | Literal["auto"] | None
                level = _number(sigma, SIGMAS) if noise == GIVEN else "auto" if noise == AUTO else None
                shape = _one_of(BLURS, shape)
                kernel = f"{BLURS[shape][0]}:{_number(width, WIDTHS):g}"
                kernel += f":{_number(angle, ANGLES):g}" if shape == MOVED else ""
                restored = studio.restore(
                    _one_of(models, model),
                    _file(session, photo),
                    _one_of((DEGRADED, CLEAN), kind) == CLEAN,
                    int(_number(longest, SIDES)),
                    level,
                    painted_region(session, painted),
                    kernel,
                    advance,
                )
                sessions.keep(session, str(request.session_hash), restored)
            last = len(restored.frames) - 1
            slider = gr.Slider(maximum=max(last, 1), value=0, interactive=last > 0)
            hide = gr.update(visible=False)
            return slider, *show(0, request), gr.update(interactive=True), hide, hide

        def show(place: Any, request: gr.Request) -> tuple[Any, ...]:
            with _session(sessions, request) as session:
                restored = _result(session, request)
                place = min(int(_number(place, (0, 10_000))), len(restored.frames) - 1)
                stem, t = Path(restored.photograph.name).stem, restored.frames[place].t
                measured = _picture(session, f"{stem}_degraded.png", restored.measured, restored.grey)
                result = _picture(session, f"{stem}_restored_t{t:.2f}.png", restored.picture(place), restored.grey)
                notes = "\n\n".join([studio.describe(restored, place), *restored.notes])
            return (measured, result), notes, gr.update(value=result, interactive=True)

        def sample(count: Any, request: gr.Request) -> tuple[Any, Any]:
            with _session(sessions, request) as session:
                restored = _result(session, request)
                spread, samples = studio.samples(restored, int(_number(count, SAMPLES)))
                pictures = [_picture(session, f"sample_{i}.png", each, False) for i, each in enumerate(samples, 1)]
                deviation = _picture(session, "standard_deviation.png", spread, False)
            return gr.update(value=deviation, visible=True), gr.update(value=pictures, visible=True)

        network: dict[str, Any] = {"concurrency_id": "network", "preprocess": False}
        shown = [pair, text, file]
        inputs = [photo, model, paint, kind, longest, noise, sigma, shape, width, angle]
        for changed in (model.change, shape.change):
            changed(kernels, [model, shape], [blur, width, angle], **network, show_progress="hidden")
        for changed in (photo.change, model.change, longest.release):
            changed(canvas, [photo, model, longest], paint, **network, show_progress="hidden")
        go.click(restore, inputs, [place, *shown, draw, heat, drawn], **network)
        place.input(show, place, shown, preprocess=False, show_progress="hidden", trigger_mode="always_last")
        draw.click(sample, count, [heat, drawn], **network)
        page.unload(lambda: None)  # an open page then holds a connection, and its session does not end
    page.queue(default_concurrency_limit=1, max_size=QUEUE)
    page.state_session_capacity = MAX_SESSIONS * MAX_PAGES
    return page


@contextmanager
def _session(sessions: Sessions, request: gr.Request) -> Iterator[Session]:
    """Use the session of an event, and show the user's mistakes on the page."""
    session: Session = request.state.session
    try:
        with sessions.using(session):
            yield session
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None
    except HTTPException as error:
        raise gr.Error(error.detail, print_exception=False) from None


def _one_of(options: Iterable[str], value: Any) -> str:
    """Return a value that the page offers."""
    if isinstance(value, str) and value in options:
        return value
    raise gr.Error(UNKNOWN, print_exception=False)


def _number(value: Any, bounds: tuple[float, float]) -> float:
    """Return a number within the bounds that the page offers."""
    if type(value) in (int, float) and bounds[0] <= value <= bounds[1]:
        return float(value)
    raise gr.Error(UNKNOWN, print_exception=False)


def _file(session: Session, value: Any) -> Path:
    """Return the session's file of an event's value."""
    return Path(session.find(value.get("path") if isinstance(value, dict) else None))


def _result(session: Session, request: gr.Request) -> Restored:
    """Return the last result of a page."""
    if (restored := session.results.get(str(request.session_hash))) is None:
        raise UserError("Restore a photograph first.")
    return cast(Restored, restored)


def painted_region(session: Session, editor: Any) -> Tensor | None:
    """Return the region that is painted, bool (H, W): the pixels of layers that are not transparent."""
    layers = editor.get("layers") if isinstance(editor, dict) else None
    alphas = [read_image(_file(session, layer), LIMITS, bits=8).alpha for layer in layers or []]
    regions = [torch.from_numpy(alpha) > 0 for alpha in alphas if alpha is not None]
    return torch.stack(regions).any(0) if regions else None


def _picture(session: Session, name: str, pixels: Tensor, grey: bool) -> str:
    """Write uint8 pixels, (3, H, W), as a file of the session."""
    path = session.new_path(name)
    values = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    write_image(path, values[..., 0] if grey else values)
    return session.add(path)
