import pickle

import numpy as np
import pytest

from cfe_stack import CFEnsembleTrainer, EnsembleData
from cfe_stack.data.lazy_matrix import LazyMatrix, ParquetMatrix
from cfe_stack.datasets import make_ensemble

M, N = 4, 3000


class Sliced:
    """The least a matrix needs to be read in runs: it hands out slices, and takes note of them."""

    def __init__(self, matrix, keys=None):
        self.matrix, self.shape, self.dtype = matrix, matrix.shape, matrix.dtype
        self.keys, self.largest = [] if keys is None else keys, 0

    def __getitem__(self, key):
        part = self.matrix[key]
        self.keys.append(key)
        self.largest = max(self.largest, part.size)
        return part


def as_parquet(R, folder):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({f"model {u}": row for u, row in enumerate(R)})
    parquet.write_table(table, folder / "R.parquet", row_group_size=700)
    return folder / "R.parquet"


def as_npy(R, folder):
    np.save(folder / "R.npy", R)
    return folder / "R.npy"


def as_zarr(R, folder):
    zarr = pytest.importorskip("zarr")
    stored = zarr.create_array(
        folder / "R.zarr", shape=R.shape, dtype=R.dtype, chunks=(*R.shape[:1], 700, *R.shape[2:])
    )
    stored[:] = R
    return stored


def as_dask(R, folder):
    pytest.importorskip("dask")
    import dask.array

    return dask.array.from_array(R, chunks=(2, 700, *R.shape[2:]))


SOURCES = {
    "sliced": lambda R, folder: Sliced(R),
    "npy": as_npy,
    "str": lambda R, folder: str(as_npy(R, folder)),
    "parquet": as_parquet,
    "zarr": as_zarr,
    "dask": as_dask,
}
MULTICLASS = ("sliced", "npy", "zarr", "dask")
# an integer memory map is read as floats, block by block
WHOLE_NUMBERS = ("sliced", "npy", "parquet", "zarr", "dask")


def open_source(source, R, folder):
    opened = SOURCES[source](R, folder)
    return ParquetMatrix(opened) if source == "parquet" else opened


def matrix(n_classes=2, missing_rate=0.2):
    made = make_ensemble(M, N, n_classes, missing_rate=missing_rate, random_state=0)
    # the first classifier predicts every row
    first = np.nan_to_num(made.R[:1], nan=1 / n_classes)
    return np.concatenate([first, made.R[1:]]).astype(np.float32), made.labels


def fitted(R, labels):
    trainer = CFEnsembleTrainer(latent_dim=2, max_iter=3, tol=0, random_state=0)
    return trainer.fit(EnsembleData(R, labels))


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_is_trained_and_predicted_like_the_array(source, tmp_path):
    R, labels = matrix()
    lazy = SOURCES[source](R, tmp_path)
    data = EnsembleData(lazy, labels)
    assert not isinstance(data.R, np.ndarray) or isinstance(data.R, np.memmap)
    assert data.R.dtype == np.float32
    assert data.n_missing == int(np.isnan(R).sum())
    ours, plain = fitted(lazy, labels), fitted(R, labels)
    # the runs of a dask array are its chunks, so its sums are rounded otherwise
    atol = 1e-5 if source == "dask" else 0.0
    np.testing.assert_allclose(ours.classifier_factors_, plain.classifier_factors_, 0, atol)
    np.testing.assert_allclose(ours.predict_proba(data), plain.predict_proba(R), 0, atol)
    np.testing.assert_allclose(ours.complete(data), plain.complete(R), 0, atol)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("source", MULTICLASS)
def test_class_probabilities_on_a_third_axis(source, n_classes, tmp_path):
    R, labels = matrix(n_classes)
    full = np.stack([1 - R, R], axis=2) if n_classes == 2 else R
    full[1, 2] = full[0, 2]
    full[0, 5, 0] = np.nan
    data = EnsembleData(SOURCES[source](full, tmp_path), labels)
    plain = EnsembleData(full, labels)
    assert (data.n_classes, data.n_missing) == (n_classes, plain.n_missing)
    np.testing.assert_array_equal(np.asarray(data.R), plain.R)
    full[1, 2] *= 0.5
    (tmp_path / "off").mkdir()
    with pytest.raises(ValueError, match="classifier 1, instance 2 sum to 0.5"):
        EnsembleData(SOURCES[source](full, tmp_path / "off"), labels)


