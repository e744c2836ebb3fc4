import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.base import clone
from sklearn.naive_bayes import GaussianNB

import cfe_stack
from cfe_stack import (
    CFEnsembleClassifier,
    CFEnsemblePyTorchTrainer,
    CFEStackingClassifier,
    EnsembleData,
)
from cfe_stack.datasets import make_ensemble

pytestmark = pytest.mark.exhaustive

SCRIPT = Path(__file__).with_name("without_torch.py")


def run(*paths):
    command = [sys.executable, "-W", "ignore", str(SCRIPT), *map(str, paths)]
    # the package that is tested here, wherever it comes from
    environment = os.environ | {"PYTHONPATH": str(Path(cfe_stack.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_everything_but_joint_descent_works_without_torch():
    run()


def test_what_joint_descent_has_fitted_predicts_without_torch(tmp_path):
    pytest.importorskip("torch")
    made, paths = make_ensemble(5, 60, random_state=0), []
    data = EnsembleData(made.R, made.labels)
    for kind in ("weighted", "gated_pool"):
        settings = {"latent_dim": 2, "max_epochs": 5, "tol": 0, "aggregator_type": kind}
        trainer = CFEnsemblePyTorchTrainer(**settings).fit(data)
        path = tmp_path / kind
        path.write_bytes(pickle.dumps((trainer, made.R, trainer.predict_proba(made.R))))
        paths.append(path)
    P, final = made.R.T, CFEnsembleClassifier("pytorch")
    stack = CFEStackingClassifier([("bayes", GaussianNB())], final, cv=2, progress=False)
    for model in (clone(final), stack):
        model.fit(P, made.labels)
        path = tmp_path / type(model).__name__
        path.write_bytes(pickle.dumps((model, P, model.predict_proba(P))))
        paths.append(path)
    run(*paths)
