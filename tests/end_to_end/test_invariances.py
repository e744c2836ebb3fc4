"""What must not change a result: names, orders, copies, weights, threads and blocks."""

import pickle
from importlib.util import find_spec

import numpy as np
import pytest
from implementations import TRAINERS
from stacked_columns import all_classes, log_loss_of, stacked
from test_common import SETTINGS

from cfe_stack import CFEnsembleClassifier, CFEnsemblePyTorchTrainer, EnsembleData
from cfe_stack.data import ensemble_data
from cfe_stack.datasets import make_ensemble
from cfe_stack.factor_model import passes
from cfe_stack.pools import selection as pool_selection

# where a class stands does matter to these: the identity link has no symmetry between p and 1 - p
ONE_SIDED = {"gated", "weighted"}
every_setting = pytest.mark.parametrize("name", SETTINGS)
every_number_of_classes = pytest.mark.parametrize("n_classes", [2, 3])
JOINT = {}
if find_spec("torch"):
    JOINT["joint"] = lambda **more: CFEnsemblePyTorchTrainer(
        latent_dim=3, max_epochs=15, tol=0, dtype="float64", lambda_reg=0.1, **more
    )
# a random start follows the order of instances; the others depend on the data alone
ORDERLESS = {
    name: (lambda make=make: make(init="spectral", lambda_reg=0.5))
    for name, make in TRAINERS.items()
} | JOINT


def given_folds(n, n_folds=5):
    """Return splits by position: the automatic ones follow what the columns hold."""
    folds = np.arange(n) % n_folds
    return [(np.flatnonzero(folds != f), np.flatnonzero(folds == f)) for f in range(n_folds)]


def flat(full):
    return full.reshape(len(full), -1)


@pytest.mark.exhaustive
@every_setting
@every_number_of_classes
def test_renaming_the_classes_moves_the_columns(name, n_classes):
    if name in ONE_SIDED and n_classes == 2:
        return
    made = make_ensemble(5, 120, n_classes, random_state=2)
    full, order = all_classes(made.R), np.arange(n_classes)[::-1]
    settings = SETTINGS[name] | {"layout": "blocks", "cv": 3}
    first = CFEnsembleClassifier(**settings).fit(flat(full), made.labels)
    second = CFEnsembleClassifier(**settings).fit(flat(full[:, :, order]), order[made.labels])
    proba = first.predict_proba(flat(full))
    moved = second.predict_proba(flat(full[:, :, order]))
    np.testing.assert_allclose(moved, proba[:, order], atol=1e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("layout", "mirrored"),
    [("class1", lambda P: 1 - P), ("labels", lambda P: 1 - P), ("margins", np.negative)],
)
@pytest.mark.parametrize("aggregator", ["auto", "greedy_selection"])
def test_which_of_two_classes_comes_first_does_not_matter(layout, mirrored, aggregator):
    P, codes, _ = stacked(6, 150, layout=layout, random_state=3)
    first = CFEnsembleClassifier(aggregator=aggregator).fit(P, codes).predict_proba(P)
    names = np.array(["yes", "no"])
    second = CFEnsembleClassifier(aggregator=aggregator).fit(mirrored(P), names[codes])
    np.testing.assert_array_equal(second.classes_, ["no", "yes"])
    np.testing.assert_allclose(second.predict_proba(mirrored(P)), first[:, ::-1], atol=1e-6)


def test_names_of_classes_do_not_choose_the_rows_to_select_on(monkeypatch):
    monkeypatch.setattr(pool_selection, "MAX_SELECTION_ROWS", 200)
    monkeypatch.setattr(pool_selection, "MIN_CLASS_ROWS", 20)
    for n_classes in (2, 3):
        made = make_ensemble(5, 400, n_classes, random_state=2)
        full, order = all_classes(made.R), np.arange(n_classes)[::-1]
        settings = {"aggregator": "log_pool", "layout": "blocks"}
        first = CFEnsembleClassifier(**settings).fit(flat(full), made.labels)
        second = CFEnsembleClassifier(**settings).fit(flat(full[:, :, order]), order[made.labels])
        assert np.isnan(first.cv_logits_).any()
        moved = second.predict_proba(flat(full[:, :, order]))
        np.testing.assert_allclose(moved, first.predict_proba(flat(full))[:, order], atol=1e-6)


@pytest.mark.exhaustive
@every_setting
@every_number_of_classes
def test_an_exact_copy_of_a_learner_hardly_matters(name, n_classes):
    P, codes, _ = stacked(20, 1000, n_classes, correlation=0.5, random_state=1)
    k = 1 if n_classes == 2 else n_classes
    losses = []
    for columns in (P, np.column_stack([P, P[:, 3 * k : 4 * k]])):
        model = CFEnsembleClassifier(**SETTINGS[name] | {"cv": given_folds(500)})
        model.fit(columns[:500], codes[:500])
        losses.append(log_loss_of(model.predict_proba(columns[500:]), codes[500:]))
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


