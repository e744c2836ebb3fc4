import numpy as np
import pytest

from cfe_stack.factor_model.normal_equations import (
    MIN_LAPACK_DIM,
    ClassifierEquations,
    alike,
    instance_systems,
    pair_products,
    solve_instances,
    solve_packed,
    unpack,
    weigh,
)
from cfe_stack.factor_model.workspace import Workspace

# relative to the largest entry of the solution, for systems of condition number below 100
PRECISION = {np.float64: 1e-12, np.float32: 1e-4}
both_dtypes = pytest.mark.parametrize("dtype", PRECISION)
# one dimension for each way of solving
both_paths = pytest.mark.parametrize("d", [5, MIN_LAPACK_DIM + 3])


def random(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def confidences(m, n, *, missing=0.2, dtype=np.float64):
    rng = np.random.default_rng([m, n])
    return (rng.random((m, n)) * (rng.random((m, n)) > missing)).astype(dtype)


def one_by_one(X, C, Z, ridge):
    """Solve y = (X C Xᵀ + λI)⁻¹ X C z, instance after instance."""
    d, n = len(X), C.shape[1]
    weights = np.repeat(C, len(Z) // len(C), axis=0)
    systems = np.einsum("dr,ri,er->ide", X, weights, X) + ridge * np.eye(d)
    return np.linalg.solve(systems, (X @ (weights * Z)).T[:, :, None]).reshape(n, d).T


def assert_close(result, expected, dtype):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(result, expected, rtol=0, atol=PRECISION[dtype] * scale)


@pytest.mark.parametrize("d", [1, 2, 3, 7, 40])
def test_packing(d):
    factors = random(d, 6)
    packed = pair_products(factors)
    assert packed.shape == (d * (d + 1) // 2, 6)
    expected = np.einsum("di,ei->ide", factors, factors)
    np.testing.assert_allclose(unpack(packed, d), expected, rtol=1e-15)


@both_dtypes
@pytest.mark.parametrize("d", range(1, 65))
def test_solve_packed(d, dtype):
    n, ridge = 9, 1.0
    gram = sum(pair_products(random(d, n, seed=seed)) for seed in range(2 * d)) / d
    right_sides = random(d, n)
    full = unpack(gram, d) + ridge * np.eye(d)
    assert np.linalg.cond(full).max() < 100
    expected = np.linalg.solve(full, right_sides.T[:, :, None])[:, :, 0].T
    before = right_sides.astype(dtype)
    solution = solve_packed(gram.astype(dtype), before, ridge)
    assert solution.dtype == dtype
    assert_close(solution, expected, dtype)
    np.testing.assert_array_equal(before, right_sides.astype(dtype))


@both_dtypes
@pytest.mark.parametrize(
    "d", [1, 2, 5, 8, 16, MIN_LAPACK_DIM - 1, MIN_LAPACK_DIM, MIN_LAPACK_DIM + 8]
)
@pytest.mark.parametrize("rank", [0, 1, 3, 6])
@pytest.mark.parametrize("alike", [True, False])
def test_singular_systems_without_a_ridge_stay_finite(d, rank, alike, dtype):
    X, C = random(d, 8, dtype=dtype), np.zeros((8, 20), dtype=dtype)
    C[:rank] = 1.0 if alike else 0.5 + confidences(rank, 20, dtype=dtype) / 2
    weighted = C * random(8, 20, dtype=dtype)
    solution = solve_instances(X, C, weighted, 0.0)
    assert np.isfinite(solution).all()
    if rank == 0:
        np.testing.assert_array_equal(solution, 0)
    if 0 < rank <= d:
        # what little is observed is still reproduced, to half of the digits at least
        tolerance = np.sqrt(np.finfo(dtype).eps) * 50
        np.testing.assert_allclose(C * (X.T @ solution), weighted, atol=tolerance)


def test_an_instance_without_any_cell_has_no_factors_beside_others():
    X, C = random(4, 6), confidences(6, 5)
    C[:, 2] = 0.0
    solution = solve_instances(X, C, C * random(6, 5), 0.1)
    np.testing.assert_array_equal(solution[:, 2], 0)
    assert (solution[:, [0, 1, 3, 4]] != 0).all()


@both_dtypes
@both_paths
@pytest.mark.parametrize("rows_each", [1, 3])
def test_instances(d, rows_each, dtype):
    m, n, ridge = 12, 20, 0.5
    X, Z, C = random(d, m * rows_each) / np.sqrt(m), random(m * rows_each, n), confidences(m, n)
    ours = X.astype(dtype), C.astype(dtype), weigh(C, Z).astype(dtype)
    solution = solve_instances(*ours, ridge)
    assert solution.dtype == dtype
    assert_close(solution, one_by_one(X, C, Z, ridge), dtype)


@pytest.mark.parametrize(("d", "m"), [(5, 12), (12, 5)])
@pytest.mark.parametrize("n_complete", [0, 10])
@pytest.mark.parametrize("single", [0, 1, 2])
def test_single_precision_may_stand_beside_double(single, n_complete, d, m):
    X, Z, C = random(d, m) / np.sqrt(m), random(m, 20), confidences(m, 20)
    C[:, :n_complete] = 1.0
    ours = [X, C, C * Z]
    ours[single] = ours[single].astype(np.float32)
    assert_close(solve_instances(*ours, 0.5), one_by_one(X, C, Z, 0.5), np.float32)


@both_dtypes
@both_paths
def test_uniform_shortcut_is_the_general_path(d, dtype):
    m, n, ridge = 12, 20, 0.5
    X, Z = random(d, m), random(m, n)
    C = np.repeat(confidences(m, 1), n, axis=1)
    together = solve_instances(X.astype(dtype), C.astype(dtype), (C * Z).astype(dtype), ridge)
    assert_close(together, one_by_one(X, C, Z, ridge), dtype)
    # one odd cell sends the whole block down the general path
    odd_C, odd_Z = np.column_stack([C, C[:, 0]]), np.column_stack([Z, Z[:, 0]])
    odd_C[-1, -1] += 1
    odd = (X.astype(dtype), odd_C.astype(dtype), (odd_C * odd_Z).astype(dtype))
    solution = solve_instances(*odd, ridge)
    assert_close(solution[:, :n], together, dtype)
    assert_close(solution[:, n:], one_by_one(X, odd_C, odd_Z, ridge)[:, n:], dtype)


@both_paths
@pytest.mark.parametrize("k", [2, 4])
def test_shared_weights_are_repeated_weights(k, d):
    m, n = 6, 15
    X, Y, Z, C = random(d, m * k), random(d, n), random(m * k, n), confidences(m, n)
    repeated = np.repeat(C, k, axis=0)
    np.testing.assert_allclose(weigh(C, Z), repeated * Z, rtol=1e-15)
    np.testing.assert_allclose(
        solve_instances(X, C, weigh(C, Z), 0.5),
        solve_instances(X, repeated, repeated * Z, 0.5),
        rtol=1e-9,
        atol=1e-12,
    )
    shared = ClassifierEquations.empty(d, m, m * k)
    shared.add(Y, C, weigh(C, Z))
    separate = ClassifierEquations.empty(d, m * k, m * k)
    separate.add(Y, repeated, repeated * Z)
    np.testing.assert_allclose(shared.solve(0.5), separate.solve(0.5), rtol=1e-9, atol=1e-12)


@both_paths
def test_classifiers_are_instances_of_the_transposed_problem(d):
    m, n = 8, 60
    Y, Z, C = random(d, n), random(m, n), confidences(m, n)
    equations = ClassifierEquations.empty(d, m, m)
    equations.add(Y, C, C * Z)
    expected = one_by_one(Y, C.T, Z.T, 0.5)
    np.testing.assert_allclose(equations.solve(0.5), expected, rtol=1e-9, atol=1e-12)


def test_solving_leaves_the_equations_alone():
    Y, C = random(3, 30), confidences(5, 30)
    equations = ClassifierEquations.empty(3, 5, 5)
    equations.add(Y, C, C * random(5, 30))
    np.testing.assert_array_equal(equations.solve(0.1), equations.solve(0.1))


@pytest.mark.parametrize("cuts", [[10], [1, 2, 30], list(range(1, 40))])
def test_blocks_add_up_in_any_order(cuts):
    Y, Z, C = random(4, 40), random(10, 40), confidences(5, 40)
    whole = ClassifierEquations.empty(4, 5, 10)
    whole.add(Y, C, weigh(C, Z))
    parts = ClassifierEquations.empty(4, 5, 10)
    for columns in reversed(np.split(np.arange(40), cuts)):
        parts.add(Y[:, columns], C[:, columns], weigh(C[:, columns], Z[:, columns]))
    np.testing.assert_allclose(parts.gram, whole.gram, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(parts.right_sides, whole.right_sides, rtol=1e-13, atol=1e-13)


def test_sums_of_single_precision_blocks_are_kept_in_double():
    Y, C = random(3, 10, dtype=np.float32), confidences(4, 10, dtype=np.float32)
    equations = ClassifierEquations.empty(3, 4, 4)
    equations.add(Y, C, C)
    assert equations.gram.dtype == equations.right_sides.dtype == np.float64
    assert equations.solve(0.1).dtype == np.float64


@both_dtypes
@pytest.mark.parametrize("rows_each", [1, 3])
@pytest.mark.parametrize("n_holed", [1, 8])
def test_complete_instances_beside_others(n_holed, rows_each, dtype):
    """The complete ones share a Gram matrix, the others have one each."""
    m, n, d, ridge = 12, 20, 5, 0.5
    X, Z = random(d, m * rows_each) / np.sqrt(m), random(m * rows_each, n)
    C = np.full((m, n), 0.75)
    C[::2, n - n_holed :] = confidences(m // 2, n_holed) / 2
    complete, weights = alike(C)
    np.testing.assert_array_equal(complete, np.arange(n) < n - n_holed)
    np.testing.assert_array_equal(weights, 0.75)
    ours = X.astype(dtype), C.astype(dtype), weigh(C, Z).astype(dtype)
    solution = solve_instances(*ours, ridge)
    assert solution.dtype == dtype
    assert_close(solution, one_by_one(X, C, Z, ridge), dtype)


def test_few_complete_instances_and_a_single_one_are_nothing_special():
    C = confidences(4, 20)
    C[:, 3] = 1.0
    assert alike(C[:, 3:4])[0] is None
    assert alike(C)[0] is None
    C[:, :6] = 1.0
    np.testing.assert_array_equal(np.flatnonzero(alike(C)[0]), np.arange(6))


@pytest.mark.parametrize("rows_each", [1, 3])
def test_weighing_keeps_single_precision_and_writes_where_it_is_told(rows_each):
    C, Z = confidences(4, 6, dtype=np.float32), random(4 * rows_each, 6, dtype=np.float32)
    assert weigh(C, Z).dtype == np.float32
    assert weigh(C, Z.astype(float)).dtype == weigh(C.astype(float), Z).dtype == np.float64
    out = np.empty_like(Z)
    assert np.shares_memory(weigh(C, Z, out=out), out)
    np.testing.assert_array_equal(out, np.repeat(C, rows_each, axis=0) * Z)


@pytest.mark.parametrize("d", [3, 5, 12])
def test_a_workspace_is_used_again_and_changes_no_digit(d):
    workspace, m, n = Workspace(), 6, 30
    X, Z, C = random(d, m), random(m, n), confidences(m, n)
    first = solve_instances(X, C, C * Z, 0.5, workspace)
    expected = solve_instances(X, C, C * Z, 0.5)
    np.testing.assert_array_equal(first, expected)
    second = solve_instances(X, C, C * Z[::-1], 0.5, workspace)
    assert np.shares_memory(first, second)
    equations, plain = (ClassifierEquations.empty(d, m, m) for _ in range(2))
    equations.add(expected, C, C * Z, workspace=workspace)
    plain.add(expected, C, C * Z)
    np.testing.assert_array_equal(equations.gram, plain.gram)


def test_ridges_are_visible_beside_factors_in_single_precision():
    """Two instances that differ by roundoff leave a system that only the ridge makes solvable."""
    Y = np.ones((2, 2), dtype=np.float32)
    Y[0, 1] += np.finfo(np.float32).eps
    equations = ClassifierEquations.empty(2, 1, 1)
    equations.add(Y, np.ones((1, 2)), np.array([[1.0, -1.0]]))
    assert equations.eps == np.finfo(np.float32).eps
    assert np.abs(equations.solve(0.0)).max() < 1
    other = ClassifierEquations.empty(2, 1, 1)
    for times in (1, 2):
        other.merge(equations)
        assert other.eps == equations.eps
        np.testing.assert_allclose(other.gram, times * equations.gram)
        np.testing.assert_allclose(other.right_sides, times * equations.right_sides)


@pytest.mark.parametrize("rows_each", [1, 3])
def test_frequencies_are_repeated_rows(rows_each):
    Y, Z, C = random(4, 12), random(5 * rows_each, 12), confidences(5, 12)
    frequency = np.array([0, 1, 2, 3, 0, 1, 1, 2, 1, 0, 4, 1])
    rows = np.repeat(np.arange(12), frequency)
    weighted, repeated = (ClassifierEquations.empty(4, 5, len(Z)) for _ in range(2))
    weighted.add(Y, C, weigh(C, Z), frequency)
    repeated.add(Y[:, rows], C[:, rows], weigh(C, Z)[:, rows])
    np.testing.assert_allclose(weighted.gram, repeated.gram, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(weighted.right_sides, repeated.right_sides, rtol=1e-12, atol=1e-14)
    whole = np.full(12, 2.5)
    scaled = ClassifierEquations.empty(4, 5, len(Z))
    scaled.add(Y.astype(np.float32), C, weigh(C, Z), whole)
    assert scaled.gram.dtype == np.float64


@pytest.mark.parametrize("rows_each", [1, 3])
def test_sample_weights_are_frequencies(rows_each):
    Y, Z, C = random(4, 12), random(5 * rows_each, 12), confidences(5, 12)
    frequency = np.array([0, 1, 2, 3, 0, 1, 1, 2, 1, 0, 4, 1])
    weighted = ClassifierEquations.empty(4, 5, len(Z))
    weighted.add(Y, C * frequency, weigh(C * frequency, Z))
    rows = np.repeat(np.arange(12), frequency)
    repeated = ClassifierEquations.empty(4, 5, len(Z))
    repeated.add(Y[:, rows], C[:, rows], weigh(C[:, rows], Z[:, rows]))
    np.testing.assert_allclose(weighted.solve(0.1), repeated.solve(0.1), rtol=1e-10, atol=1e-13)


@both_dtypes
@pytest.mark.parametrize("n_complete", [0, 20])
@pytest.mark.parametrize(("d", "m"), [(2, 1), (5, 4), (12, 5), (40, 7)])
def test_fewer_classifiers_than_factors(d, m, n_complete, dtype):
    X, Z, C = random(d, m), random(m, 60), confidences(m, 60)
    C[:, :n_complete] = 1.0
    C[:, -1] = 0.0
    expected = one_by_one(X, C, Z, 0.3)
    given = (array.astype(dtype) for array in (X, C, weigh(C, Z)))
    solution = solve_instances(*given, 0.3)
    assert solution.dtype == dtype
    assert_close(solution, expected, dtype)
    np.testing.assert_array_equal(solution[:, -1], 0.0)


@pytest.mark.parametrize("rows_each", [1, 3])
@pytest.mark.parametrize("same", [True, False])
def test_systems_of_instances_with_the_same_weights_are_one(same, rows_each):
    X, C = random(4, 5 * rows_each), confidences(5, 7)
    C = np.repeat(C[:, :1], 7, axis=1) if same else C
    systems = instance_systems(X, C, 0.5)
    assert systems.shape == (1 if same else 7, 4, 4)
    weights = np.repeat(C, rows_each, axis=0)
    expected = np.einsum("dr,ri,er->ide", X, weights, X) + 0.5 * np.eye(4)
    np.testing.assert_allclose(systems, expected[: len(systems)], rtol=1e-12)
    assert instance_systems(X, C[:, :0], 0.5).shape == (0, 4, 4)