@pytest.mark.parametrize("source", WHOLE_NUMBERS)
def test_whole_numbers_are_read_as_floats(source, tmp_path):
    R = (matrix(missing_rate=0.0)[0] > 0.5).astype(np.int16)
    data = EnsembleData(SOURCES[source](R, tmp_path))
    assert data.R.dtype == np.float64
    (block,) = data.blocks()
    assert block.R.dtype == np.float64
    np.testing.assert_array_equal(block.R, R)


def test_nothing_is_read_whole(monkeypatch):
    monkeypatch.setattr("cfe_stack.data.ensemble_data.BLOCK_CELLS", 256 * M)
    monkeypatch.setattr("cfe_stack.factor_model.passes.MAX_BLOCK_ROWS", 256)
    monkeypatch.setattr("cfe_stack.data.lazy_matrix.GATHER_BLOCK_ROWS", 256)
    R, labels = matrix(missing_rate=0.0)
    source, C = Sliced(R), Sliced(np.ones((M, N), dtype=np.float32))
    data = EnsembleData(source, labels, C=C)
    trainer = CFEnsembleTrainer(latent_dim=2, max_iter=2, tol=0, random_state=0).fit(data)
    trainer.predict_proba(data)
    trainer.transform(data)
    assert source.largest == C.largest == 256 * M
    pair = Sliced(np.stack([1 - R, R], axis=2))
    EnsembleData(pair, labels)
    assert pair.largest == 256 * M * 2


@pytest.mark.parametrize("bad", [np.inf, 1.5, -0.1])
def test_values_are_checked_block_by_block(bad):
    R = matrix()[0]
    R[2, 2900] = bad
    with pytest.raises(ValueError, match="at classifier 2, instance 2900"):
        EnsembleData(Sliced(R))
    C = np.ones((M, N))
    C[3, 2800] = np.nan
    with pytest.raises(ValueError, match="C holds .*nan.* at classifier 3, instance 2800"):
        EnsembleData(matrix()[0], C=Sliced(C))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("predictions.csv", r"R is the path 'predictions.csv'; files that can be read are .npy"),
        (Sliced(np.zeros((2, 3), dtype=complex)), "R must be an array of numbers: its type is com"),
        (Sliced(np.full((2, 3), "a")), "R must be an array of numbers: its type is <U1"),
    ],
)
def test_other_sources_are_refused(source, message):
    with pytest.raises(ValueError, match=message):
        EnsembleData(source)


def test_parquet_names_its_classifiers_and_refuses_text(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    data = EnsembleData(as_parquet(matrix()[0], tmp_path))
    assert data.classifier_names == ("model 0", "model 1", "model 2", "model 3")
    parquet.write_table(pyarrow.table({"id": ["a", "b"], "p": [0.1, 0.2]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"the columns \['id'\] of t.parquet hold no numbers"):
        EnsembleData(tmp_path / "t.parquet")


@pytest.mark.parametrize("source", ["parquet", "zarr", "dask"])
def test_chunks_are_read_once_per_pass(source, tmp_path, monkeypatch):
    R = matrix(missing_rate=0.0)[0]
    lazy, read = LazyMatrix(open_source(source, R, tmp_path)), []
    monkeypatch.setattr(lazy, "source", Sliced(lazy.source, read))
    for start in range(0, N, 256):
        np.testing.assert_array_equal(lazy[:, start : start + 256], R[:, start : start + 256])
    assert [key[1] for key in read] == [slice(a, min(a + 700, N)) for a in range(0, N, 700)]
    np.testing.assert_array_equal(lazy[[2, 0], 650:2200:3], R[[2, 0], 650:2200:3])


def test_pickled_sources_are_opened_again(tmp_path):
    R = matrix()[0]
    lazy = pickle.loads(pickle.dumps(LazyMatrix(ParquetMatrix(as_parquet(R, tmp_path)))))
    np.testing.assert_array_equal(np.asarray(lazy), R)
    np.testing.assert_array_equal(lazy[1:3, 690:710], R[1:3, 690:710])


def test_predictions_may_be_written_to_a_memory_map(tmp_path):
    R, labels = matrix()
    trainer = fitted(R, labels)
    out = np.lib.format.open_memmap(tmp_path / "p.npy", "w+", np.float32, (N, 2))
    assert trainer.predict_proba(LazyMatrix(R), out=out) is out
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), trainer.predict_proba(R), atol=1e-6)
    for wrong in (np.empty((N, 3)), np.empty((N, 2), dtype=int)):
        with pytest.raises(ValueError, match=r"out must be a floating-point array of shape \(3000"):
            trainer.predict_proba(R, out=wrong)
