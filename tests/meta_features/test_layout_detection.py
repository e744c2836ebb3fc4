import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from stacked_columns import columns, stacked

from cfe_stack.meta_features.layout import resolve_layout
from cfe_stack.meta_features.layout_detection import (
    LayoutWarning,
    detect_orientation,
    predicted_columns,
    rank_auc,
)

RNG = np.random.default_rng(0)


def test_rank_auc_is_the_area_under_the_roc_curve_with_ties():
    values, positive = RNG.integers(0, 6, 200) / 5, RNG.random(200) < 0.3
    assert rank_auc(values, positive) == pytest.approx(roc_auc_score(positive, values))


@pytest.mark.parametrize("rate", [0.5, 0.05])
def test_columns_that_all_fall_are_class_0_with_a_warning(rate):
    P, codes, _ = stacked(5, 400, layout="class0", class_prior=rate, skill=1.5)
    with pytest.warns(
        LayoutWarning, match="All 5 columns are negatively associated with y .*layout='class0'"
    ):
        assert detect_orientation(P, codes) == "class0"
    holed = np.where(RNG.random(P.shape) < 0.2, np.nan, P)
    with pytest.warns(LayoutWarning):
        assert detect_orientation(holed, codes) == "class0"


@pytest.mark.parametrize("case", ["one rises", "one is noise", "chance", "few rows", "constant"])
def test_without_clear_evidence_columns_are_class_1(case):
    P, codes, R = stacked(5, 300, layout="class0", skill=1.5)
    if case == "one rises":
        P[:, 2] = R[2]
    if case == "one is noise":
        P[:, 2] = RNG.random(300)
    if case == "chance":
        P = RNG.random((300, 1))
    if case == "few rows":
        P, codes = P[:8], codes[:8]
    if case == "constant":
        P = np.full((300, 5), 0.3)
    assert detect_orientation(P, codes) == "class1"


def test_chance_is_hardly_ever_taken_for_class_0():
    for _ in range(200):
        codes = RNG.integers(0, 2, 40)
        assert detect_orientation(RNG.random((40, 2)), codes) == "class1"


def test_rows_without_a_label_do_not_count():
    P, codes, R = stacked(3, 400, layout="class0", skill=1.5)
    P[200:], codes[200:] = R.T[200:], -1
    with pytest.warns(LayoutWarning):
        assert detect_orientation(P, codes) == "class0"


@pytest.mark.parametrize(
    ("P", "n_classes", "expected"),
    [
        (columns(stacked(1, 80)[2], "blocks"), 2, (0, 2, "blocks")),
        (stacked(1, 80, 4)[0], 4, (0, 4, "blocks")),
        (stacked(1, 80)[0], 2, (0, 1, "class1")),
        (stacked(2, 80, layout="margins")[0], 2, (0, 2, "margins")),
        (np.repeat([[0.0, 1.0]], 80, axis=0), 2, (0, 2, "blocks")),
        (RNG.normal(size=(80, 20)), 5, (0, 20, "margins")),
    ],
    ids=["average", "average of 4", "one", "margins", "certain", "margins of 5"],
)
def test_what_the_values_say(P, n_classes, expected):
    codes = np.arange(80) % n_classes
    assert predicted_columns(P, codes, n_classes, None, None, None) == expected


def test_a_learner_that_is_missing_throughout_does_not_end_the_run():
    P, codes, _ = stacked(4, 80, 3)
    P[:, 3:6] = np.nan
    assert predicted_columns(P, codes, 3, None, None, None) == (0, 12, "blocks")


@pytest.mark.parametrize("side", ["after", "before"])
def test_margins_are_not_taken_for_features_nor_features_for_margins(side):
    P, codes, R = stacked(4, 300, skill=1.5)
    margins, features = columns(R, "margins"), RNG.normal(size=(300, 3))
    mixed = np.column_stack([P, margins] if side == "after" else [margins, P])
    assert predicted_columns(mixed, codes, 2, None, None, None) == (0, 8, "margins")
    both = np.column_stack([P, features] if side == "after" else [features, P])
    start = 0 if side == "after" else 3
    assert predicted_columns(both, codes, 2, None, None, None) == (start, start + 4, "class1")


