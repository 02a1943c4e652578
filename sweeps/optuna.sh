#!/bin/sh
# The same search with Optuna: pip install 'diracdiff[sweep]'. It goes on where it was stopped; arguments are added.
exec python -m diracdiff train -m hparams_search=optuna task=deblur logger=wandb \
  hydra.sweeper.storage=sqlite:///study.db hydra.sweeper.study_name=deblur hydra.sweeper.n_trials=20 "$@"
