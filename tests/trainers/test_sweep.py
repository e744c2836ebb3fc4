import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone

from cfe_stack import CFEnsembleTrainer, EnsembleData
from cfe_stack.datasets import make_ensemble
from cfe_stack.factor_model import normal_equations
from cfe_stack.trainers import sweep
from cfe_stack.trainers.labeled_features import LabeledFeatures
from cfe_stack.trainers.sweep import StartFactors, keeps_factors

M, N = 6, 3000


def ensemble(n_labeled=N, dtype=np.float32, missing_rate=0.0):
    made = make_ensemble(M, N, missing_rate=missing_rate, random_state=0)
    labels = np.where(np.arange(N) < n_labeled, made.labels, -1)
    return EnsembleData(made.R.astype(dtype), labels)


def trainer(**parameters):
    return CFEnsembleTrainer(
        **{"latent_dim": 3, "max_iter": 5, "tol": 0, "random_state": 0} | parameters
    )


@pytest.mark.parametrize("cuts", [[0, N], [0, 1, N], [0, 256, 600, 2999, N], range(0, N + 1, 100)])
def test_start_factors_do_not_depend_on_how_they_are_asked_for(cuts, monkeypatch):
    monkeypatch.setattr(sweep, "START_BLOCK_ROWS", 700)
    data, expected = ensemble(), []
    random = np.random.RandomState(3)
    for start in range(0, N, 700):
        expected.append(0.01 * random.standard_normal((2, min(700, N - start))))
    start = StartFactors(np.random.RandomState(3), 2, data)
    parts = [start(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    result = np.concatenate(parts, axis=1)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.concatenate(expected, axis=1).astype(np.float32))


@pytest.mark.parametrize("missing_rate", [0.0, 0.2])
@pytest.mark.parametrize("parameters", [{}, {"supervision": "majorize"}, {"focal_gamma": 1.0}])
def test_what_is_not_stored_changes_nothing_else(parameters, missing_rate):
    data = ensemble(missing_rate=missing_rate)
    kept = trainer(**parameters).fit(data)
    lean = clone(kept).set_params(store_instance_factors=False).fit(data)
    assert kept.transductive_proba_.shape == (N, 2)
    np.testing.assert_array_equal(lean.weights_, kept.weights_)
    np.testing.assert_array_equal(lean.predict_proba(data), kept.predict_proba(data))
    for name in ("instance_factors_", "transductive_proba_"):
        with pytest.raises(
            AttributeError, match=f"{name} was not stored, .*store_instance_factors"
        ):
            getattr(lean, name)
    # a second fit leaves nothing of the first
    assert not hasattr(kept.set_params(store_instance_factors=False).fit(data), "instance_factors_")


def test_small_factors_are_stored_and_large_ones_if_asked_for(monkeypatch):
    data = ensemble()
    assert keeps_factors("auto", 3, data)
    monkeypatch.setattr(sweep, "MAX_KEPT_BYTES", N * (3 * 4 + 2 * 8) - 1)
    assert not keeps_factors("auto", 3, data)
    assert keeps_factors(True, 3, data)
    assert keeps_factors("auto", 2, data)
    with pytest.raises(ValueError, match="store_instance_factors must be a bool or 'auto', got 1"):
        trainer(store_instance_factors=1).fit(data)


@pytest.fixture
def no_look_at_the_ranking(monkeypatch):
    """Leave out the check of a collapse, which reads some thousand instances at the end."""
    monkeypatch.setattr(CFEnsembleTrainer, "_warn_if_collapsed", lambda *_: None)


class CountedMatrix(np.ndarray):
    """A matrix that counts the cells that are read from it."""

    def __getitem__(self, key):
        part = super().__getitem__(key)
        self.cells[0] += part.size
        return part.view(np.ndarray)

    @classmethod
    def of(cls, R):
        counted = R.view(cls)
        counted.cells = [0]
        return counted


def passes_of(data, **parameters):
    """Return how often a fit reads the matrix."""
    counted = CountedMatrix.of(data.R)
    object.__setattr__(data, "R", counted)
    trainer(**parameters).fit(data)
    return counted.cells[0] / (M * N)


@pytest.mark.usefixtures("no_look_at_the_ranking")
@pytest.mark.parametrize(
    ("parameters", "fixed"),
    [
        ({}, 1),
        ({"init": "spectral"}, 2),
        ({"standardize": True}, 2),
        ({"confidence": "adaptive"}, 2),
    ],
)
@pytest.mark.parametrize("sweeps", [1, 4])
def test_a_sweep_is_one_pass_over_the_data(parameters, fixed, sweeps):
    assert passes_of(ensemble(), max_iter=sweeps, **parameters) == fixed + sweeps


@pytest.mark.usefixtures("no_look_at_the_ranking")
def test_the_aggregator_and_the_loss_need_no_pass_of_their_own():
    solved = passes_of(ensemble(), aggregator_solver="converged", store_instance_factors=False)
    assert solved == passes_of(ensemble(), aggregator_type="mean") == 6


@pytest.mark.usefixtures("no_look_at_the_ranking")
@pytest.mark.parametrize("confidence", ["certainty", "uniform"])
def test_every_instance_is_solved_once_per_sweep(confidence, monkeypatch):
    solved, shared = [0], [0]
    packed, alike = normal_equations.solve_packed, normal_equations._solve_alike

    def count_packed(gram, right_sides, *args, **options):
        solved[0] += right_sides.shape[1]
        return packed(gram, right_sides, *args, **options)

    def count_alike(gram, right_sides, ridge):
        shared[0] += right_sides.shape[1]
        return alike(gram, right_sides, ridge)

    monkeypatch.setattr(normal_equations, "solve_packed", count_packed)
    monkeypatch.setattr(normal_equations, "_solve_alike", count_alike)
    trainer(confidence=confidence, use_label_aware_confidence=False).fit(ensemble())
    # five sweeps, each with a system per classifier
    if confidence == "uniform":
        assert (solved[0], shared[0]) == (5 * M, 5 * N)
    else:
        assert (solved[0], shared[0]) == (5 * (M + N), 0)


def test_features_are_made_for_the_rows_that_are_asked_for():
    data = ensemble(n_labeled=100, dtype=np.float64)
    fitted = trainer().fit(data)
    Y = fitted.instance_factors_[:, :100]
    features = LabeledFeatures.of(fitted.factor_model_, fitted._aggregator, [Y[:, :30], Y[:, 30:]])
    whole = fitted.factor_model_.reconstruct(Y).T
    assert len(features) == 100
    np.testing.assert_allclose(features[10:70], whole[10:70], rtol=1e-12)
    scores = whole @ fitted.weights_ + fitted.intercept_
    np.testing.assert_allclose(features.scores(), scores, rtol=1e-12)


class Made:
    """A matrix of which only the slices that are asked for exist."""

    dtype = np.dtype(np.float32)

    def __init__(self, m, n):
        self.shape = (m, n)

    def __getitem__(self, key):
        rows, instances = key
        k = np.arange(instances.start, instances.stop)
        return ((k * (7 + np.arange(self.shape[0])[:, None]) % 97) / 97).astype(np.float32)[rows]


def peak_of_a_fit(n):
    """Return the most bytes that were allocated while a matrix was checked and fitted."""
    labels = np.full(n, -1, dtype=np.int8)
    labels[:500] = np.arange(500) % 2
    tracemalloc.start()
    trainer(max_iter=1, n_jobs=1, latent_dim=1, store_instance_factors=False).fit(
        EnsembleData(Made(3, n), labels)
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_unlabelled_instances_cost_no_memory():
    small, large = peak_of_a_fit(200_000), peak_of_a_fit(1_000_000)
    assert large - small < 0.05 * 800_000


@pytest.mark.parametrize(
    "solver", [{"aggregator_solver": "converged"}, {"aggregator_type": "log_pool"}]
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_features_that_are_too_many_to_hold_are_solved_in_slices(n_classes, solver, monkeypatch):
    made = make_ensemble(M, 200, n_classes, random_state=0)
    data = EnsembleData(made.R, made.labels)
    whole = trainer(**solver).fit(data)
    monkeypatch.setattr("cfe_stack.trainers.aggregators.MAX_HELD_CELLS", 0)
    monkeypatch.setattr("cfe_stack.pools.design.BLOCK_ROWS", 7)
    parts = trainer(**solver).fit(data)
    np.testing.assert_allclose(parts.weights_, whole.weights_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(parts.intercept_, whole.intercept_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("gradient", ["exact", "reweighted"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_gradients_may_be_taken_piece_by_piece(n_classes, gradient, monkeypatch):
    made = make_ensemble(M, 200, n_classes, random_state=0)
    data = EnsembleData(made.R, made.labels)
    whole = trainer(focal_gamma=1.5, focal_gradient=gradient).fit(data)
    monkeypatch.setattr("cfe_stack.pools.design.BLOCK_ROWS", 7)
    parts = trainer(focal_gamma=1.5, focal_gradient=gradient).fit(data)
    np.testing.assert_allclose(parts.weights_, whole.weights_, rtol=1e-10)
    np.testing.assert_allclose(parts.intercept_, whole.intercept_, rtol=1e-10)
    objectives = [fitted.history_["objective"] for fitted in (parts, whole)]
    np.testing.assert_allclose(*objectives, rtol=1e-12)
