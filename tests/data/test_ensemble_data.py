from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from sklearn.base import clone

from cfe_stack import CFEnsembleClassifier
from cfe_stack.data.ensemble_data import BLOCK_CELLS, EnsembleData

R = np.array([[0.9, 0.2, 0.6], [0.7, 0.4, 0.5]])
R3 = np.array([[[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]], [[0.6, 0.2, 0.2], [0.0, 0.0, 1.0]]])
NAN = np.nan


def changed(matrix, place, value):
    copy = matrix.copy()
    copy[place] = value
    return copy


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (None, None, [-1, -1, -1]),
        ([1, 0, -1], None, [1, 0, -1]),
        ([1.0, NAN, 0.0], None, [1, -1, 0]),
        ([True, False, True], None, [1, 0, 1]),
        (np.array([0, 1, 1], dtype=np.uint8), None, [0, 1, 1]),
        ([1, None, 0], None, [1, -1, 0]),
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        (["a", "b", "b"], ["b", "a"], [1, 0, 0]),
        (["b", None, "a"], ["a", "b"], [1, -1, 0]),
        (np.array(["b", NAN, "a"], dtype=object), ["a", "b"], [1, -1, 0]),
        ([1, -1, 0], ["a", "b"], [1, -1, 0]),
    ],
)
def test_labels_become_codes(labels, classes, codes):
    data = EnsembleData(R, labels, classes=classes)
    np.testing.assert_array_equal(data.labels, codes)
    assert data.labels.dtype.kind == "i"


def test_defaults_and_counts():
    data = EnsembleData(R)
    assert (data.n_classifiers, data.n_instances, data.n_classes) == (2, 3, 2)
    assert data.classifier_names == ("classifier_0", "classifier_1")
    np.testing.assert_array_equal(data.classes, [0, 1])
    np.testing.assert_array_equal(data.frequencies, np.ones(3))
    assert data.instance_ids is None
    assert data.C is None


def test_names_classes_and_ids_are_kept():
    data = EnsembleData(
        R3, [2, -1], classifier_names=["xgb", 7], classes=list("abc"), instance_ids=[30, 40]
    )
    assert data.classifier_names == ("xgb", "7")
    assert data.classes.tolist() == ["a", "b", "c"]
    assert data.instance_ids.tolist() == [30, 40]
    assert repr(data) == (
        "EnsembleData(2 classifiers, 2 instances, 3 classes; 1 labeled, 0 cells missing)"
    )


def test_two_class_probabilities_reduce_to_class_1():
    full = np.stack([1 - R, R], axis=2)
    data = EnsembleData(full)
    np.testing.assert_array_equal(data.R, R)
    assert np.shares_memory(data.R, full)
    assert data.n_classes == 2


def test_multiclass_keeps_its_third_axis():
    data = EnsembleData(R3)
    assert data.R is R3
    assert data.n_classes == 3


@pytest.mark.parametrize(
    ("matrix", "n_missing"),
    [
        (R, 0),
        (changed(R, (1, 2), NAN), 1),
        (changed(R, (slice(None), 0), NAN), 2),
        (changed(R3, (0, 1), NAN), 1),
        (changed(R3, (1, 0, 2), NAN), 1),
        (changed(np.stack([1 - R, R], axis=2), (0, 1), NAN), 1),
        (changed(np.stack([1 - R, R], axis=2), (0, 1, 0), NAN), 1),
        (changed(np.stack([1 - R, R], axis=2), (0, 1, 1), NAN), 1),
    ],
)
def test_a_cell_with_a_nan_in_any_class_is_missing(matrix, n_missing):
    assert EnsembleData(matrix).n_missing == n_missing
    blocks = list(EnsembleData(matrix).blocks(1))
    assert sum(int((~block.observed).sum()) for block in blocks) == n_missing


