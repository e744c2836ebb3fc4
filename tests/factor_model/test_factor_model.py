import numpy as np
import pytest
from implementations import CONFIDENCES

from cfe_stack import EnsembleData
from cfe_stack.data import ensemble_data
from cfe_stack.datasets import make_ensemble
from cfe_stack.factor_model.confidence import (
    CertaintyConfidence,
    LabelAwareConfidence,
    UniformConfidence,
)
from cfe_stack.factor_model.factor_model import FactorModel
from cfe_stack.losses.link import IdentityLink, make_link

LABEL_AWARE = LabelAwareConfidence(CertaintyConfidence())
SETTINGS = {
    "identity": (2, "identity", False),
    "logit, standardized": (2, "logit", True),
    "three classes": (3, "identity", False),
    "three classes, logit, standardized": (3, "logit", True),
}
every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)


def ensemble(n_classes=2, *, n=50, missing_rate=0.3, **options):
    made = make_ensemble(6, n, n_classes, missing_rate=missing_rate, random_state=0)
    return EnsembleData(made.R, made.labels, **options)


def model_of(data, link, standardize, strategy=LABEL_AWARE, latent_dim=3):
    """Return a model with random factors, and random biases where rows are standardized."""
    rng = np.random.default_rng(1)
    n_rows = data.n_classifiers * (data.n_classes if data.n_classes > 2 else 1)
    model = FactorModel(
        link=make_link(link, data.n_classes),
        confidence=strategy.fit(data),
        lambda_reg=0.3,
        n_classifiers=data.n_classifiers,
        shift=np.zeros(n_rows),
        scale=np.ones(n_rows),
        factors=rng.normal(size=(latent_dim, n_rows)),
        bias=rng.normal(size=n_rows) * standardize,
    )
    return model.standardized(data) if standardize else model


def rows_of(data, link):
    """Return linked values as rows (m · k, n), classifier-major, NaN where missing."""
    Z = make_link(link, data.n_classes).forward(data.R)
    return Z if Z.ndim == 2 else np.stack([Z[u, :, k] for u, k in np.ndindex(6, 3)])


