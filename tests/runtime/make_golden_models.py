"""Write the stored models that later versions have to read.

Run it again only with a new ``cfe_stack.runtime.persistence.FORMAT``, and say so in the changelog.
"""

import pickle
from pathlib import Path

import numpy as np
from stacked_columns import stacked

from cfe_stack import (
    CFEnsembleClassifier,
    CFEnsemblePyTorchTrainer,
    CFEnsembleTrainer,
    EnsembleData,
)

FOLDER = Path(__file__).parent / "golden"


def models():
    """Yield (name, fitted model, its input, the probabilities it gives)."""
    seeded = {"latent_dim": 2, "random_state": 0}
    for n_classes, aggregator, trainer in (
        (2, "auto", CFEnsembleTrainer(**seeded, store_instance_factors=False)),
        (3, "linear_pool", CFEnsemblePyTorchTrainer(**seeded, optimizer="lbfgs")),
        (3, "weighted", CFEnsembleTrainer(**seeded, supervision="majorize", tol=1e-2)),
    ):
        P, codes, R = stacked(4, 60, n_classes, missing_rate=0.1)
        model = CFEnsembleClassifier(aggregator=aggregator).fit(P, codes)
        yield f"{aggregator}-{n_classes}", model, P[:10], model.predict_proba(P[:10])
        trainer.fit(EnsembleData(R, codes))
        name = f"{type(trainer).__name__}-{aggregator}"
        yield name, trainer, R[:, :10], trainer.predict_proba(R[:, :10])


def write():
    """Write one pickle of all models, and inputs and outputs beside it."""
    FOLDER.mkdir(exist_ok=True)
    made = list(models())
    fitted = {name: model for name, model, *_ in made}
    (FOLDER / "models.pickle").write_bytes(pickle.dumps(fitted, protocol=4))
    arrays = {f"{name}.{part}": a for name, _, X, p in made for part, a in (("X", X), ("p", p))}
    np.savez_compressed(FOLDER / "predictions.npz", **arrays)


if __name__ == "__main__":
    write()