@pytest.mark.parametrize(
    ("make", "dtype", "shared"),
    [
        (lambda: R.copy(), np.float64, True),
        (lambda: R.astype(np.float32), np.float32, True),
        (lambda: R3.astype(np.float32), np.float32, True),
        (lambda: np.asfortranarray(R), np.float64, True),
        (lambda: np.repeat(R, 2, axis=1)[:, ::2], np.float64, True),
        (lambda: R.T.copy().T[::-1], np.float64, True),
        (lambda: R.astype(np.float16), np.float32, False),
        (lambda: (R > 0.5).astype(int), np.float64, False),
    ],
    ids=["float64", "float32", "multiclass", "fortran", "strided", "reversed", "float16", "int"],
)
def test_floating_point_matrices_are_not_copied(make, dtype, shared):
    matrix = make()
    before = matrix.copy()
    matrix.flags.writeable = False
    data = EnsembleData(matrix)
    assert data.R.dtype == dtype
    assert np.shares_memory(data.R, matrix) == shared
    np.testing.assert_array_equal(matrix, before)


@pytest.mark.parametrize("axes", [2, 3])
def test_memory_maps_stay_memory_maps(tmp_path, axes):
    matrix = R.astype(np.float32) if axes == 2 else R3.astype(np.float32)
    np.save(tmp_path / "R.npy", matrix)
    mapped = np.load(tmp_path / "R.npy", mmap_mode="r")
    data = EnsembleData(mapped, [0] * matrix.shape[1])
    assert isinstance(data.R, np.memmap)
    assert np.shares_memory(data.R, mapped)
    assert all(np.shares_memory(block.R, mapped) for block in data.blocks(2))


