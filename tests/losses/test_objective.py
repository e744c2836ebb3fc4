import numpy as np
import pytest

from cfe_stack.losses.focal_loss import FocalLoss
from cfe_stack.losses.objective import (
    combined,
    reconstruction_loss,
    squared_error,
    squared_error_in_place,
    supervised_loss,
)
from cfe_stack.losses.raw_scores import margin_directions, margins

RHO, RIDGE = 0.3, 0.2
LOSSES = [FocalLoss(0.0), FocalLoss(0.5), FocalLoss(2.0)]


def test_squared_error_skips_cells_without_confidence():
    Z, Z_hat = np.array([[1.0, 0.0], [3.0, -1.0]]), np.array([[0.0, 9.0], [1.0, -1.0]])
    C = np.array([[2.0, 0.0], [0.5, 1.0]])
    assert squared_error(Z, C, Z_hat) == 2 * 1 + 0.5 * 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows_each", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_squared_error_in_its_cache_is_the_squared_error(weighted, rows_each, dtype):
    rng = np.random.default_rng(0)
    Z, Z_hat = rng.normal(size=(2, 4 * rows_each, 7)).astype(dtype)
    C = (rng.random((4, 7)) * (rng.random((4, 7)) > 0.2)).astype(dtype)
    frequencies = rng.integers(0, 3, 7).astype(dtype) if weighted else np.ones(7)
    expected = squared_error(Z, np.repeat(C, rows_each, axis=0) * frequencies, Z_hat)
    before, cache = Z.copy(), Z_hat.copy()
    found = squared_error_in_place(Z, C, cache, frequencies if weighted else None)
    assert isinstance(found, float)
    assert found == pytest.approx(expected, rel=1e-5 if dtype is np.float32 else 1e-13)
    np.testing.assert_array_equal(Z, before)
    assert not np.array_equal(cache, Z_hat)


def test_many_rows_of_small_errors_are_summed_in_double_precision():
    n = 20_000
    Z, Z_hat = np.zeros((n, 1), dtype=np.float32), np.full((n, 1), 0.1, dtype=np.float32)
    Z_hat[0] = 2.0**14
    error = squared_error_in_place(Z, np.ones((n, 1), dtype=np.float32), Z_hat)
    assert error == pytest.approx(2.0**28 + (n - 1) * 0.1**2, rel=1e-12)


def test_reconstruction_is_a_mean_over_cells():
    assert reconstruction_loss(6.0, 10.0, 0.2, 4) == 2.0
    assert reconstruction_loss(6e9, 10e9, 0.2, 4e9) == 2.0


def test_supervised_loss_is_a_weighted_mean():
    margin, weights = np.array([0.0, np.log(3), -np.log(3)]), np.array([2.0, 1.0, 0.0])
    expected = (2 * np.log(2) + np.log(4 / 3)) / 3
    assert supervised_loss(FocalLoss(0.0), margin, weights) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_the_supervised_loss_count_rows(loss):
    margin = np.array([-1.0, 0.3, 2.0])
    once = supervised_loss(loss, margin, np.array([1.0, 3.0, 0.0]))
    assert supervised_loss(loss, margin, np.array([5.0, 15.0, 0.0])) == pytest.approx(once)
    rows = margin[[0, 1, 1, 1]]
    assert supervised_loss(loss, rows, np.ones(4)) == pytest.approx(once, rel=1e-14)


@pytest.mark.parametrize(("rho", "value"), [(0.0, 5.0), (1.0, 2.0), (0.25, 4.25)])
def test_combination(rho, value):
    assert combined(rho, 2.0, 5.0) == value


def problem(n_classes):
    """Return a small joint problem with missing cells: Z as rows, and its parameters."""
    rng = np.random.default_rng(n_classes)
    m, n, d = 4, 12, 3
    k = n_classes if n_classes > 2 else 1
    C = rng.random((m, n)) * (rng.random((m, n)) > 0.2)
    return {
        "Z": rng.normal(size=(m * k, n)),
        "C": np.repeat(C, k, axis=0),
        "labels": rng.integers(n_classes, size=n),
        "weights": rng.random(n) + 0.5,
        "parameters": [
            rng.normal(size=(d, m * k)),
            rng.normal(size=(d, n)),
            rng.normal(size=m),
            rng.normal(size=k),
        ],
    }


def scores_of(Z_hat, w, b):
    """Return scores (n,) or (n, K) of rows (m · K, n), classifier-major."""
    scores = (w[:, None, None] * Z_hat.reshape(len(w), len(b), -1)).sum(0).T + b
    return scores[:, 0] if len(b) == 1 else scores


def cost(loss, made, parameters, xp, margin_of):
    X, Y, w, b = parameters
    Z_hat = X.T @ Y
    error = squared_error(made["Z"], made["C"], Z_hat)
    norms = (X**2).sum() + (Y**2).sum()
    reconstruction = reconstruction_loss(error, norms, RIDGE, float((made["C"] > 0).sum()))
    margin = margin_of(scores_of(Z_hat, w, b), made["labels"])
    return combined(RHO, reconstruction, supervised_loss(loss, margin, made["weights"], xp))


def analytic_gradient(loss, made):
    X, Y, w, b = made["parameters"]
    Z_hat, n_cells = X.T @ Y, (made["C"] > 0).sum()
    on_Z = RHO * 2 / n_cells * made["C"] * (Z_hat - made["Z"])
    scores = scores_of(Z_hat, w, b)
    margin = margins(scores, made["labels"])
    slope = (1 - RHO) * made["weights"] * loss.derivative(margin) / made["weights"].sum()
    directions = margin_directions(scores, made["labels"]).reshape(len(slope), -1)
    on_scores = slope[:, None] * directions
    on_Z += (w[:, None, None] * on_scores.T).reshape(Z_hat.shape)
    per_class = Z_hat.reshape(len(w), len(b), -1)
    ridge = RHO * 2 * RIDGE / n_cells
    return [
        Y @ on_Z.T + ridge * X,
        X @ on_Z + ridge * Y,
        np.einsum("ukn,nk->u", per_class, on_scores),
        on_scores.sum(axis=0),
    ]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_torch_gives_the_same_value_and_the_analytic_gradient(loss, n_classes):
    torch = pytest.importorskip("torch")
    made = problem(n_classes)
    tensors = {name: torch.tensor(made[name]) for name in ("Z", "C", "labels", "weights")}
    parameters = [torch.tensor(part, requires_grad=True) for part in made["parameters"]]

    def torch_margins(scores, labels):
        if scores.ndim == 1:
            return torch.where(labels == 1, scores, -scores)
        true = torch.nn.functional.one_hot(labels, n_classes).bool()
        others = torch.logsumexp(scores.masked_fill(true, -torch.inf), dim=1)
        return scores[true] - others

    value = cost(loss, tensors, parameters, torch, torch_margins)
    value.backward()
    ours = cost(loss, made, made["parameters"], np, margins)
    assert value.item() == pytest.approx(ours, rel=1e-12)
    for part, expected in zip(parameters, analytic_gradient(loss, made), strict=True):
        np.testing.assert_allclose(part.grad.numpy(), expected, rtol=1e-10, atol=1e-13)
