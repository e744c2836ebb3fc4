import threading
import warnings

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cfe_stack import CFEnsembleClassifier, EnsembleData
from cfe_stack.comparison.contenders import CONTENDERS, OURS, USUAL, resolve_contenders
from cfe_stack.data.missing import MissingPredictionsWarning
from cfe_stack.datasets import make_ensemble
from cfe_stack.meta_features.stacked_columns import cells, columns, completed
from cfe_stack.metrics import METRICS
from cfe_stack.runtime.optional_packages import MissingExtraError, import_extra


def parts(n_classes=2, missing_rate=0.0, n=160, seed=0, **settings):
    made = make_ensemble(6, n, n_classes, missing_rate=missing_rate, random_state=seed, **settings)
    half = n // 2
    return (
        EnsembleData(made.R[:, :half], made.labels[:half]),
        EnsembleData(made.R[:, half:], made.labels[half:]),
    )


def predict(contender, train, test):
    try:
        if contender.requires:
            import_extra(contender.requires, extra="comparison")
    except MissingExtraError:
        pytest.skip(f"{contender.requires} is not installed")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        warnings.simplefilter("ignore", MissingPredictionsWarning)
        return contender.predict(train, test)


@pytest.mark.first_cases
@pytest.mark.parametrize("name", CONTENDERS)
@pytest.mark.parametrize(("n_classes", "missing_rate"), [(2, 0.3), (3, 0.3)])
def test_every_contender_predicts_whatever_is_missing(name, n_classes, missing_rate):
    train, test = parts(n_classes, missing_rate, n=240, difficulty=0.2)
    R = test.R.copy()
    R[:, 0] = np.nan
    proba = predict(CONTENDERS[name], train, EnsembleData(R))
    assert proba.shape == (test.n_instances, n_classes)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert METRICS["roc_auc"].score(test.labels[1:], proba[1:], None) > 0.7


@pytest.mark.first_cases
@pytest.mark.parametrize("name", CONTENDERS)
def test_no_contender_looks_at_the_labels_of_the_other_part(name):
    train, test = parts(n=100)
    turned = EnsembleData(test.R, 1 - test.labels)
    np.testing.assert_array_equal(
        predict(CONTENDERS[name], train, test), predict(CONTENDERS[name], train, turned)
    )


@pytest.mark.first_cases
@pytest.mark.parametrize("name", [n for n in CONTENDERS if "published" not in n])
def test_every_row_is_predicted_on_its_own(name):
    """What is filled into missing cells does not come from other held-out rows."""
    train, test = parts(missing_rate=0.2, n=100)
    few = EnsembleData(test.R[:, :3])
    np.testing.assert_allclose(
        predict(CONTENDERS[name], train, test)[:3],
        predict(CONTENDERS[name], train, few),
        atol=1e-6,
    )


def test_missing_cells_take_the_mean_of_their_row():
    nan = np.nan
    train = EnsembleData([[0.2, 0.4], [0.4, 0.8]], [0, 1], sample_weight=[1.0, 3.0])
    test = EnsembleData([[0.2, nan, 0.9], [nan, nan, 0.5], [0.6, nan, 0.1]], C=np.ones((3, 3)))
    P, P_new = completed(train, test)
    np.testing.assert_allclose(P[:, :, 1], train.R.T)
    np.testing.assert_allclose(P_new[:, :, 1], [[0.2, 0.4, 0.6], [0.75] * 3, [0.9, 0.5, 0.1]])


def test_averages_are_over_what_is_there():
    train, _ = parts()
    test = EnsembleData([[0.2], [0.4], *[[np.nan]] * 4])
    assert CONTENDERS["mean"].predict(train, test)[0, 1] == pytest.approx(0.3)
    odds = np.sqrt(0.2 / 0.8 * 0.4 / 0.6)
    assert CONTENDERS["geometric mean"].predict(train, test)[0, 1] == pytest.approx(
        odds / (1 + odds)
    )