@pytest.mark.parametrize("side", ["after", "before"])
def test_features_beside_margins_are_pointed_out(side):
    margins, codes, _ = stacked(4, 300, layout="margins", skill=1.5)
    features = RNG.normal(size=(300, 3))
    both = np.column_stack([margins, features] if side == "after" else [features, margins])
    with pytest.warns(LayoutWarning, match=f"3 at one end .*n_classifiers=4.*'{side}'"):
        assert predicted_columns(both, codes, 2, None, None, None) == (0, 7, "margins")
    # a weak base learner among better ones is no such pattern
    weak = np.column_stack([margins, features[:, :1], margins])
    assert predicted_columns(weak, codes, 2, None, None, None) == (0, 9, "margins")


def test_a_count_that_fits_both_ends_takes_the_first_with_a_warning():
    P, codes, _ = stacked(4, 80)
    with pytest.warns(LayoutWarning, match="n_classifiers=3 fits the first and the last of the 4"):
        assert predicted_columns(P, codes, 2, 3, None, None) == (0, 3, "class1")
    assert predicted_columns(P, codes, 2, 3, "before", None) == (1, 4, "class1")


@pytest.mark.parametrize(
    "P",
    [
        RNG.random((90, 7)),
        RNG.normal(size=(90, 7)),
        # mlxtend: features before blocks with a class dropped
        np.column_stack([RNG.normal(size=(90, 4)), RNG.dirichlet(np.ones(3), 90)[:, :1]]),
    ],
    ids=["in [0, 1]", "outside", "features and dropped classes"],
)
def test_columns_that_are_nothing_known_are_scores_with_a_warning(P):
    codes, width = np.arange(90) % 3, P.shape[1]
    with pytest.warns(LayoutWarning, match=f"The {width} columns are neither probabilities nor"):
        found = predicted_columns(P, codes, 3, None, None, None)
    assert found == (0, width, "scores")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda P: P * 0.99, "base learner 0 sum to 0.99 in row 0; .* pass layout='scores'"),
        (lambda P: np.delete(P, np.arange(0, 12, 3), axis=1), "pass layout='drop_first' or"),
    ],
)
def test_broken_and_dropped_class_probabilities_are_refused(change, message):
    P, codes, _ = stacked(4, 80, 3)
    with pytest.raises(ValueError, match=message):
        predicted_columns(change(P), codes, 3, None, None, None)


@pytest.mark.parametrize("side", ["after", "before"])
@pytest.mark.parametrize("n_features", [1, 4, 8, 20])
@pytest.mark.parametrize(
    ("n_classes", "made", "found"),
    [
        (2, "class1", "class1"),
        (2, "blocks", "blocks"),
        (2, "margins", "margins"),
        (3, "blocks", "blocks"),
        (3, "labels", "labels"),
        (4, "labels", "labels"),
        (3, "margins", "margins"),
    ],
)
def test_a_count_and_a_side_leave_nothing_to_guess(n_classes, made, found, side, n_features):
    P, codes, _ = stacked(4, 200, n_classes, layout=made)
    X = RNG.normal(size=(200, n_features))
    both = np.column_stack([P, X] if side == "after" else [X, P])
    start = 0 if side == "after" else n_features
    expected = (start, start + P.shape[1], found)
    assert predicted_columns(both, codes, n_classes, 4, side, None) == expected


@pytest.mark.parametrize("made", ["margins", "ovo"])
def test_margins_beside_features_need_a_layout_where_their_width_is_open(made):
    P, codes, _ = stacked(4, 200, 4, layout=made)
    both = np.column_stack([P, RNG.normal(size=(200, 9))])
    with pytest.raises(ValueError, match="margins.*\n?.*ovo"):
        predicted_columns(both, codes, 4, 4, "after", None)


@pytest.mark.parametrize("n_classes", [3, 4])
@pytest.mark.parametrize("silent", [[0], [2], [0, 1]], ids=str)
def test_blocks_are_found_beside_learners_without_a_prediction(silent, n_classes):
    P, codes, _ = stacked(4, 60, n_classes)
    blocks = P.reshape(60, 4, n_classes)
    blocks[:, silent] = np.nan
    found = resolve_layout(P, codes, n_classes)
    assert found.n_classifiers == 4
    assert {group.kind for group in found.groups} == {"blocks"}
