"""The weight collapse of the sources, to the digits, and its four cures."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from cfe_stack import CFEnsembleTrainer, CollapsedAggregatorWarning, EnsembleData

CASES = Path(__file__).parents[3] / "shared" / "cases"


@pytest.fixture(scope="module")
def collapse():
    path = CASES / "collapse.npz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with np.load(path) as case:
        return case["R"], case["labels"], case["y_true"]


def trained(collapse, **parameters):
    R, labels, _ = collapse
    published = {"latent_dim": 15, "max_iter": 100, "tol": 0, "init_prior": False}
    trainer = CFEnsembleTrainer(random_state=42, **published | parameters)
    return trainer.fit(EnsembleData(R, labels))


def unlabelled_precision(proba, collapse):
    _, labels, y_true = collapse
    unknown = np.isnan(labels)
    return average_precision_score(y_true[unknown], proba[unknown])


# use_class_weights, ten thousand times the weights, intercept, PR-AUC, span of the predictions
COLLAPSED = [-519, -515, -581, -745, -593, -522, -558, -531, -533, -501]
CURED = [855, 873, 744, 717, 808, 766, 824, 812, 855, 801]
ROWS = {
    "no class weights": (False, COLLAPSED, -0.3381, 0.0711, (0.314, 0.362)),
    "class weights": (True, CURED, -0.1163, 1.0, (0.551, 0.627)),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_published_figures(collapse, row):
    use_class_weights, weights, intercept, precision, span = row
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = trained(collapse, use_class_weights=use_class_weights)
    kinds = [warning.category for warning in caught]
    assert kinds == ([] if use_class_weights else [CollapsedAggregatorWarning])
    # half of the last digit given
    np.testing.assert_allclose(trainer.weights_, np.array(weights) / 1e4, atol=5.5e-5)
    assert trainer.intercept_ == pytest.approx(intercept, abs=5.5e-5)
    proba = trainer.transductive_proba_[:, 1]
    assert unlabelled_precision(proba, collapse) == pytest.approx(precision, abs=5e-5)
    assert (proba.min(), proba.max()) == pytest.approx(span, abs=5e-4)
    error = trainer.classifier_factors_.T @ trainer.instance_factors_ - collapse[0]
    assert np.sqrt(np.square(error).mean()) == pytest.approx(0.0069, abs=5e-5)


@pytest.mark.parametrize(
    "cure",
    [
        {"use_class_weights": True},
        {"init_prior": True},
        {"aggregator_solver": "converged"},
        {"aggregator_type": "log_pool"},
    ],
    ids=lambda cure: next(iter(cure)),
)
def test_cures_of_the_collapse(collapse, cure):
    trainer = trained(collapse, **{"use_class_weights": False} | cure)
    proba = trainer.transductive_proba_[:, 1]
    assert unlabelled_precision(proba, collapse) == pytest.approx(1.0, abs=1e-12)
    # and by the fold-in, as if the instances had come later
    folded = trainer.predict_proba(collapse[0])[:, 1]
    assert unlabelled_precision(folded, collapse) == pytest.approx(1.0, abs=1e-12)


def test_the_warning_of_a_collapse_names_the_cures(collapse):
    cures = "use_class_weights=True.*init_prior=True.*'converged'.*'log_pool'"
    with pytest.warns(CollapsedAggregatorWarning, match="against the plain average.*" + cures):
        trained(collapse, use_class_weights=False)


def test_the_plain_average_needs_no_cure(collapse):
    proba = collapse[0].mean(axis=0)
    assert unlabelled_precision(proba, collapse) == pytest.approx(1.0, abs=1e-12)
