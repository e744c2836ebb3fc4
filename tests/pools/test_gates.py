import numpy as np
import pytest
from scipy.stats import ortho_group

from cfe_stack.pools.gates import Gates, mean_entropy

M, N, D = 6, 150, 3


def instances(n_classes=2, seed=0):
    """Return classifier factors, instance factors, log-odds and frequencies."""
    rng = np.random.default_rng(seed)
    rows = M if n_classes == 2 else M * n_classes
    factors = rng.normal(size=(D, rows)) + np.array([[1.5], [0], [0]])
    Y = rng.normal(size=(D, N)) * np.array([[2.0], [1.0], [0.5]]) + 0.7
    Z = rng.normal(size=(N, M) if n_classes == 2 else (N, n_classes, M))
    if n_classes > 2:
        Z -= Z.mean(axis=1, keepdims=True)
    return factors, Y, Z, rng.integers(1, 4, N).astype(float)


def values(factors, Y, Z, weights):
    return Gates.fit(factors, Y, Z, weights).values(Y, Z)


@pytest.mark.parametrize(("Z", "entropy"), [(np.zeros((1, 4, 3)), np.log(4)), (None, 0.0)])
def test_entropy_of_the_average(Z, entropy):
    certain = 50 * np.array([1.0, 0, 0, 0])[None, :, None] * np.ones((1, 1, 3))
    assert mean_entropy(certain if Z is None else Z)[0] == pytest.approx(entropy, abs=1e-12)


def test_the_gate_is_the_first_principal_component_of_the_reconstruction():
    factors, Y, Z, weights = instances()
    mean = np.average(Y, axis=1, weights=weights)[:, None]
    loadings = np.linalg.svd((factors.T @ (Y - mean)) * np.sqrt(weights), full_matrices=False)[0]
    axis = loadings[:, 0] * np.sign(loadings[:, 0].sum())
    score = axis @ factors.T @ (Y - mean)
    expected = np.tanh(score / np.sqrt(np.average(score**2, weights=weights)))
    np.testing.assert_allclose(values(factors, Y, Z, weights), expected[:, None], atol=1e-10)


@pytest.mark.parametrize(("n_classes", "n_gates"), [(2, 1), (3, 2), (5, 2)])
def test_gates_are_standardised_and_inside_one(n_classes, n_gates):
    factors, Y, Z, weights = instances(n_classes)
    gate = values(factors, Y, Z, weights)
    assert gate.shape == (N, n_gates)
    assert (np.abs(gate) < 1).all()
    inner = np.arctanh(gate)
    np.testing.assert_allclose(np.average(inner, axis=0, weights=weights), 0, atol=1e-10)
    np.testing.assert_allclose(np.average(inner**2, axis=0, weights=weights), 1, atol=1e-10)


def test_the_second_gate_is_the_entropy_of_the_average():
    factors, Y, Z, weights = instances(3)
    inner = np.arctanh(values(factors, Y, Z, weights)[:, 1])
    assert np.corrcoef(inner, mean_entropy(Z))[0, 1] == pytest.approx(1)


def test_the_gate_rises_with_what_the_classifiers_say():
    factors, Y, Z, weights = instances()
    gate = values(factors, Y, Z, weights)[:, 0]
    assert np.corrcoef(gate, (factors.T @ Y).mean(axis=0))[0, 1] > 0.5
    np.testing.assert_allclose(values(-factors, Y, Z, weights)[:, 0], -gate)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_basis_of_the_factors_and_the_order_of_classifiers_do_not_matter(n_classes):
    factors, Y, Z, weights = instances(n_classes)
    gate = values(factors, Y, Z, weights)
    rotation = ortho_group.rvs(D, random_state=0)
    np.testing.assert_allclose(values(rotation @ factors, rotation @ Y, Z, weights), gate)
    order = np.random.default_rng(0).permutation(M)
    moved = factors.reshape(D, M, -1)[:, order].reshape(factors.shape)
    np.testing.assert_allclose(values(moved, Y, Z[..., order], weights), gate)


def test_weights_are_frequencies():
    factors, Y, Z, weights = instances(3)
    copies = np.repeat(np.arange(N), weights.astype(int))
    repeated = Gates.fit(factors, Y[:, copies], Z[copies], np.ones(len(copies)))
    np.testing.assert_allclose(repeated.values(Y, Z), values(factors, Y, Z, weights))


def test_new_rows_are_placed_by_the_training_rows():
    factors, Y, Z, weights = instances(3)
    gates = Gates.fit(factors, Y, Z, weights)
    every = gates.values(Y, Z)
    for row in (0, 77):
        one = gates.values(Y[:, [row]], Z[[row]])
        np.testing.assert_allclose(one, every[[row]])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("still", ["factors", "instances", "log-odds"])
def test_what_does_not_vary_gives_a_gate_of_0(n_classes, still):
    factors, Y, Z, weights = instances(n_classes)
    if still == "factors":
        factors = np.zeros_like(factors)
    if still == "instances":
        Y = np.repeat(Y[:, :1], N, axis=1)
    if still == "log-odds":
        Z = np.repeat(Z[:1], N, axis=0)
    gate = values(factors, Y, Z, weights)
    assert np.isfinite(gate).all()
    constant = {"factors": [0], "instances": [0], "log-odds": [1]}[still]
    for column in set(constant) & set(range(gate.shape[1])):
        np.testing.assert_allclose(gate[:, column], 0, atol=1e-6)


def test_single_precision_factors_give_the_gates_of_double_precision():
    factors, Y, Z, weights = instances()
    single = values(factors, Y.astype(np.float32), Z, weights)
    np.testing.assert_allclose(single, values(factors, Y, Z, weights), atol=1e-5)
    assert single.dtype == np.float64