def test_confidence_zero_is_missing():
    data = EnsembleData([[0.2, 0.3], [0.4, 0.5]], C=[[1.0, 0.0], [1.0, 1.0]])
    np.testing.assert_array_equal(np.isnan(cells(data)[:, :, 1]), [[False, False], [True, False]])


def test_columns_are_those_of_a_stack():
    P = np.array([[[0.1, 0.9], [0.3, 0.7]]])
    np.testing.assert_array_equal(columns(P), [[0.9, 0.7]])
    Q = np.array([[[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]])
    np.testing.assert_array_equal(columns(Q), [[0.1, 0.2, 0.7, 0.3, 0.3, 0.4]])


def test_ours_is_the_final_estimator_on_the_same_columns():
    train, test = parts(3, n=100)
    P, P_new = columns(cells(train)), columns(cells(test))
    expected = CFEnsembleClassifier().fit(P, train.labels).predict_proba(P_new)
    np.testing.assert_allclose(CONTENDERS[OURS].predict(train, test), expected)


def test_estimators_get_filled_columns_unless_they_take_gaps():
    train, test = parts(missing_rate=0.3)
    plain, tree = resolve_contenders(
        {"plain": LogisticRegression(), "tree": HistGradientBoostingClassifier(max_iter=5)}
    )
    assert plain.missing != tree.missing
    np.testing.assert_allclose(
        plain.predict(train, test), CONTENDERS["LogisticRegression"].predict(train, test), atol=1e-3
    )
    assert tree.predict(train, test).shape == (80, 2)


def test_a_class_that_is_absent_from_training_gets_nothing():
    train, test = parts(3)
    there = np.flatnonzero(train.labels != 1)
    train = EnsembleData(train.R[:, there], train.labels[there])
    for contender in resolve_contenders(["LogisticRegression", "mean"]):
        assert contender.predict(train, test).shape == (80, 3)
    proba = CONTENDERS["LogisticRegression"].predict(train, test)
    assert (proba[:, 1] == 0).all()


@pytest.mark.parametrize("model", [GaussianNB(), make_pipeline(StandardScaler(), GaussianNB())])
def test_sample_weights_reach_the_estimator(model):
    train, test = parts()
    heavy = EnsembleData(train.R, train.labels, sample_weight=1.0 + 9 * train.labels)
    (contender,) = resolve_contenders({"bayes": model})
    assert (contender.predict(heavy, test)[:, 1] >= contender.predict(train, test)[:, 1]).all()


def test_a_name_of_ones_own():
    (contender,) = resolve_contenders({"average": "mean"})
    assert (contender.name, contender.identity) == ("average", "mean")
    assert [c.name for c in resolve_contenders()] == list(USUAL)


def scaled(factor):
    def contender(train, test):
        return np.full((test.n_instances, 2), factor)

    return contender


def test_what_a_result_is_stored_under_knows_parameters_and_closures():
    def identity(what):
        return resolve_contenders({"it": what})[0].identity

    assert identity(LogisticRegression()) == identity(LogisticRegression())
    assert identity(LogisticRegression(C=2.0)) != identity(LogisticRegression())
    assert identity(scaled(0.5)) == identity(scaled(0.5)) != identity(scaled(0.4))
    assert identity(scaled(threading.Lock())) is None  # it cannot be hashed


@pytest.mark.parametrize(
    ("contenders", "message"),
    [
        ("mean", "must be a list of names or a dict"),
        (["avarage"], "'avarage' is 'avarage'; it must be a built-in name"),
        ([], "contenders is empty"),
        ({"x": 3}, "'x' is 3"),
        ({"x": LogisticRegression}, "with predict_proba"),
    ],
)
def test_what_is_no_contender_is_named(contenders, message):
    with pytest.raises(ValueError, match=message):
        resolve_contenders(contenders)


def test_an_estimator_is_not_changed():
    model = DummyClassifier()
    train, test = parts()
    resolve_contenders({"dummy": model})[0].predict(train, test)
    assert not hasattr(model, "classes_")