@every_setting
def test_fold_in_is_the_ridge_regression_on_the_observed_cells(setting):
    n_classes, link, standardize = setting
    data = ensemble(n_classes)
    model = model_of(data, link, standardize)
    Z = (rows_of(data, link) - model.shift[:, None]) / model.scale[:, None] - model.bias[:, None]
    C = np.repeat(CertaintyConfidence().prediction_weights(data.R), len(Z) // 6, axis=0)
    X, Y = model.factors, model.fold_in(data)
    assert Y.shape == (3, 50)
    # y minimizes Σ c (z − x · y)² + λ ‖y‖², so the gradient vanishes
    gradient = X @ (C * (X.T @ Y - np.nan_to_num(Z))) + 0.3 * Y
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


@every_setting
@pytest.mark.parametrize("strategy", CONFIDENCES.values(), ids=CONFIDENCES)
def test_fold_in_is_label_free_and_looks_at_one_instance_alone(strategy, setting):
    data = ensemble(setting[0])
    model = model_of(data, *setting[1:], strategy=strategy)
    Y = model.fold_in(data)
    relabelled = EnsembleData(data.R, np.roll(data.labels, 1))
    np.testing.assert_array_equal(model.fold_in(relabelled), Y)
    np.testing.assert_array_equal(model.fold_in(EnsembleData(data.R)), Y)
    some = [31, 4, 7]
    alone = model.fold_in(EnsembleData(data.R[:, some]))
    np.testing.assert_allclose(alone, Y[:, some], rtol=1e-9, atol=1e-12)


@every_setting
def test_confidence_of_the_data_multiplies_the_strategy(setting):
    data = ensemble(setting[0], missing_rate=0.0)
    model = model_of(data, *setting[1:], strategy=UniformConfidence())
    drop = np.random.default_rng(0).random((6, 50)) < 0.3
    holed = data.R.copy()
    holed[drop] = np.nan
    excluded = model.fold_in(EnsembleData(data.R, C=np.where(drop, 0.0, 1.0)))
    np.testing.assert_allclose(excluded, model.fold_in(EnsembleData(holed)), rtol=1e-10, atol=1e-12)
    certain = model.fold_in(EnsembleData(data.R, C=CertaintyConfidence().base(data.R)))
    expected = model_of(data, *setting[1:], strategy=CertaintyConfidence()).fold_in(data)
    np.testing.assert_allclose(certain, expected, rtol=1e-10, atol=1e-12)


@every_setting
def test_rows_and_back(setting):
    data = ensemble(setting[0], missing_rate=0.0)
    model = model_of(data, *setting[1:])
    np.testing.assert_array_equal(model.rows(model.link.forward(data.R)), rows_of(data, setting[1]))
    back = model.unstandardize(model.linked(data.R))
    np.testing.assert_allclose(back, model.link.forward(data.R), rtol=1e-12, atol=1e-14)


@every_setting
def test_reconstruction_is_shift_and_scale_of_factors_and_bias(setting):
    data = ensemble(setting[0])
    model = model_of(data, *setting[1:])
    Y = model.fold_in(data)
    rows = model.shift + model.scale * (Y.T @ model.factors + model.bias)
    result = model.reconstruct(Y)
    assert result.shape == data.R.shape
    np.testing.assert_allclose(model.rows(result), rows.T, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("link", ["identity", "logit"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_standardised_rows_have_mean_zero_and_variance_one_over_observed_cells(n_classes, link):
    frequency = np.random.default_rng(0).integers(0, 3, size=50)
    data = ensemble(n_classes, sample_weight=frequency)
    model = model_of(data, link, True)
    rows = np.repeat(rows_of(data, link), frequency, axis=1)
    np.testing.assert_allclose(model.shift, np.nanmean(rows, axis=1), rtol=1e-12)
    np.testing.assert_allclose(model.scale, np.nanstd(rows, axis=1), rtol=1e-10)


def test_standardisation_leaves_out_cells_without_confidence():
    full = ensemble(missing_rate=0.0)
    drop = np.random.default_rng(0).random((6, 50)) < 0.3
    holed = np.where(drop, np.nan, full.R)
    excluded = model_of(EnsembleData(full.R, C=np.where(drop, 0.0, 1.0)), "logit", True)
    missing = model_of(EnsembleData(holed), "logit", True)
    np.testing.assert_allclose(excluded.shift, missing.shift, rtol=1e-12)
    np.testing.assert_allclose(excluded.scale, missing.scale, rtol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.7, np.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_and_empty_rows_keep_their_scale(constant, dtype):
    R = ensemble(missing_rate=0.0).R.copy().astype(dtype)
    R[2] = constant
    data = EnsembleData(R)
    model = model_of(data, "identity", True)
    assert model.scale[2] == 1
    assert model.shift[2] == pytest.approx(np.nan_to_num(constant), abs=1e-7)
    np.testing.assert_allclose(model.linked(R)[2], 0, atol=1e-6)
    assert np.isfinite(model.fold_in(data)).all()


@every_setting
def test_completion_fills_the_holes_with_probabilities_and_nothing_else(setting):
    data = ensemble(setting[0])
    model = model_of(data, *setting[1:])
    Y, before = model.fold_in(data), data.R.copy()
    completed = model.complete(data, Y)
    missing = np.isnan(data.R)
    np.testing.assert_array_equal(data.R, before)
    np.testing.assert_array_equal(completed[~missing], data.R[~missing])
    filled = model.link.inverse(model.reconstruct(Y))
    np.testing.assert_allclose(completed[missing], filled[missing], rtol=1e-12)
    assert ((completed >= 0) & (completed <= 1)).all()


def test_completion_of_a_complete_matrix_is_a_copy_in_double_precision():
    data = EnsembleData(ensemble(missing_rate=0.0).R.astype(np.float32))
    model = model_of(data, "logit", True)
    completed = model.complete(data, model.fold_in(data))
    assert completed.dtype == np.float64
    np.testing.assert_array_equal(completed, data.R)
    assert not np.shares_memory(completed, data.R)


@every_setting
def test_an_instance_without_predictions_has_no_factors_and_the_mean_of_the_rows(setting):
    data = ensemble(setting[0])
    R = data.R.copy()
    R[:, 5] = np.nan
    model = model_of(data, *setting[1:])
    Y = model.fold_in(EnsembleData(R))
    np.testing.assert_array_equal(Y[:, 5], 0)
    rows = model.rows(model.reconstruct(Y))
    np.testing.assert_allclose(rows[:, 5], model.shift + model.scale * model.bias, rtol=1e-12)


@every_setting
def test_blocks_change_nothing(setting, monkeypatch):
    data = ensemble(setting[0], n=900)
    whole = model_of(data, *setting[1:])
    monkeypatch.setattr(ensemble_data, "BLOCK_CELLS", 1)
    assert len(list(data.blocks())) == 4
    parts = model_of(data, *setting[1:])
    np.testing.assert_allclose(parts.shift, whole.shift, rtol=1e-12)
    np.testing.assert_allclose(parts.scale, whole.scale, rtol=1e-12)
    np.testing.assert_allclose(parts.fold_in(data), whole.fold_in(data), rtol=1e-9, atol=1e-12)


@every_setting
def test_single_precision_stays_single(setting):
    data = ensemble(setting[0])
    double = model_of(data, *setting[1:])
    single = EnsembleData(data.R.astype(np.float32), C=np.ones((6, 50)))
    Y = double.fold_in(single)
    assert Y.dtype == double.linked(single.R).dtype == double.predicted(Y).dtype == np.float32
    np.testing.assert_allclose(Y, double.fold_in(data), atol=1e-3)


def test_with_factors_is_a_copy():
    model = model_of(ensemble(), "identity", False)
    other = model.with_factors(np.ones((2, 6)), np.ones(6))
    assert model.factors.shape == (3, 6)
    assert other.factors.shape == (2, 6)
    assert other.link == model.link == IdentityLink()
