import numpy as np
import pytest
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)

from cfe_stack.cross_validation.content_keys import content_keys, rounded, seen_from_own_class
from cfe_stack.cross_validation.inner_folds import (
    MAX_REPEATED_ROWS,
    MAX_REPEATS,
    group_folds,
    inner_folds,
    stratified_folds,
)

RNG = np.random.default_rng(0)
P = RNG.random((103, 4))
CODES = np.repeat([0, 1, 2], [60, 36, 7])
RNG.shuffle(CODES)
ONES = np.ones(103)


def loads(folds, weights, n_folds):
    return np.bincount(folds, weights, minlength=n_folds)


def test_keys_depend_on_what_a_row_holds_and_not_on_the_order_of_its_columns():
    keys = content_keys(P)
    assert keys.dtype == np.uint64
    assert len(set(keys.tolist())) == len(P)
    np.testing.assert_array_equal(content_keys(P[:, [2, 0, 3, 1]]), keys)
    np.testing.assert_array_equal(content_keys(P[::-1]), keys[::-1])
    np.testing.assert_array_equal(content_keys(np.asfortranarray(P)), keys)
    assert not (content_keys(P, seed=1) == keys).any()


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        ([0.0, 1.0], [-0.0, 1.0], True),
        ([np.nan, 1.0], [1.0, -np.nan], True),
        ([0.1, 0.1], [0.1, 0.1 + 1e-16], False),
        ([0.1, 0.1, 0.2], [0.1, 0.2, 0.2], False),
        ([0.5, 0.5], [0.25, 0.25], False),
        ([[0.1, 0.9], [0.8, 0.2]], [[0.8, 0.2], [0.1, 0.9]], True),
    ],
)
def test_keys_of_special_rows(first, second, equal):
    keys = content_keys(np.array([first, second]))
    assert (keys[0] == keys[1]) == equal


def test_keys_of_many_rows_do_not_collide():
    few_values = np.random.default_rng(0).integers(0, 30, size=(20_000, 3)) / 29
    different = len(np.unique(few_values, axis=0))
    assert len(np.unique(content_keys(few_values))) == different


@pytest.mark.parametrize("n_folds", [2, 5, 10])
def test_stratified_folds_are_balanced_within_one_in_every_class(n_folds):
    folds = stratified_folds(content_keys(P), CODES, ONES, n_folds)
    assert folds.min() >= 0
    assert folds.max() < n_folds
    for code in range(3):
        assert np.ptp(loads(folds[CODES == code], ONES[CODES == code], n_folds)) <= 1
    assert np.ptp(loads(folds, ONES, n_folds)) <= 3


def test_rare_classes_do_not_gather_in_one_fold():
    codes = np.arange(10)
    folds = stratified_folds(content_keys(P[:10]), codes, np.ones(10), 5)
    np.testing.assert_array_equal(np.bincount(folds), [2] * 5)


def test_copies_of_a_row_are_spread_over_the_folds():
    rows = np.repeat(np.arange(20), 5)
    folds = stratified_folds(content_keys(P[rows]), np.zeros(100, int), np.ones(100), 5)
    for row in range(20):
        assert set(folds[rows == row]) == set(range(5))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_that_repeat_do_not_unbalance_the_folds(n_classes):
    """Eight different rows, as from three learners that say 0 or 1."""
    rng = np.random.default_rng(0)
    hard, codes = rng.integers(0, 2, (600, 3)).astype(float), rng.integers(0, n_classes, 600)
    for folds in inner_folds(hard, codes, np.ones(600), 5):
        for code in range(n_classes):
            sizes = loads(folds[codes == code], np.ones((codes == code).sum()), 5)
            assert sizes.min() > 0.5 * sizes.mean()


def test_permuting_rows_and_columns_permutes_the_folds():
    weights = RNG.integers(1, 4, 103).astype(float)
    order = RNG.permutation(103)
    folds = inner_folds(P, CODES, weights, 5)
    again = inner_folds(P[order][:, ::-1], CODES[order], weights[order], 5)
    np.testing.assert_array_equal(again, folds[:, order])


def test_names_of_classes_do_not_matter_to_the_folds():
    folds = inner_folds(P, CODES, ONES, 5)
    np.testing.assert_array_equal(inner_folds(P, np.array([1, 2, 0])[CODES], ONES, 5), folds)
    # rows that repeat in both classes leave no other order than that of the classes' names
    hard, codes = np.repeat(np.eye(2), 30, axis=0), np.arange(60) % 4 // 3
    seen = inner_folds(seen_from_own_class(hard - 0.5, codes), codes, np.ones(60), 5)
    other = inner_folds(seen_from_own_class(0.5 - hard, 1 - codes), 1 - codes, np.ones(60), 5)
    np.testing.assert_array_equal(other, seen)


def test_what_speaks_for_the_own_class_is_the_same_bits_from_either_side():
    codes = (P[:, 0] > 0.5).astype(int)
    seen = seen_from_own_class(rounded(P - 0.5), codes)
    assert (seen[:, 0] >= 0).all()
    np.testing.assert_array_equal(seen_from_own_class(rounded((1 - P) - 0.5), 1 - codes), seen)
    assert len(np.unique(seen)) == P.size


