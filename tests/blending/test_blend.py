"""A blend as an object: what is fitted, on which rows, and what is written."""

import csv
import importlib

import numpy as np
import pytest

from cfe_stack import CFEnsembleClassifier, EnsembleData
from cfe_stack.blending.blend import blend, describe, format_scores, write_submission
from cfe_stack.datasets import make_ensemble
from cfe_stack.metrics import resolve_metric

QUICK = {"contenders": ["mean"], "n_draws": 50, "progress": False}


@pytest.fixture(scope="module")
def parts():
    made = make_ensemble(4, 300, random_state=0)
    labels = np.where(np.arange(200) % 10 == 0, -1, made.labels[:200])
    names = list("abcd")
    data = EnsembleData(made.R[:, :200], labels, classifier_names=names)
    return data, EnsembleData(made.R[:, 200:], classifier_names=names)


@pytest.fixture(scope="module")
def blended(parts):
    return blend(*parts, **QUICK)


def test_predictions_are_those_of_a_classifier_on_the_labelled_rows(parts, blended):
    data, test = parts
    known = data.labels >= 0
    classifier = CFEnsembleClassifier(layout="class1").fit(data.R.T[known], data.labels[known])
    np.testing.assert_array_equal(blended.proba, classifier.predict_proba(test.R.T))


def test_scores_are_those_of_rows_that_were_held_out(blended):
    assert len(blended.held_out_codes) == 180
    assert set(blended.held_out) == {"CF-Ensemble", "mean"}
    metric = resolve_metric("log_loss")
    for score in blended.scores:
        expected = metric.score(blended.held_out_codes, blended.held_out[score.contender], None)
        assert score.score == pytest.approx(expected, rel=1e-12)
    assert blended.score.contender == "CF-Ensemble"
    # worse than on the rows it was fitted on: those were not scored
    known = blended.data.labels >= 0
    fitted = blended.classifier.predict_proba(blended.data.R.T[known])
    assert metric.score(blended.data.labels[known], fitted, None) < blended.score.score


@pytest.mark.exhaustive
def test_the_metric_orders_the_table(parts):
    found = blend(*parts, metric="roc_auc", **QUICK)
    scores = [s.score for s in found.scores]
    assert scores == sorted(scores, reverse=True)
    assert format_scores(found).splitlines()[0].split()[0] == "roc_auc"


def test_other_models_in_test_are_refused_before_the_work(parts, monkeypatch):
    # the package has a function of the same name as the module
    module = importlib.import_module("cfe_stack.blending.blend")
    monkeypatch.setattr(module, "compare_ensembles", None)
    with pytest.raises(ValueError, match="same classifiers and classes"):
        blend(parts[0], EnsembleData(parts[1].R), **QUICK)


def test_a_submission_holds_ids_and_exact_probabilities(blended, tmp_path):
    path = tmp_path / "s.csv"
    write_submission(blended, path, id_column="row", target_column="sold")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == [str(i) for i in range(100)]
    np.testing.assert_array_equal([float(row["sold"]) for row in rows], blended.proba[:, 1])


def test_what_is_blended_is_described(parts):
    data, test = parts
    text = describe(data, test)
    assert text == (
        "4 models, 2 classes; 180 rows with labels (0.0% of the cells missing), 100 rows to "
        "predict (0.0% missing)"
    )
    R = np.array(test.R)
    R[:, 3] = np.nan
    empty = describe(data, EnsembleData(R, classifier_names=list("abcd")))
    assert "(1.0% missing); 1 row(s) to predict have no prediction at all; rows not" in empty
    assert empty.endswith("out of fold and test: a 0 and 1, b 0 and 1, c 0 and 1, d 0 and 1")
    R[:3], R[3, :5] = test.R[:3], np.nan
    some = describe(data, EnsembleData(R, classifier_names=list("abcd")))
    assert some.endswith("; rows not predicted, out of fold and test: d 0 and 5")