def test_other_arrays_are_not_changed():
    labels, C, weights = np.array([1.0, NAN, 0.0]), np.ones((2, 3)), np.array([1.0, 0.0, 2.0])
    copies = labels.copy(), C.copy(), weights.copy()
    data = EnsembleData(R, labels, C=C, sample_weight=weights)
    assert data.C is C
    for array, copy in zip((labels, C, weights), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    with pytest.raises(FrozenInstanceError):
        data.R = R


@pytest.mark.parametrize("size", [1, 2, 7, 600, None])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_blocks_cover_everything_once_and_in_order(size, n_classes):
    rng = np.random.default_rng(0)
    n, m = 600, BLOCK_CELLS // 512
    matrix = rng.dirichlet(np.ones(3), size=(m, n)) if n_classes == 3 else rng.random((m, n))
    labels, C, weights = rng.integers(-1, 2, n), rng.random((m, n)), rng.random(n)
    data = EnsembleData(matrix, labels, C=C, sample_weight=weights)
    blocks = list(data.blocks(size))
    assert [b.start for b in blocks] == [0, *(b.stop for b in blocks[:-1])]
    assert blocks[-1].stop == n
    assert len(blocks) > 1 or size == 600
    np.testing.assert_array_equal(np.concatenate([b.R for b in blocks], axis=1), matrix)
    np.testing.assert_array_equal(np.concatenate([b.C for b in blocks], axis=1), C)
    np.testing.assert_array_equal(np.concatenate([b.labels for b in blocks]), labels)
    np.testing.assert_array_equal(np.concatenate([b.sample_weight for b in blocks]), weights)


def test_a_cell_of_confidence_0_is_not_observed():
    block = next(
        EnsembleData(changed(R, (0, 1), NAN), C=changed(np.ones((2, 3)), (1, 2), 0)).blocks()
    )
    np.testing.assert_array_equal(block.observed, [[True, False, True], [True, True, False]])
    np.testing.assert_array_equal(block.sample_weight, np.ones(3))


def test_rounding_beyond_the_range_is_allowed():
    EnsembleData(np.array([[-1e-7, 1 + 1e-7]]))
    EnsembleData(np.array([[[0.3334, 0.3334, 0.3334]]]))


FULL = np.stack([1 - R, R], axis=2)
LONG = np.full((2, BLOCK_CELLS), 0.5, dtype=np.float32)


@pytest.mark.parametrize(
    ("matrix", "settings", "message"),
    [
        ([[0.1, "a"]], {}, "R must be an array of numbers"),
        ([[0.1], [0.2, 0.3]], {}, "R must be an array of numbers"),
        (R[0], {}, r"R must have shape .*got \(3,\)"),
        (R[:, :0], {}, r"none of them 0; got \(2, 0\)"),
        (R3[:, :, :1], {}, r"n_classes >= 2.*got \(2, 2, 1\)"),
        (changed(R, (1, 2), np.inf), {}, "infinite value at classifier 1, instance 2; allowed are"),
        (
            changed(R, (1, 0), 1.5),
            {},
            r"R holds 1.5 at classifier 1, instance 0; allowed .*\[0, 1\]",
        ),
        (changed(R, (0, 1), -0.5), {}, "R holds -0.5 at classifier 0, instance 1"),
        (changed(LONG, (1, -2), 2), {}, f"R holds 2 at classifier 1, instance {BLOCK_CELLS - 2}"),
        (changed(R3, (1, 0, 2), -0.1), {}, "R holds -0.1 at classifier 1, instance 0"),
        (changed(R3, (0, 1, 1), 0.7), {}, "classifier 0, instance 1 sum to 0.9; .* within 0.001"),
        (changed(FULL, (1, 2, 0), 0.6), {}, "classifier 1, instance 2 sum to 1.1"),
        (R, {"labels": [1, 0]}, r"labels must have shape \(3,\), one per instance.*got \(2,\)"),
        (R, {"labels": [1, 0, 2]}, "labels hold .*2.* at instance 2; allowed .* 0 … 1"),
        (R, {"labels": [1, 0.5, 0]}, "labels hold .*0.5.* at instance 1"),
        (R, {"labels": [1, 0, -2]}, "labels hold .*-2.* at instance 2"),
        (R, {"labels": ["a", "c", "b"], "classes": ["a", "b"]}, r"labels hold \['c'\]"),
        (R, {"classes": ["a", "a"]}, "2 different labels, one per class of R; got"),
        (R, {"classes": [0, 1, 2]}, "2 different labels"),
        (R, {"C": np.ones((3, 2))}, r"C must have .*\(2, 3\); got \(3, 2\)"),
        (
            R,
            {"C": changed(np.ones((2, 3)), (1, 0), -1)},
            "C holds .*-1.* at classifier 1, instance 0",
        ),
        (
            R,
            {"C": changed(np.ones((2, 3)), (0, 2), NAN)},
            "C holds .*nan.* at classifier 0, instance 2",
        ),
        (R, {"sample_weight": [1, 1]}, r"sample_weight must have shape \(3,\), got \(2,\)"),
        (R, {"sample_weight": [1, -1, 1]}, "sample_weight must hold finite numbers >= 0"),
        (R, {"sample_weight": [1, NAN, 1]}, "sample_weight must hold finite numbers >= 0"),
        (R, {"classifier_names": ["a"]}, "2 different names, one per row of R; got 1"),
        (R, {"classifier_names": ["a", "a"]}, "2 different names"),
        (R, {"instance_ids": [1, 2]}, r"instance_ids must have shape \(3,\), got \(2,\)"),
    ],
)
def test_bad_input_is_named_with_its_place(matrix, settings, message):
    with pytest.raises(ValueError, match=message):
        EnsembleData(matrix, **settings)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_signed_integer_labels_are_kept_without_a_copy(dtype):
    labels = np.array([0, 1, -1, 1], dtype=dtype)
    data = EnsembleData(np.full((2, 4), 0.5), labels)
    assert data.labels is labels
    (block,) = data.blocks()
    assert block.labels.dtype == np.int64
    assert EnsembleData(np.full((2, 4), 0.5)).labels.tolist() == [-1] * 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masked_cells_are_missing(dtype):
    R = np.random.default_rng(0).random((3, 40)).astype(dtype)
    holes, labels = (R > 0.8) & (R < R.max(axis=0)), np.arange(40) % 2
    masked, holed = np.ma.masked_array(R, holes), np.where(holes, np.nan, R)
    data = EnsembleData(masked, labels)
    assert data.R.dtype == dtype
    np.testing.assert_array_equal(data.R, holed)
    assert data.n_missing == holes.sum()
    model = CFEnsembleClassifier(aggregator="log_pool", cv=2)
    proba = clone(model).fit(holed.T, labels).predict_proba(holed.T)
    np.testing.assert_array_equal(model.fit(masked.T, labels).predict_proba(masked.T), proba)
    assert (masked.mask == holes).all()
