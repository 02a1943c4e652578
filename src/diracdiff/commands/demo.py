"""Try models on photographs, in a browser: `python -m diracdiff demo`."""

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from diracdiff.checkpoints.places import BUILTIN, bundled_models, located
from diracdiff.commands.command import command
from diracdiff.signals import closing_signals, interruptible, on_signals, stop
from diracdiff.utils.console import run_and_leave, show_in_browser
from diracdiff.utils.errors import UserError


def demo(cfg: DictConfig) -> None:
    """Serve the page until a signal ends it."""
    named = [str(cfg.checkpoint)] if cfg.checkpoint else bundled_models() or [f"{BUILTIN}deblur"]
    located(named[0])  # where there is none, it says how one is made
    with ExitStack() as stack:
        stack.callback(on_signals(stop, closing_signals()))
        folder = stack.enter_context(TemporaryDirectory(prefix="diracdiff-demo-"))
        os.environ["GRADIO_TEMP_DIR"] = folder  # Gradio reads it when it is imported
        try:
            from diracdiff.studio.page import build
            from diracdiff.studio.server import served
        except ImportError as error:
            raise UserError(f"diracdiff demo needs gradio ({error}): pip install 'diracdiff[demo]'") from None
        from diracdiff.commands.builders.build import pick_device
        from diracdiff.commands.builders.restoring import build_tiles, configure
        from diracdiff.restorer import Restorer, load
        from diracdiff.studio.sessions import Sessions
        from diracdiff.studio.studio import Studio

        def model(name: str) -> Restorer:
            restorer = configure(cfg, load(name, pick_device(cfg.device), cfg.trusted_modules))
            restorer.tiles = build_tiles(cfg)
            return restorer

        studio = Studio({name: partial(model, name) for name in named})
        studio.restorer(named[0])  # refuses a model that cannot be used
        sessions = Sessions(Path(folder))
        page = served(build(studio, sessions), sessions, cfg.port)
        with interruptible("the page is closed", closing_signals()), page as (address, server):
            print(f"{address}  (Ctrl-C ends it)", flush=True)
            if cfg.browser:
                show_in_browser(address)
            while server.is_alive():
                server.join(30.0)
                sessions.expire()


main = command(demo)

if __name__ == "__main__":
    run_and_leave(main)