def test_few_rows_are_split_several_times_and_many_rows_once():
    few = inner_folds(P, CODES, ONES, 5)
    assert 1 < len(few) == MAX_REPEATS
    assert len({tuple(folds) for folds in few.tolist()}) == len(few)
    for folds in few:
        assert np.ptp(loads(folds[CODES == 0], ONES[CODES == 0], 5)) <= 1
    n = 2 * MAX_REPEATED_ROWS
    many = inner_folds(np.random.default_rng(0).random((n, 2)), np.arange(n) % 2, np.ones(n), 5)
    assert len(many) == 1


def test_the_number_of_repeats_counts_frequencies_and_not_rows():
    weights = np.full(103, 4.0)
    copies = np.repeat(np.arange(103), 4)
    folds = inner_folds(P, CODES, weights, 5)
    again = inner_folds(P[copies], CODES[copies], np.ones(412), 5)
    assert len(again) == len(folds) > 1
    assert len(inner_folds(P, CODES, np.full(103, 100.0), 5)) == 1


@pytest.mark.parametrize("n_groups", [2, 4, 30])
def test_groups_are_never_split_and_folds_weigh_about_the_same(n_groups):
    groups = np.array([f"g{g}" for g in RNG.integers(0, n_groups, 103)])
    weights = RNG.random(103)
    folds = group_folds(groups, weights, 5)
    assert all(len(set(folds[groups == g])) == 1 for g in groups)
    assert len(set(folds)) == min(5, n_groups)
    heaviest = max(weights[groups == g].sum() for g in groups)
    assert np.ptp(loads(folds, weights, min(5, n_groups))) <= heaviest
    order = RNG.permutation(103)
    np.testing.assert_array_equal(group_folds(groups[order], weights[order], 5), folds[order])


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(52), 2)[:103]])
def test_only_labelled_rows_of_positive_weight_have_a_fold(groups):
    codes, weights = CODES.copy(), ONES.copy()
    codes[:10], weights[10:20] = -1, 0
    folds = inner_folds(P, codes, weights, 5, groups)
    assert (folds[:, :20] == -1).all()
    assert (folds[:, 20:] >= 0).all()
    without = inner_folds(
        P[20:], codes[20:], weights[20:], 5, None if groups is None else groups[20:]
    )
    np.testing.assert_array_equal(folds[:, 20:], without)


@pytest.mark.parametrize(
    "cv",
    [
        KFold(4),
        KFold(3, shuffle=True, random_state=np.random.RandomState(0)),
        StratifiedKFold(3),
        GroupKFold(3),
        PredefinedSplit(np.arange(93) % 4),
    ],
    ids=lambda cv: type(cv).__name__,
)
def test_a_splitter_splits_the_labelled_rows_and_is_not_changed(cv):
    codes = CODES.copy()
    codes[:10] = -1
    groups = np.arange(103) // 3 if isinstance(cv, GroupKFold) else None
    here = None if groups is None else groups[10:]
    folds = inner_folds(P, codes, ONES, cv, groups)
    again = inner_folds(P, codes, ONES, cv, groups)
    np.testing.assert_array_equal(again, folds)
    assert folds.shape == (1, 103)
    for fold, (_, test) in enumerate(cv.split(P[10:], codes[10:], here)):
        np.testing.assert_array_equal(np.flatnonzero(folds[0] == fold), test + 10)


@pytest.mark.parametrize("as_mask", [False, True])
def test_a_list_of_splits_counts_all_rows(as_mask):
    tests = [np.arange(0, 50), np.arange(50, 103)]
    if as_mask:
        tests = [np.isin(np.arange(103), test) for test in tests]
    codes = CODES.copy()
    codes[:10] = -1
    folds = inner_folds(P, codes, ONES, [(None, test) for test in tests])
    np.testing.assert_array_equal(folds, [np.repeat([-1, 0, 1], [10, 40, 53])])


@pytest.mark.parametrize(
    ("cv", "groups", "message"),
    [
        ([(None, np.arange(50))], None, "53 rows are never held out and 0 more than once"),
        ([(None, np.arange(60)), (None, np.arange(50, 103))], None, "0 rows are .* and 10 more"),
        ([(None, np.arange(103))], None, "at least two"),
        (PredefinedSplit(np.zeros(103)), None, "at least two"),
        (PredefinedSplit(np.arange(200) % 4), None, "103"),
        ([(None, np.arange(0, 206, 2)), (None, np.arange(1, 206, 2))], None, "103"),
        (ShuffleSplit(3, random_state=0), None, "exactly once"),
        (TimeSeriesSplit(3), None, "exactly once"),
        (5, np.zeros(103), "at least two different groups"),
        (5, np.zeros(7), r"groups must have shape \(103,\), .* got \(7,\)"),
        (GroupKFold(3), np.zeros((103, 2)), r"groups must have shape \(103,\)"),
        (5, [*np.arange(102.0), np.nan], "no group in 1 of 103 rows, the first is row 102"),
        (5, [None, "a", None] + ["b"] * 100, "no group in 2 of 103 rows, the first is row 0"),
    ],
)
def test_folds_that_cannot_be_are_refused(cv, groups, message):
    with pytest.raises(ValueError, match=message):
        inner_folds(P, CODES, ONES, cv, groups)
