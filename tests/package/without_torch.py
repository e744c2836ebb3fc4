"""Run where torch cannot be imported: every path but joint descent works, and that one says why.

    python tests/package/without_torch.py [PICKLE]

PICKLE holds (fitted model, what it predicts, its probabilities).
"""

import pickle
import sys
from pathlib import Path

import numpy as np


class NoTorch:
    """Find no torch, whether or not it is installed."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name="torch")


if __name__ == "__main__":  # and not where pytest looks for doctests
    sys.meta_path.insert(0, NoTorch())

from cfe_stack import (  # noqa: E402
    CFEnsembleClassifier,
    CFEnsemblePyTorchTrainer,
    CFEnsembleTrainer,
    EnsembleData,
)
from cfe_stack.datasets import make_ensemble  # noqa: E402

ALS = (
    {},
    {"supervision": "majorize", "init": "spectral"},
    {"aggregator_type": "log_pool", "link": "logit", "standardize": True},
    {"aggregator_type": "mean", "confidence": "adaptive"},
    {"aggregator_solver": "converged", "confidence": "calibration", "focal_gamma": 0.5},
)
AGGREGATORS = ("auto", "log_pool", "gated_pool", "signed_pool", "bounded_pool", "mean", "weighted")
MESSAGE = 'torch is not installed: run `python -m pip install "cfe-stack[torch]"`.'


def check_als() -> None:
    for n_classes in (2, 3):
        made = make_ensemble(5, 80, n_classes, missing_rate=0.1, random_state=0)
        data = EnsembleData(made.R, made.labels)
        for settings in ALS:
            trainer = CFEnsembleTrainer(latent_dim=2, max_iter=5, tol=0, **settings).fit(data)
            assert np.isfinite(trainer.predict_proba(data)).all(), settings
        P = made.R.T if n_classes == 2 else np.moveaxis(made.R, 0, 1).reshape(80, -1)
        for name in AGGREGATORS:
            model = CFEnsembleClassifier(aggregator=name, cv=2).fit(P, made.labels)
            assert np.isfinite(model.predict_proba(P)).all(), name


def check_message() -> None:
    made = make_ensemble(5, 80, random_state=0)
    data = EnsembleData(made.R, made.labels)
    for ask in (
        lambda: CFEnsemblePyTorchTrainer().fit(data),
        lambda: CFEnsembleClassifier("pytorch").fit(made.R.T, made.labels),
    ):
        said = None
        try:
            ask()
        except ImportError as error:
            said = str(error)
        assert said == MESSAGE, said


if __name__ == "__main__":
    check_als()
    check_message()
    for path in sys.argv[1:]:
        model, X, proba = pickle.loads(Path(path).read_bytes())
        np.testing.assert_allclose(model.predict_proba(X), proba)
    assert "torch" not in sys.modules
