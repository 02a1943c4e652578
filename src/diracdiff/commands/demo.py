"""Serve a page to try a model on photographs: `python -m diracdiff demo`."""

import os
import signal
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from diracdiff.checkpoints.locations import BUILTIN, bundled_models
from diracdiff.commands.command import command


@command
def demo(cfg: DictConfig) -> None:
    """Serve the page until a signal ends the process."""
    from diracdiff.commands.build import load_restorer

    name = str(cfg.checkpoint or next(iter(bundled_models()), f"{BUILTIN}deblur"))
    restorer = load_restorer(cfg, name)
    restorer.denoiser.eval()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup sets SIG_IGN
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        with TemporaryDirectory(prefix="diracdiff-demo-", ignore_cleanup_errors=True) as folder:
            os.environ |= {
                "GRADIO_TEMP_DIR": folder,
                "GRADIO_ANALYTICS_ENABLED": "False",
            }  # Gradio reads them on import
            try:
                from diracdiff.apps.demo import serve
            except ImportError as error:
                raise ValueError(f"the demo needs Gradio ({error}). Run pip install 'diracdiff[demo]'.") from None
            with serve(restorer, Path(folder), cfg.port, cfg.browser) as address:
                print(f"{address}  (Ctrl-C ends it)", flush=True)
                threading.Event().wait()
    except SystemExit as end:  # a normal exit aborts while a thread uses a network
        print("the page is closed", flush=True)
        os._exit(int(end.code or 0))


if __name__ == "__main__":
    demo()
