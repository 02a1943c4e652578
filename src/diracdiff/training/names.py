"""What the files of a training are called, and how a command asks for the last one."""

BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"
METRICS_CSV, WANDB_ID = "metrics.csv", "wandb_id.txt"
AUTO = "auto"
"""`checkpoint=auto` goes on from the last one in the run's folder, if there is any."""
