"""Evaluate Dirac-PO and Dirac-DO with the published sampling settings (paper, Table 1) and those of the checkpoint.

The argument setting=deblur_celebahq (inpaint_celebahq, deblur_imagenet, inpaint_imagenet) selects the column. Other
arguments are overrides of diracdiff evaluate.
"""

import sys

from experiments.common import sweep

(setting,) = [argument.removeprefix("setting=") for argument in sys.argv[1:] if argument.startswith("setting=")]
others = [argument for argument in sys.argv[1:] if not argument.startswith("setting=")]
settings = {f"published_{kind}": [f"published={setting}_{kind}"] for kind in ("po", "do")}
sweep(f"table1/{setting}", settings | {"own": []}, others)
