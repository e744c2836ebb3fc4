import numpy as np
import pytest

from cfe_stack.pools.design import GRAM_BLOCK_CELLS, PoolDesign

SHAPES = {"two classes": (), "three classes": (3,)}
every_shape = pytest.mark.parametrize("classes", SHAPES.values(), ids=SHAPES)
every_number = pytest.mark.parametrize("n_gates", [0, 1, 2])


def made(classes, n_gates, n=50, m=4):
    """Return a design and the columns that it stands for."""
    rng = np.random.default_rng(n_gates)
    Z, phi = rng.normal(size=(n, *classes, m)), rng.uniform(-1, 1, size=(n, n_gates))
    gated = [Z * phi[:, g].reshape(-1, *(1 for _ in Z.shape[1:])) for g in range(n_gates)]
    constants = np.broadcast_to(
        np.eye(3) if classes else np.ones(1), (n, *classes, 3 if classes else 1)
    )
    columns = np.concatenate([Z, *gated, constants], axis=-1)
    return PoolDesign(Z, phi if n_gates else None), columns


@every_number
@every_shape
def test_products_are_those_of_the_columns(classes, n_gates):
    design, columns = made(classes, n_gates)
    p, rng = columns.shape[-1], np.random.default_rng(0)
    assert sum(design.sizes) == p
    theta, values = rng.normal(size=p), rng.normal(size=columns.shape[:-1])
    np.testing.assert_allclose(design.scores(theta), columns @ theta, rtol=1e-12, atol=1e-12)
    product = values.ravel() @ columns.reshape(-1, p)
    np.testing.assert_allclose(design.transposed(values), product, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [1, 50, GRAM_BLOCK_CELLS // 10])
@every_number
@every_shape
def test_gram_is_that_of_the_columns(classes, n_gates, n):
    design, columns = made(classes, n_gates, n)
    weights = np.random.default_rng(1).random(columns.shape[:-1])
    rows = columns.reshape(-1, columns.shape[-1])
    expected = (rows * weights.ravel()[:, None]).T @ rows
    np.testing.assert_allclose(design.gram(weights), expected, rtol=1e-10, atol=1e-9)


@every_number
def test_contracted_gram_is_that_of_sums_over_classes(n_gates):
    design, columns = made((3,), n_gates)
    rng = np.random.default_rng(2)
    shares, weights = rng.normal(size=(50, 3)), rng.random(50)
    sums = np.einsum("nk,nkp->np", shares, columns)
    expected = (sums * weights[:, None]).T @ sums
    np.testing.assert_allclose(design.contracted_gram(shares, weights), expected, atol=1e-12)


@every_shape
def test_arrays_may_lie_in_any_order(classes):
    design, columns = made(classes, 1)
    turned = PoolDesign(np.asfortranarray(design.Z), np.asfortranarray(design.phi))
    theta, weights = np.ones(columns.shape[-1]), np.ones(columns.shape[:-1])
    np.testing.assert_allclose(turned.scores(theta), design.scores(theta), atol=1e-12)
    np.testing.assert_allclose(turned.transposed(weights), design.transposed(weights), atol=1e-12)
    np.testing.assert_allclose(turned.gram(weights), design.gram(weights), atol=1e-12)


class Sliced:
    """Gives an array in slices only."""

    def __init__(self, array):
        self.array = array

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        return self.array[rows]


@every_number
@every_shape
def test_features_may_come_in_slices(classes, n_gates, monkeypatch):
    design, columns = made(classes, n_gates)
    sliced = PoolDesign(Sliced(design.Z), design.phi)
    rng = np.random.default_rng(3)
    theta, values = rng.normal(size=columns.shape[-1]), rng.random(columns.shape[:-1])
    whole = [design.scores(theta), design.transposed(values), design.gram(values)]
    monkeypatch.setattr("cfe_stack.pools.design.BLOCK_ROWS", 7)
    parts = [sliced.scores(theta), sliced.transposed(values), sliced.gram(values)]
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    if classes:
        weights = rng.random(len(columns))
        sums = np.einsum("nk,nkp->np", values, columns)
        expected = (sums * weights[:, None]).T @ sums
        np.testing.assert_allclose(sliced.contracted_gram(values, weights), expected, atol=1e-12)
