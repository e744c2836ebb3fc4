import numpy as np
import pytest

from cfe_stack import CFEnsembleClassifier
from cfe_stack.classifier.complete_rows import CompleteRows
from cfe_stack.classifier.final_aggregators import FINAL_AGGREGATORS
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.datasets import make_ensemble

N = 1500
POOLS = ["auto", *(family.name for family in FINAL_AGGREGATORS["auto"].families)]


def columns(n_classes=2, missing_rate=0.0, n=N):
    made = make_ensemble(6, n, n_classes, missing_rate=missing_rate, random_state=0)
    P = made.R.T if n_classes == 2 else made.R.transpose(1, 0, 2).reshape(n, -1)
    return np.ascontiguousarray(P), made.labels


def fitted(n_classes=2, missing_rate=0.0, **parameters):
    P, y = columns(n_classes, missing_rate)
    somebody = ~np.isnan(P).all(axis=1)
    return CFEnsembleClassifier(**{"cv": 3} | parameters).fit(P[somebody], y[somebody])


def long_way(model, P):
    """Return the scores by fold-in, completion, gates and pool, one after another."""
    predictor = model._predictor
    data = EnsembleData(np.ascontiguousarray(model._reader.matrix(P)))
    return predictor.aggregator.scores(predictor.folded_in(data))


@pytest.mark.parametrize("missing_rate", [0.0, 0.2])
@pytest.mark.parametrize("aggregator", POOLS)
def test_the_closed_form_is_the_long_way(aggregator, missing_rate):
    model = fitted(aggregator=aggregator, missing_rate=missing_rate, random_state=0)
    assert isinstance(model._predictor._complete_rows, CompleteRows)
    P = columns()[0]
    P[0] = [0.0, 1.0, 0.5, 1e-9, 1 - 1e-9, 0.2]
    expected = long_way(model, P)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(model.decision_function(P), expected, rtol=0, atol=1e-11)
    single = model.decision_function(P.astype(np.float32))
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "parameters",
    [
        {"aggregator": "mean"},
        {"aggregator": "weighted"},
        {"aggregator": "linear_pool"},
        {"confidence": "certainty"},
        {"link": "identity"},
        {"n_classes": 3},
    ],
)
def test_whatever_has_no_closed_form_goes_the_long_way(parameters):
    n_classes = parameters.get("n_classes", 2)
    model = fitted(**parameters)
    assert model._predictor._complete_rows is None
    P = columns(n_classes)[0]
    np.testing.assert_allclose(model.decision_function(P), long_way(model, P), rtol=0, atol=1e-10)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_are_predicted_alike_in_blocks_and_beside_incomplete_ones(n_classes, monkeypatch):
    model = fitted(n_classes)
    P = columns(n_classes)[0]
    whole = model.decision_function(P)
    holed = P.copy()
    holed[7, : n_classes if n_classes > 2 else 1] = np.nan
    others = np.arange(N) != 7
    monkeypatch.setattr("cfe_stack.data.ensemble_data.BLOCK_CELLS", 1)
    np.testing.assert_allclose(model.decision_function(P), whole, rtol=0, atol=1e-11)
    beside = model.decision_function(holed)
    np.testing.assert_allclose(beside[others], whole[others], rtol=0, atol=1e-10)
    assert np.abs(beside[7] - whole[7]).max() > 1e-6
