import warnings

import numpy as np
import pytest
from stacked_columns import all_classes, columns, stacked

from cfe_stack.classifier.column_reader import ColumnReader
from cfe_stack.data.ensemble_data import EnsembleData
from cfe_stack.meta_features.layout import (
    LAYOUTS,
    StackLayout,
    check_values,
    describe_layouts,
    resolve_layout,
    width,
)
from cfe_stack.meta_features.layout_detection import LayoutWarning
from cfe_stack.meta_features.stacked_columns import stacked_columns

CASES = [
    # what a host does, classes, layout of the columns, what "auto" makes of it, its warning
    ("scikit-learn predict_proba", 2, "class1", "class1", None),
    ("scikit-learn predict_proba", 3, "blocks", "blocks", None),
    ("scikit-learn decision_function", 2, "margins", "margins", None),
    ("scikit-learn decision_function", 4, "margins", "margins", None),
    ("scikit-learn SVC one-vs-one", 4, "ovo", "ovo", None),
    ("scikit-learn predict", 2, "labels", "class1", None),
    ("scikit-learn predict", 4, "labels", "labels", None),
    ("mlxtend use_probas", 2, "blocks", "blocks", None),
    ("mlxtend use_probas", 4, "blocks", "blocks", None),
    ("mlxtend drop_proba_col='first'", 2, "drop_first", "class1", None),
    ("mlxtend drop_proba_col='last'", 2, "drop_last", "class0", "read as P.class 0."),
    ("vecstack needs_proba", 2, "blocks", "blocks", None),
    ("vecstack needs_proba", 3, "blocks", "blocks", None),
    ("DESlib", 2, "class0", "class0", "read as P.class 0."),
    ("DESlib", 4, "blocks", "blocks", None),
    ("AutoGluon", 2, "class1", "class1", None),
    ("AutoGluon", 5, "blocks", "blocks", None),
]
IDS = [f"{case[0]}-{case[1]}" for case in CASES]
DROPPED = [("drop_first", 3), ("drop_last", 3), ("drop_first", 5)]


