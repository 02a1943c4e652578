"""Try models on photographs, in a browser: `python -m diracdiff.demo`."""

import os
import threading
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from diracdiff.cli import check_boolean, check_number, command
from diracdiff.console import show_in_browser
from diracdiff.errors import UserError
from diracdiff.places import BUILTIN, in_the_box, located


def demo(cfg: DictConfig) -> None:
    """Serve the page until a signal ends it."""
    check_boolean("browser", cfg.browser)
    check_number("port", cfg.port, 1, 65535, optional=True)
    named = [str(cfg.checkpoint)] if cfg.checkpoint else in_the_box() or [f"{BUILTIN}deblur"]
    located(named[0])  # where there is none, it says how one is made
    try:
        from diracdiff.studio.page import build, serve
    except ImportError as error:
        raise UserError(f"diracdiff.demo needs gradio ({error}): pip install 'diracdiff[demo]'") from None
    from diracdiff.config.build import pick_device
    from diracdiff.config.restoring import build_tiles, configure
    from diracdiff.restorer import Restorer, load
    from diracdiff.signals import interruptible
    from diracdiff.studio.studio import Studio

    tiles, device = build_tiles(cfg), pick_device(cfg.device)

    def model(name: str) -> Restorer:
        restorer = configure(cfg, load(name, device, cfg.trusted_modules))
        restorer.tiles = tiles
        return restorer

    studio = Studio({name: partial(model, name) for name in named})
    studio.restorer(named[0])  # what cannot be used is refused before the page is there
    with TemporaryDirectory(prefix="diracdiff-demo-") as folder, interruptible("the page is closed"):
        os.environ["GRADIO_TEMP_DIR"] = folder
        address = serve(build(studio, Path(folder)), cfg.port)
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        if cfg.browser:
            show_in_browser(address)
        threading.Event().wait()


main = command("demo")(demo)

if __name__ == "__main__":
    main()
