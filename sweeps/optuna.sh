#!/bin/sh
# The same search with Optuna: pip install 'diracdiff[sweep]'. It resumes an interrupted study; arguments are appended.
exec python -m diracdiff train -m hparams_search=optuna task=deblur logger=wandb \
  hydra.sweeper.storage=sqlite:///study.db hydra.sweeper.study_name=deblur hydra.sweeper.n_trials=20 "$@"
