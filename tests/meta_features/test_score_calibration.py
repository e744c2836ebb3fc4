import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from cfe_stack.meta_features.score_calibration import ScoreCalibrator, cross_fitted

RNG = np.random.default_rng(0)
N = 120


def scores(n_classes, n_columns):
    codes = np.arange(N) % n_classes
    centres = RNG.normal(size=(n_classes, n_columns))
    return 40 + 10 * (centres[codes] + RNG.normal(size=(N, n_columns))), codes


def reference(columns, codes, weights, n_classes, new):
    """Multinomial logistic regression on standardised columns, ridge 1, by a generic optimiser."""
    mean = np.average(columns, axis=0, weights=weights)
    spread = np.sqrt(np.average((columns - mean) ** 2, axis=0, weights=weights))
    A, B = (columns - mean) / spread, (new - mean) / spread
    k = columns.shape[1]

    if n_classes == 2:
        sign = 2 * codes - 1

        def loss(theta):
            margin = sign * (A @ theta[:k] + theta[k])
            return weights @ np.logaddexp(0, -margin) + 0.5 * theta[:k] @ theta[:k]

        theta = minimize(loss, np.zeros(k + 1), options={"gtol": 1e-9}).x
        p = 1 / (1 + np.exp(-(B @ theta[:k] + theta[k])))
        return np.column_stack([1 - p, p])

    def loss(theta):
        W, b = theta[: k * n_classes].reshape(k, n_classes), theta[k * n_classes :]
        s = A @ W + b
        return weights @ (logsumexp(s, axis=1) - s[np.arange(len(s)), codes]) + 0.5 * (W**2).sum()

    theta = minimize(loss, np.zeros((k + 1) * n_classes), options={"gtol": 1e-9}).x
    s = B @ theta[: k * n_classes].reshape(k, n_classes) + theta[k * n_classes :]
    return np.exp(s - logsumexp(s, axis=1, keepdims=True))


@pytest.mark.parametrize(("n_classes", "n_columns"), [(2, 1), (3, 1), (3, 3), (4, 6)])
def test_probabilities_are_those_of_a_logistic_regression_on_standardised_scores(
    n_classes, n_columns
):
    columns, codes = scores(n_classes, n_columns)
    weights = RNG.integers(1, 4, N).astype(float)
    proba = ScoreCalibrator.fit(columns, codes, weights, n_classes).predict_proba(columns[:20])
    expected = reference(columns, codes, weights, n_classes, columns[:20])
    np.testing.assert_allclose(proba, expected, atol=2e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_are_frequencies(n_classes):
    columns, codes = scores(n_classes, 2)
    weights = RNG.integers(0, 3, N)
    repeated = np.repeat(np.arange(N), weights)
    first = ScoreCalibrator.fit(
        columns[repeated], codes[repeated], np.ones(len(repeated)), n_classes
    )
    second = ScoreCalibrator.fit(columns, codes, weights.astype(float), n_classes)
    np.testing.assert_allclose(
        first.predict_proba(columns), second.predict_proba(columns), atol=1e-9
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_with_a_missing_score_stay_missing_and_teach_nothing(n_classes):
    columns, codes = scores(n_classes, 2)
    holed = columns.copy()
    holed[::5, 1] = np.nan
    full = ~np.isnan(holed).any(axis=1)
    model = ScoreCalibrator.fit(holed, codes, np.ones(N), n_classes)
    alone = ScoreCalibrator.fit(columns[full], codes[full], np.ones(full.sum()), n_classes)
    proba = model.predict_proba(holed)
    assert np.isnan(proba[~full]).all()
    np.testing.assert_allclose(proba[full], alone.predict_proba(columns[full]), rtol=1e-12)


@pytest.mark.parametrize("columns", [np.full((N, 1), np.nan), None])
def test_without_two_classes_the_prior_is_all_there_is(columns):
    codes = np.zeros(N, dtype=int)
    given = RNG.normal(size=(N, 1)) if columns is None else columns
    model = ScoreCalibrator.fit(given, codes, np.ones(N), 3)
    proba = model.predict_proba(np.array([[0.0], [np.nan]]))
    np.testing.assert_allclose(proba[0], np.array([N + 1 / 3, 1 / 3, 1 / 3]) / (N + 1))
    assert np.isnan(proba[1]).all()


def test_a_class_that_was_never_seen_gets_a_small_probability():
    columns, codes = scores(2, 1)
    proba = ScoreCalibrator.fit(columns, codes * 2, np.ones(N), 4).predict_proba(columns)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_allclose(proba[:, [1, 3]], 0.25 / (N + 1))
    assert (proba > 0).all()


def test_no_label_touches_its_own_row():
    columns, codes = scores(3, 2)
    folds = np.arange(N) // 3 % 4
    proba = cross_fitted(columns, codes, np.ones(N), folds, 3)
    flipped = np.where(folds == 1, (codes + 1) % 3, codes)
    again = cross_fitted(columns, flipped, np.ones(N), folds, 3)
    np.testing.assert_array_equal(again[folds == 1], proba[folds == 1])
    assert (np.abs(again - proba)[folds != 1].max(axis=1) > 1e-4).all()
    rest = folds != 2
    model = ScoreCalibrator.fit(columns[rest], codes[rest], np.ones(rest.sum()), 3)
    np.testing.assert_array_equal(proba[~rest], model.predict_proba(columns[~rest]))


def test_margins_whose_squares_overflow_are_calibrated():
    rng = np.random.default_rng(0)
    codes = np.arange(60) % 2
    columns = ((2 * codes - 1 + rng.normal(size=60)) * 1e300)[:, None]
    proba = ScoreCalibrator.fit(columns, codes, np.ones(60), 2).predict_proba(columns)
    assert np.isfinite(proba).all()
    assert proba[codes == 1, 1].mean() > 0.6