@every_setting
def test_a_row_of_weight_zero_is_not_there(name):
    P, codes, _ = stacked(5, 90, missing_rate=0.1)
    gone = np.arange(90) % 4 == 1
    folds = np.arange(90) % 5

    def fitted(rows, weights):
        kept = folds[rows]
        splits = [(np.flatnonzero(kept != f), np.flatnonzero(kept == f)) for f in range(5)]
        model = CFEnsembleClassifier(**SETTINGS[name] | {"cv": splits})
        return model.fit(P[rows], codes[rows], weights[rows]).predict_proba(P)

    weighted = fitted(np.arange(90), np.where(gone, 0.0, 1.0))
    # what stands in such a row does not matter either
    P[gone, 0] = 0.999
    spoilt = fitted(np.arange(90), np.where(gone, 0.0, 1.0))
    np.testing.assert_array_equal(spoilt[~gone], weighted[~gone])
    absent = fitted(np.flatnonzero(~gone), np.ones(90))
    np.testing.assert_allclose(absent[~gone], weighted[~gone], atol=1e-7)


@pytest.mark.exhaustive
@every_setting
def test_threads_and_storage_change_no_bit_and_blocks_no_digit(name, monkeypatch):
    P, codes, _ = stacked(5, 2000, missing_rate=0.05)
    settings = SETTINGS[name] | {"max_iter": 20, "tol": 0.0}
    if name == "trainer":
        settings = SETTINGS[name]

    def probabilities():
        model = CFEnsembleClassifier(**settings).fit(P[:400], codes[:400])
        np.testing.assert_array_equal(
            pickle.loads(pickle.dumps(model)).predict_proba(P), model.predict_proba(P)
        )
        return model.predict_proba(P)

    whole = probabilities()
    monkeypatch.setattr(ensemble_data, "BLOCK_CELLS", 1)
    for threads in (1, 3):
        monkeypatch.setattr(passes, "n_threads", lambda n_jobs, threads=threads: threads)
        if threads == 1:
            blocks = probabilities()
        else:
            np.testing.assert_array_equal(probabilities(), blocks)
    np.testing.assert_allclose(blocks, whole, atol=1e-7)


@pytest.mark.parametrize("make", ORDERLESS.values(), ids=ORDERLESS)
@every_number_of_classes
def test_the_order_of_classifiers_and_instances_does_not_matter(make, n_classes):
    made = make_ensemble(6, 90, n_classes, missing_rate=0.1, random_state=0)
    labels = np.where(np.arange(90) % 3, made.labels, -1)
    random = np.random.default_rng(0)
    learners, rows = random.permutation(6), random.permutation(90)
    first = make().fit(EnsembleData(made.R, labels))
    second = make().fit(EnsembleData(made.R[learners][:, rows], labels[rows]))
    proba = first.predict_proba(made.R)
    np.testing.assert_allclose(second.predict_proba(made.R[learners]), proba, atol=1e-6)
    np.testing.assert_allclose(second.weights_, first.weights_[learners], atol=1e-6)
    np.testing.assert_allclose(
        second.reconstruct(made.R[learners]), first.reconstruct(made.R)[learners], atol=1e-6
    )


@pytest.mark.parametrize("make", ORDERLESS.values(), ids=ORDERLESS)
def test_renaming_the_classes_moves_the_columns_of_a_trainer(make):
    made = make_ensemble(6, 90, 3, missing_rate=0.1, random_state=0)
    order = np.array([2, 0, 1])
    first = make().fit(EnsembleData(made.R, made.labels))
    second = make().fit(EnsembleData(made.R[:, :, order], np.argsort(order)[made.labels]))
    np.testing.assert_allclose(
        second.predict_proba(made.R[:, :, order]), first.predict_proba(made.R)[:, order], atol=1e-6
    )


SYMMETRIC = {
    name: (lambda make=make: make().set_params(link="logit", aggregator_type="log_pool"))
    for name, make in ORDERLESS.items()
}


@pytest.mark.parametrize("make", SYMMETRIC.values(), ids=SYMMETRIC)
def test_which_of_two_classes_comes_first_does_not_matter_to_a_trainer(make):
    made = make_ensemble(6, 90, missing_rate=0.1, random_state=0)
    first = make().fit(EnsembleData(made.R, made.labels))
    second = make().fit(EnsembleData(1 - made.R, 1 - made.labels))
    np.testing.assert_allclose(
        second.predict_proba(1 - made.R), first.predict_proba(made.R)[:, ::-1], atol=1e-6
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("make", ORDERLESS.values(), ids=ORDERLESS)
@every_number_of_classes
def test_an_exact_copy_of_a_learner_hardly_matters_to_a_trainer(make, n_classes):
    made = make_ensemble(20, 1000, n_classes, correlation=0.5, random_state=1)
    losses = []
    for R in (made.R, np.concatenate([made.R, made.R[3:4]])):
        model = make().fit(EnsembleData(R[:, :500], made.labels[:500]))
        losses.append(log_loss_of(model.predict_proba(R[:, 500:]), made.labels[500:]))
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
