"""What the leak check says of clean data, of leaks put in, and of meta-learners that overfit."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import CFEnsembleClassifier, EnsembleData
from cfe_stack.datasets import make_ensemble
from cfe_stack.leakage.leakage_report import check_leakage, duplicate_columns
from cfe_stack.leakage.meta_learner_check import MetaLearnerCheck
from cfe_stack.meta_features.stacked_columns import stacked_columns

FAST = {"final_estimator": LogisticRegression(), "progress": False, "random_state": 0}


@pytest.fixture(scope="module")
def made():
    return make_ensemble(6, 600, random_state=0)


@pytest.fixture(scope="module")
def halves(made):
    first = slice(0, 400)
    return (
        EnsembleData(made.R[:, first], made.labels[first]),
        EnsembleData(made.R[:, 400:]),
    )


def with_column(data, u, p):
    R = np.array(data.R)
    R[u] = p
    return EnsembleData(R, data.labels, classifier_names=data.classifier_names)


@pytest.mark.exhaustive
def test_clean_data_is_called_clean(halves):
    data, test = halves
    report = check_leakage(data, test, n_permutations=3, random_state=0, progress=False)
    assert (report.problems, report.suspicions, report.duplicates) == ([], (), ())
    assert report.verdict.startswith("Nothing looks like a leak.")
    meta = report.meta
    # nothing is learned from permuted labels, something from the real ones
    assert max(meta.null_skills) < 0.02 < 0.1 < meta.skill
    assert meta.apparent < meta.nested < meta.prior
    # the classifier's own estimate is honest: it is nearer to the nested one than to chance
    assert abs(meta.own_estimate - meta.nested) < 2 * meta.nested_error


def test_the_nested_estimate_is_a_cross_validation(halves):
    data, _ = halves
    splits = list(StratifiedKFold(3, shuffle=True, random_state=0).split(data.R.T, data.labels))
    meta = check_leakage(data, cv=splits, n_permutations=0, **FAST).meta
    losses = np.empty(data.n_instances)
    for train, held_out in splits:
        model = LogisticRegression().fit(data.R.T[train], data.labels[train])
        proba = model.predict_proba(data.R.T[held_out])[
            np.arange(len(held_out)), data.labels[held_out]
        ]
        losses[held_out] = -np.log(proba)
    assert meta.nested == pytest.approx(losses.mean(), rel=1e-12)
    assert meta.nested_error == pytest.approx(losses.std(ddof=1) / 20, rel=1e-12)
    model = LogisticRegression().fit(data.R.T, data.labels)
    assert meta.apparent == pytest.approx(log_loss(data.labels, model.predict_proba(data.R.T)))
    assert meta.null_skills == ()
    assert np.isnan(meta.own_estimate)


def test_an_overfitting_meta_learner_is_told_from_its_training_score(halves):
    options = FAST | {"final_estimator": DecisionTreeClassifier(random_state=0)}
    report = check_leakage(halves[0], n_permutations=0, **options)
    assert report.meta.apparent == pytest.approx(0, abs=1e-3)
    assert report.meta.optimism > 1
    (note,) = [note for note in report.notes if "nested cross-validation" in note]
    assert f"{report.meta.nested:.4f}; report the second" in note


class Remembering(LogisticRegression):
    """A meta-learner that keeps the labels of all rows it was ever fitted on."""

    memory = {}

    def fit(self, X, y, sample_weight=None):
        self.memory.update(zip(map(bytes, X), y, strict=True))
        return super().fit(X, y)

    def predict_proba(self, X):
        remembered = np.array([self.memory.get(bytes(row), 0) for row in X])
        return 0.2 * np.eye(2)[remembered] + 0.8 * super().predict_proba(X)


def test_a_meta_learner_that_sees_held_out_labels_shows_it_on_permuted_ones(halves):
    options = FAST | {"final_estimator": Remembering()}
    report = check_leakage(halves[0], n_permutations=3, **options)
    assert min(report.meta.null_skills) > 0.05
    assert any("finds skill in permuted labels" in problem for problem in report.problems)


def test_skill_in_permuted_labels_is_a_problem():
    dirty = MetaLearnerCheck(0.69, 0.3, 0.3, 0.4, 0.01, (0.05, 0.06, 0.055))
    clean = MetaLearnerCheck(0.69, 0.3, 0.3, 0.4, 0.01, (-0.01, 0.02, -0.02))
    assert not dirty.null_is_clean
    assert clean.null_is_clean
    assert dirty.skill == pytest.approx(1 - 0.4 / 0.69)


def test_in_sample_columns_are_named_in_table_and_verdict(halves):
    data, test = halves
    leaking = with_column(data, 2, np.where(data.labels == 1, 0.98, 0.02))
    report = check_leakage(leaking, test, cv=None)
    assert report.meta is None
    assert [s.classifier for s in report.suspicions] == [2]
    marked = [row["classifier"] for row in report.columns if row["in-sample"]]
    assert marked == ["classifier_2"]
    assert "1 thing to look into: classifier_2 looks like in-sample" in report.verdict
    frame = report.to_frame()
    assert list(frame["classifier"]) == list(data.classifier_names)
    assert frame.loc[2, "log-loss"] == pytest.approx(-np.log(0.98))
    assert frame["test entropy"].notna().all()
    assert frame["test log-loss"].isna().all()


def test_without_test_rows_the_report_says_what_it_cannot_see(halves):
    report = check_leakage(halves[0], cv=None)
    assert "Without test predictions only near-perfect columns" in report.verdict
    assert all(np.isnan(row["test entropy"]) for row in report.columns)


def test_duplicates_are_found_wherever_both_have_a_prediction(halves):
    data, _ = halves
    twin = np.array(data.R[1])
    twin[::3] = np.nan
    R = np.vstack([data.R, [twin, data.R[0] + 1e-8, np.full(400, np.nan)]])
    doubled = EnsembleData(np.clip(R, 0, 1), data.labels)
    expected = (("classifier_0", "classifier_7"), ("classifier_1", "classifier_6"))
    assert duplicate_columns(doubled) == expected
    report = check_leakage(doubled, cv=None)
    assert report.columns[6]["same as"] == "classifier_1"
    assert any("classifier_0, classifier_7 hold the same" in p for p in report.problems)
    # a difference in the last row is a difference
    R[7, -1] = 0.5 * R[7, -1]
    assert duplicate_columns(EnsembleData(np.clip(R, 0, 1))) == expected[1:]


def test_several_classes_missing_cells_and_unknown_labels():
    made = make_ensemble(4, 240, n_classes=3, missing_rate=0.2, random_state=0)
    labels = np.where(np.arange(240) % 5 == 0, -1, made.labels)
    report = check_leakage(
        EnsembleData(made.R, labels),
        final_estimator=CFEnsembleClassifier(aggregator="log_pool"),
        n_permutations=0,
        progress=False,
    )
    assert report.meta.nested < report.meta.prior
    assert sum(row["labeled rows"] for row in report.columns) < 4 * 192


def test_stacked_columns_are_those_of_a_stack():
    R = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 5))
    columns, layout = stacked_columns(EnsembleData(R, C=[[1] * 5, [1, 1, 0, 1, 1]]))
    assert layout == "blocks"
    np.testing.assert_array_equal(columns[:, :3], R[0])
    np.testing.assert_array_equal(columns[[0, 1, 3, 4], 3:], R[1][[0, 1, 3, 4]])
    assert np.isnan(columns[2, 3:]).all()


def test_meta_learners_that_cannot_take_missing_cells_are_checked_too():
    made = make_ensemble(4, 200, missing_rate=0.2, random_state=0)
    weights = np.where(np.arange(200) % 4 == 0, 2.0, 1.0)
    data = EnsembleData(made.R, made.labels, sample_weight=weights)
    meta = check_leakage(data, n_permutations=0, **FAST).meta
    assert meta.apparent < meta.nested < meta.prior
    plain = EnsembleData(made.R, made.labels)
    assert check_leakage(plain, n_permutations=0, **FAST).meta.nested != meta.nested


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_permutations": -1}, "n_permutations must be an integer >= 0, got -1"),
        ({"n_permutations": True}, "got True"),
        ({"cv": 1}, "cv must be an integer >= 2"),
    ],
)
def test_options_out_of_range_are_refused(halves, options, message):
    with pytest.raises(ValueError, match=message):
        check_leakage(halves[0], **options)


def test_labels_are_needed(made):
    with pytest.raises(TypeError, match=r"takes an EnsembleData\(R, labels\), got ndarray"):
        check_leakage(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="labels of at least two classes"):
        check_leakage(EnsembleData(made.R))
