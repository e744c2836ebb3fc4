import numpy as np
import pytest
from stacked_columns import columns, stacked

from cfe_stack.classifier.column_reader import ColumnReader
from cfe_stack.meta_features.layout import resolve_layout
from cfe_stack.meta_features.score_calibration import ScoreCalibrator

N = 150
FOLDS = np.arange(N) % 5
ONES = np.ones(N)


def reader_of(P, codes, n_classes, layout, weights=ONES):
    return ColumnReader.fit(resolve_layout(P, codes, n_classes, layout), P, codes, weights)


@pytest.mark.parametrize(("n_classes", "layout"), [(2, "class1"), (3, "blocks")])
def test_probabilities_pass_untouched(n_classes, layout):
    P, codes, R = stacked(4, N, n_classes)
    reader = reader_of(P, codes, n_classes, layout)
    assert reader.calibrators == {}
    for matrix in (reader.matrix(P), reader.training_matrix(P, codes, ONES, FOLDS)):
        assert np.shares_memory(matrix, P)
        np.testing.assert_array_equal(matrix, R)


@pytest.mark.parametrize(
    ("n_classes", "layout"),
    [(2, "margins"), (3, "margins"), (4, "ovo"), (2, "scores"), (3, "scores")],
)
def test_new_rows_get_the_probabilities_of_a_calibrator_of_all_labelled_rows(n_classes, layout):
    made = "margins" if layout == "scores" else layout
    P, codes, _ = stacked(4, N, n_classes, layout=made)
    codes = np.where(np.arange(N) < 20, -1, codes)
    weights = np.where(np.arange(N) < 40, 0.0, 2.0)
    reader = reader_of(P, codes, n_classes, layout, weights)
    size = reader.layout.groups[0].stop
    assert list(reader.calibrators) == list(range(P.shape[1] // size))
    model = ScoreCalibrator.fit(P[40:, :size], codes[40:], weights[40:], n_classes)
    expected = model.predict_proba(P[:, :size])
    found = reader.matrix(P)[0]
    np.testing.assert_allclose(found, expected[:, 1] if n_classes == 2 else expected)


@pytest.mark.parametrize(("n_classes", "layout"), [(2, "margins"), (3, "margins"), (3, "scores")])
def test_no_label_touches_its_own_row(n_classes, layout):
    P, codes, _ = stacked(4, N, n_classes, layout="margins")
    reader = reader_of(P, codes, n_classes, layout)
    held = FOLDS == 2
    flipped = np.where(held, (codes + 1) % n_classes, codes)
    before = reader.training_matrix(P, codes, ONES, FOLDS)
    after = reader.training_matrix(P, flipped, ONES, FOLDS)
    np.testing.assert_array_equal(after[:, held], before[:, held])
    assert (np.abs(after - before)[:, ~held] > 1e-6).mean() > 0.99
    assert (np.abs(reader.matrix(P) - before) > 1e-6).mean() > 0.99


def test_rows_without_a_label_get_the_calibrator_of_all_rows():
    P, codes, _ = stacked(4, N, layout="margins")
    codes[:30] = -1
    folds = np.where(codes < 0, -1, FOLDS)
    reader = reader_of(P, codes, 2, "margins")
    training = reader.training_matrix(P, codes, ONES, folds)
    np.testing.assert_array_equal(training[:, :30], reader.matrix(P)[:, :30])


def test_probabilities_beside_margins_are_left_alone():
    P, codes, R = stacked(4, N)
    P[:, [1, 3]] = columns(R, "margins")[:, [1, 3]]
    reader = ColumnReader.fit(resolve_layout(P, codes, 2), P, codes, ONES)
    assert list(reader.calibrators) == [1, 3]
    for matrix in (reader.matrix(P), reader.training_matrix(P, codes, ONES, FOLDS)):
        np.testing.assert_array_equal(matrix[[0, 2]], R[[0, 2]])
        assert ((matrix > 0) & (matrix < 1)).all()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_missing_scores_stay_missing(n_classes):
    P, codes, _ = stacked(4, N, n_classes, layout="margins")
    P[::7, 0] = np.nan
    P[:, -1] = np.nan
    reader = reader_of(P, codes, n_classes, "margins")
    for matrix in (reader.matrix(P), reader.training_matrix(P, codes, ONES, FOLDS)):
        missing = np.isnan(matrix) if n_classes == 2 else np.isnan(matrix).all(axis=2)
        np.testing.assert_array_equal(missing[0], np.arange(N) % 7 == 0)
        assert missing[-1].all()
        assert not missing[1:-1].any()


@pytest.mark.parametrize(
    ("n_classes", "layout", "value", "message"),
    [
        (2, "class1", 1.5, r"Column 3 \(base learner 3\) holds 1.5 in row 4, outside \[0, 1\]"),
        (3, "blocks", 0.999, "base learner 1 sum to .* in row 4"),
    ],
)
def test_new_rows_must_fit_the_layout_of_training(n_classes, layout, value, message):
    P, codes, _ = stacked(4, N, n_classes)
    reader = reader_of(P, codes, n_classes, layout)
    new = P.copy()
    new[4, 3] = value
    with pytest.raises(ValueError, match=message):
        reader.matrix(new)


def test_a_row_alone_is_read_as_among_others():
    for n_classes in (2, 3):
        P, codes, _ = stacked(4, N, n_classes, layout="margins")
        reader = reader_of(P, codes, n_classes, "margins")
        np.testing.assert_allclose(reader.matrix(P[[7]])[:, 0], reader.matrix(P)[:, 7], rtol=1e-12)


@pytest.mark.parametrize("layout", ["class1", "class0", "blocks", "labels", "margins"])
def test_rows_are_told_apart_whichever_class_is_called_1(layout):
    P, codes, _ = stacked(4, N, layout=layout)
    swapped = np.arange(P.shape[1]) ^ 1
    other = {"margins": -P, "blocks": P[:, swapped % P.shape[1]]}.get(layout, 1 - P)
    content = reader_of(P, codes, 2, layout).content(P, codes)
    renamed = reader_of(other, 1 - codes, 2, layout).content(other, 1 - codes)
    np.testing.assert_array_equal(renamed, content)
    # what speaks against the class of a row is negative, in any layout
    assert (content < 0).mean() < 0.5
    assert len(np.unique(content)) > (1 if layout == "labels" else N)