def resolve(P, codes, n_classes, *args, message=None, **settings):
    """Resolve a layout, and expect exactly the given warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = resolve_layout(P, codes, n_classes, *args, **settings)
    texts = [str(warning.message) for warning in caught]
    assert [w.category for w in caught] == [LayoutWarning] * (message is not None), texts
    assert message is None or message.split(".")[0] in texts[0]
    return found


def kinds(layout):
    return {group.kind for group in layout.groups}


def one_hot(R):
    winners = np.eye(all_classes(R).shape[2])[all_classes(R).argmax(axis=2)].transpose(1, 0, 2)
    return winners[:, :, 1] if R.ndim == 2 else winners


def read(layout, P, codes):
    """Return the matrix of columns, calibrated in training where need be."""
    folds = np.arange(len(P)) % 5
    reader = ColumnReader.fit(layout, P, codes, np.ones(len(P)))
    return reader.training_matrix(P, codes, np.ones(len(P)), folds)


def assert_holds(matrix, R, layout):
    if layout in ("margins", "ovo", "scores"):
        right = all_classes(matrix) > 0
        assert matrix.shape == R.shape
        assert right.all()
        np.testing.assert_allclose(all_classes(matrix).sum(axis=2), 1)
        corr = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(matrix, R, strict=True)]
        assert min(corr) > 0.6
    else:
        np.testing.assert_allclose(matrix, one_hot(R) if layout == "labels" else R, atol=1e-12)


@pytest.mark.parametrize("known_count", [False, True])
@pytest.mark.parametrize(("host", "n_classes", "made", "found", "message"), CASES, ids=IDS)
def test_the_automatic_layout_reads_every_host(host, n_classes, made, found, message, known_count):
    P, codes, R = stacked(5, 200, n_classes, layout=made, skill=1.0)
    count = 5 if known_count else None
    layout = resolve(P, codes, n_classes, n_classifiers=count, message=message)
    assert kinds(layout) == {found}
    assert layout.n_classifiers == 5
    assert layout.passthrough.size == 0
    assert_holds(read(layout, P, codes), R, made)


@pytest.mark.parametrize(
    ("made", "n_classes"), [(case[2], case[1]) for case in CASES] + DROPPED + [("scores", 2)]
)
def test_the_explicit_layout_reads_every_host(made, n_classes):
    P, codes, R = stacked(6, 200, n_classes, layout="class1" if made == "scores" else made)
    layout = resolve(P, codes, n_classes, made)
    assert layout.n_classifiers == 6
    assert P.shape[1] == 6 * width(made, n_classes)
    assert_holds(read(layout, P, codes), R, made)


@pytest.mark.parametrize("side", ["after", "before"])
@pytest.mark.parametrize(("host", "n_classes", "made", "found", "message"), CASES, ids=IDS)
def test_given_counts_and_sides_cut_features_out(host, n_classes, made, found, message, side):
    P, codes, R = stacked(4, 200, n_classes, layout=made, skill=1.0)
    X = np.random.default_rng(0).normal(size=(200, 7))
    both = np.column_stack([P, X] if side == "after" else [X, P])
    layout = resolve(both, codes, n_classes, made, n_classifiers=4, passthrough=side)
    first = 0 if side == "after" else 7
    np.testing.assert_array_equal(layout.columns, np.arange(first, first + P.shape[1]))
    assert layout.passthrough.size == 7
    assert_holds(read(layout, both, codes), R, made)


@pytest.mark.parametrize("side", ["after", "before"])
@pytest.mark.parametrize(
    ("n_classes", "made", "found"),
    [(2, "class1", "class1"), (2, "blocks", "blocks"), (3, "blocks", "blocks")],
)
def test_features_beside_probabilities_are_found_with_a_warning(n_classes, made, found, side):
    P, codes, R = stacked(4, 200, n_classes, layout=made)
    X = np.random.default_rng(0).normal(size=(200, 5)) * 10 + 3
    both = np.column_stack([P, X] if side == "after" else [X, P])
    first, n_columns = (0 if side == "after" else 5), P.shape[1]
    with pytest.warns(LayoutWarning) as caught:
        layout = resolve_layout(both, codes, n_classes)
    assert str(caught[0].message) == (
        f"Columns {first} … {first + n_columns - 1} of {n_columns + 5} were taken for predictions "
        "of 4 base learners; the other 5 columns are passthrough and are not used. "
        f"Set n_classifiers=4 and passthrough='{side}' to say so yourself."
    )
    assert kinds(layout) == {found}
    np.testing.assert_allclose(read(layout, both, codes), R, atol=1e-12)
    again = resolve(both, codes, n_classes, n_classifiers=4, passthrough=side)
    np.testing.assert_array_equal(again.columns, layout.columns)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_given_side_decides_between_blocks_at_both_ends(n_classes):
    P, codes, _ = stacked(2, 100, n_classes, layout="blocks")
    both = np.column_stack([P, np.full((100, 2), 7.5), P])
    p = both.shape[1]
    after = resolve(both, codes, n_classes, passthrough="after", message="Columns 0")
    np.testing.assert_array_equal(after.columns, np.arange(P.shape[1]))
    before = resolve(both, codes, n_classes, passthrough="before", message="Columns")
    np.testing.assert_array_equal(before.columns, np.arange(p - P.shape[1], p))


def test_probabilities_and_margins_may_stand_side_by_side():
    P, codes, R = stacked(6, 200, 2)
    mixed = np.where(np.arange(6) % 2 == 1, columns(R, "margins"), P)
    layout = resolve(mixed, codes, 2)
    assert [group.kind for group in layout.groups] == ["class1", "margins"] * 3
    np.testing.assert_array_equal(read(layout, mixed, codes)[::2], R[::2])


def test_certain_predictions_are_probabilities_and_margins_may_all_be_positive():
    P, codes, _ = stacked(3, 60)
    P[:2, 0] = [0.0, 1.0]
    P[:, 2] *= 1.5 / P[:, 2].max()
    layout = resolve(P, codes, 2, "margins")
    assert [group.kind for group in layout.groups] == ["class1", "class1", "margins"]


@pytest.mark.parametrize("count", [None, 6])
@pytest.mark.parametrize("n_classes", [3, 4])
def test_multiclass_probabilities_and_margins_may_stand_side_by_side(n_classes, count):
    P, codes, R = stacked(6, 200, n_classes)
    mixed = np.where(np.arange(P.shape[1]) // n_classes % 2 == 1, columns(R, "margins"), P)
    # the first block is probabilities, so only a count can say that the rest are no features
    layout = resolve(mixed[:, n_classes:], codes, n_classes, n_classifiers=count and 5)
    assert [group.kind for group in layout.groups] == ["margins", "blocks"] * 2 + ["margins"]
    np.testing.assert_array_equal(read(layout, mixed[:, n_classes:], codes)[1::2], R[2::2])


@pytest.mark.parametrize("n_classes", [3, 4])
def test_a_count_tells_margins_behind_probabilities_from_features(n_classes):
    P, codes, R = stacked(6, 200, n_classes)
    mixed = np.where(np.arange(P.shape[1]) // n_classes >= 2, columns(R, "margins"), P)
    layout = resolve(mixed, codes, n_classes, n_classifiers=6)
    assert [group.kind for group in layout.groups] == ["blocks"] * 2 + ["margins"] * 4


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([0, 1, 2], None),
        ([10, 20, 30], [10, 20, 30]),
        ([10, 20, 30], [0, 1, 2]),
        ([-1, 0, 1], None),
    ],
)
@pytest.mark.parametrize("layout", ["auto", "labels"])
def test_columns_of_labels_hold_codes_or_the_classes_themselves(values, classes, layout):
    P, codes, R = stacked(6, 200, 3, layout="labels")
    raw = np.array(values, dtype=float)[P.astype(int)]
    raw[3, 2] = np.nan
    found = resolve(raw, codes, 3, layout, classes=None if classes is None else np.array(classes))
    assert kinds(found) == {"labels"}
    matrix = found.matrix(raw)
    assert np.isnan(matrix[2, 3]).all()
    matrix[2, 3] = one_hot(R)[2, 3]
    np.testing.assert_array_equal(matrix, one_hot(R))


@pytest.mark.parametrize("layout", ["auto", "labels"])
def test_labels_that_are_rarely_predicted_are_known_from_y(layout):
    P, codes, _ = stacked(6, 200, 3, layout="labels")
    classes = np.array([10, 20, 30])
    raw = np.where(P == 1, 0, P) * 10 + 10
    found = resolve(raw, codes, 3, layout, classes=classes)
    np.testing.assert_array_equal(found.label_values, classes)
    raw[4, 2] = 20
    np.testing.assert_array_equal(found.matrix(raw)[2, 4], [0, 1, 0])
    raw[5, 2] = 70
    with pytest.raises(ValueError, match=r"holds 70, which is none of the labels \[10.0, 20.0, 30"):
        found.matrix(raw)


@pytest.mark.parametrize("made", ["class1", "class0", "blocks", "drop_first", "drop_last"])
def test_a_single_base_learner_and_one_that_is_silent(made):
    P, codes, R = stacked(1, 60, layout=made)
    for count in (None, 1, np.int64(1)):
        layout = resolve(P, codes, 2, made, n_classifiers=count)
        np.testing.assert_allclose(layout.matrix(P), R, atol=1e-12)
    assert np.isnan(layout.matrix(np.full_like(P, np.nan))).all()


def test_matrices_are_views_where_the_columns_are_the_matrix():
    for n_classes in (2, 3):
        P, codes, R = stacked(4, 50, n_classes)
        matrix = resolve(P, codes, n_classes).matrix(P)
        assert np.shares_memory(matrix, P)
        np.testing.assert_array_equal(matrix, R)


@pytest.mark.parametrize("made", ["class1", "class0", "blocks", "drop_first", "drop_last"])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_missing_values_stay_missing(made, n_classes):
    if made in ("class1", "class0") and n_classes > 2:
        made = "blocks"
    P, codes, R = stacked(4, 100, n_classes, layout=made, missing_rate=0.3)
    np.testing.assert_allclose(resolve(P, codes, n_classes, made).matrix(P), R, atol=1e-12)
    automatic = made in ("class1", "blocks")
    if automatic:
        np.testing.assert_allclose(resolve(P, codes, n_classes).matrix(P), R, atol=1e-12)


def test_a_cell_with_one_missing_class_is_missing():
    P, codes, R = stacked(3, 100, 2, layout="blocks")
    for column in (2, 3):
        holed = P.copy()
        holed[5, column] = np.nan
        matrix = resolve(holed, codes, 2, "blocks").matrix(holed)
        np.testing.assert_array_equal(np.argwhere(np.isnan(matrix)), [[1, 5]])


@pytest.mark.parametrize("layout", ["auto", "blocks"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("u", [0, 1, 3])
@pytest.mark.parametrize(("off", "allowed"), [(9e-4, True), (2e-3, False), (0.1, False)])
def test_row_sums_may_be_off_by_a_thousandth(layout, n_classes, u, off, allowed):
    P, codes, _ = stacked(4, 100, n_classes, layout="blocks")
    P[17, u * n_classes + P[17, u * n_classes :][:n_classes].argmax()] -= off
    if allowed:
        assert kinds(resolve(P, codes, n_classes, layout)) == {"blocks"}
        return
    message = rf"base learner {u} sum to .* in row 17; .* within 0.001"
    with pytest.raises(ValueError, match=message):
        resolve_layout(P, codes, n_classes, layout)


SIMPLE = stacked(4, 60)
SEVERAL = stacked(4, 60, 3)


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (SIMPLE, {"layout": "class_1"}, "layout is 'class_1'; it must be one of"),
        (
            SIMPLE,
            {"layout": "blocks", "n_classifiers": 3},
            "per base learner and n_classifiers=3, but there are 4 columns for 2 classes",
        ),
        (
            SIMPLE,
            {"layout": "class1", "n_classifiers": 7, "passthrough": "before"},
            "not predictions need n_classifiers and passthrough='after' or 'before'.\n  'auto'",
        ),
        ((SEVERAL[0][:, 1:], SEVERAL[1]), {"layout": "blocks"}, r"base learner, but there are 11"),
        ((SIMPLE[0][:, :0], SIMPLE[1]), {"layout": "class1"}, "there are 0 columns"),
        (SEVERAL, {"layout": "class1"}, "layout='class1' is for two classes, y has 3"),
        (SEVERAL, {"layout": "class0"}, "layout='class0' is for two classes, y has 3"),
        (
            SEVERAL,
            {"layout": "drop_last", "n_classifiers": 5},
            r"needs 2 column\(s\) .* 12 columns",
        ),
        (SEVERAL, {"layout": "blocks", "n_classifiers": 3}, "need n_classifiers and passthrough"),
        (SIMPLE, {"layout": "blocks"}, "probabilities of base learner 0 sum to"),
        ((SIMPLE[0] * 2,) + SIMPLE[1:], {"layout": "class1"}, r"outside \[0, 1\], but is read as"),
        ((SIMPLE[0] - 1,) + SIMPLE[1:], {"layout": "class0"}, r"outside \[0, 1\], but is read as"),
    ],
)
def test_errors_name_the_layouts(data, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        resolve_layout(data[0], data[1], data[1].max() + 1, **settings)
    assert describe_layouts() in str(caught.value)
    assert describe_layouts().splitlines()[1].startswith("  'class1': one column per base learner")
    assert all(repr(name) in describe_layouts() for name in LAYOUTS)


@pytest.mark.parametrize(
    ("P", "settings", "message"),
    [
        (
            np.where(np.arange(240).reshape(60, 4) == 12, 1.5, SIMPLE[0]),
            {"layout": "class1"},
            r"Column 0 \(base learner 0\) holds 1.5 in row 3",
        ),
        (SIMPLE[0], {"passthrough": "middle"}, "passthrough must be None, 'after' .* or 'before'"),
        (
            SIMPLE[0],
            {"passthrough": "after"},
            "passthrough='after', but all 4 columns look like predictions. Pass n_classifiers to ",
        ),
        (SIMPLE[0], {"n_classifiers": 0}, "n_classifiers must be None or at least 1.*, got 0"),
        (SIMPLE[0], {"n_classifiers": True}, "n_classifiers must be None or .*, got True"),
        (SIMPLE[0], {"n_classifiers": 4.0}, "n_classifiers must be None or .*, got 4.0"),
        (SIMPLE[0], {"n_classifiers": 7}, "n_classifiers=7 does not fit 4 columns for 2 classes"),
        (
            SIMPLE[0] * 3.5,
            {"layout": "labels"},
            r"columns hold \[([^,]*, ){9}[^,]*\], which are neither class codes 0 … 1 nor",
        ),
        (columns(SEVERAL[2], "class0"), {"layout": "blocks"}, "sum to"),
    ],
)
def test_other_errors(P, settings, message):
    with pytest.raises(ValueError, match=message):
        resolve_layout(P, SIMPLE[1], 2, **settings)


def test_columns_with_a_dropped_class_may_not_sum_to_more_than_1():
    P, codes, _ = stacked(4, 100, 3, layout="drop_first")
    P[7, 2:4] = 0.7
    layout = resolve_layout(P, codes, 3, "drop_first")
    with pytest.raises(
        ValueError, match="sum to 1.4 in a row, more than 1, .* with one class dropped"
    ):
        layout.matrix(P)


def test_a_layout_tells_predictions_from_the_rest():
    P, codes, _ = stacked(2, 60, 3)
    both = np.column_stack([P, np.full((60, 2), 7.5)])
    layout = resolve_layout(both, codes, 3, "blocks", n_classifiers=2, passthrough="after")
    assert isinstance(layout, StackLayout)
    assert layout.n_classifiers == 2
    assert layout.passthrough.tolist() == [6, 7]
    np.testing.assert_array_equal(layout.columns_of(both, 1), P[:, 3:6])


@pytest.mark.parametrize(("made", "n_classes"), [("class1", 2), ("blocks", 3), ("drop_last", 3)])
def test_certain_predictions_and_rounding_lie_in_the_unit_interval(made, n_classes):
    R = np.eye(n_classes)[np.arange(12).reshape(3, 4) % n_classes]
    P = columns(R[:, :, 1] if n_classes == 2 else R, made)
    P[P == 0] = -5e-7
    P[P == 1] = 1 + 5e-7
    assert kinds(resolve(P, np.arange(4) % n_classes, n_classes, made)) == {made}


def test_new_values_are_checked_column_by_column():
    P, codes, R = stacked(3, 60, 3)
    P[:, :3] = columns(R, "margins")[:, :3]
    layout = resolve(P, codes, 3, "margins")
    assert [group.kind for group in layout.groups] == ["margins", "blocks", "blocks"]
    P[7, 5] = 1.5
    with pytest.raises(ValueError, match=r"Column 5 \(base learner 1\) holds 1.5 in row 7"):
        check_values(layout, P)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_an_ensemble_matrix_as_a_host_would_stack_it(n_classes):
    P, codes, R = stacked(3, 20, n_classes)
    found, layout = stacked_columns(EnsembleData(R, codes))
    np.testing.assert_array_equal(found, P)
    assert layout == ("class1" if n_classes == 2 else "blocks")
    C = np.random.default_rng(0).integers(0, 3, (3, 20)).astype(float)
    hidden, _ = stacked_columns(EnsembleData(R, codes, C))
    gone = np.repeat(C.T == 0, P.shape[1] // 3, axis=1)
    np.testing.assert_array_equal(hidden, np.where(gone, np.nan, P))
