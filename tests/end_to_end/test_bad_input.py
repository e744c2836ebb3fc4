"""Bad input: what was given and what is allowed, for every way to go wrong."""

import numpy as np
import pytest
from optional_packages import pandas as pd
from scipy import sparse
from stacked_columns import stacked

from cfe_stack import CFEnsembleClassifier, CFEnsembleTrainer, EnsembleData

P, Y, R = stacked(4, 60, random_state=1)
P3, Y3, R3 = stacked(4, 60, 3, random_state=1)
L3 = stacked(4, 60, 3, layout="labels", random_state=1)[0]
NAN, INF = np.nan, np.inf
LABELLED = EnsembleData(R, Y)


def changed(array, place, value):
    copy = np.array(array, dtype=float)
    copy[place] = value
    return copy


def fit(X=P, y=Y, weights=None, groups=None, **settings):
    return lambda: CFEnsembleClassifier(**settings).fit(X, y, weights, groups)


def predict(X, method="predict_proba", train=P):
    fast = {"aggregator": "mean"}
    return lambda: getattr(CFEnsembleClassifier(**fast).fit(train, Y), method)(X)


def train(data=LABELLED, **settings):
    return lambda: CFEnsembleTrainer(**settings).fit(data)


FRAME = pd.DataFrame(P, columns=list("abcd"))
SHAPES = [
    (fit(X=P[0]), r"2D array, got 1D array"),
    (fit(X=P[:, :, None]), r"of shape .* pass cfe_stack.meta_features.side"),
    (fit(X=P[:50]), r"inconsistent numbers of samples: \[50, 60\]"),
    (fit(X=P[:, :0]), r"0 feature\(s\) .*minimum of 1"),
    (fit(X=P[:0], y=Y[:0]), r"0 sample|no row has a label"),
    (fit(y=np.column_stack([Y, 1 - Y])), r"1d array|multilabel"),
    (fit(y=None), r"requires y|1d array"),
    (fit(weights=np.ones(3)), r"sample_weight.shape == \(3,\), expected \(60,\)"),
    (fit(weights=np.ones((60, 2))), r"1D array"),
    (fit(groups=np.ones(3)), r"groups must have shape \(60,\).*\(3,\)"),
    (predict(P[:, :3]), r"X has 3 features, but .* expecting 4"),
    (predict(P[0]), r"2D array, got 1D"),
    (lambda: EnsembleData(R[0]), r"R must have shape .* got \(60,\)"),
    (lambda: EnsembleData(R, Y[:50]), r"labels must have shape \(60,\).*\(50,\)"),
    (lambda: EnsembleData(R, Y, C=np.ones((4, 3))), r"C must have .*\(4, 60\); got \(4, 3\)"),
]
VALUES = [
    (fit(X=changed(P, (3, 1), INF)), r"infinity"),
    (fit(X=changed(P, (3, 1), -INF)), r"infinity"),
    (fit(X=np.full((60, 4), "a")), r"string|could not convert"),
    (fit(X=P + 1j), r"Complex"),
    (fit(X=np.full((60, 4), NAN)), r"contains no predictions: every value is missing"),
    (fit(X=sparse.csr_matrix(changed(P, (3, 1), INF))), r"infinity"),
    (fit(X=2 * P, layout="class1"), r"Column \d .*outside \[0, 1\].*'class1'"),
    (fit(X=-P, layout="class0"), r"Column 0 .* holds -.*outside \[0, 1\].*'class0'"),
    (fit(X=P, layout="blocks"), r"probabilities of base learner 0 sum to .* within 0.001"),
    (fit(X=0.9 * P3, y=Y3), r"base learner 0 sum to 0.9.* within 0.001"),
    (fit(X=P, layout="labels"), r"layout='labels': the columns hold .* neither class codes"),
    (predict(changed(P, (3, 1), 1.5)), r"Column 1 \(base learner 1\) holds 1.5 in row 3"),
    (predict(changed(P, (3, 1), INF)), r"infinity"),
    (lambda: CFEnsembleClassifier(aggregator="mean").fit(L3, Y3).predict(L3 + 3), r"labels.*3"),
    (lambda: EnsembleData(R + 1j), r"R must be an array of numbers: it holds complex numbers\."),
    (lambda: EnsembleData(sparse.csr_matrix(R)), r"R must be .*it is sparse; pass R.toarray\(\)"),
    (lambda: EnsembleData(changed(R, (1, 3), INF)), r"infinite value at classifier 1, instance 3"),
    (
        lambda: EnsembleData(changed(R, (1, 3), 2)),
        r"holds 2 at classifier 1, instance 3; .*\[0, 1\]",
    ),
    (lambda: EnsembleData(0.9 * R3), r"classifier 0, instance 0 sum to 0.9; .* within 0.001"),
    (
        lambda: EnsembleData(R, C=-np.ones((4, 60))),
        r"C holds .*-1.* at classifier 0, instance 0; .*>= 0",
    ),
    (lambda: EnsembleData(R, sample_weight=-Y), r"sample_weight must hold finite numbers >= 0"),
    (train(EnsembleData(np.full((4, 60), NAN), Y)), r"contains no predictions"),
    (fit(weights=-np.ones(60)), r"[Nn]egative values in .*sample_weight"),
    (fit(weights=np.full(60, NAN)), r"sample_weight contains NaN"),
    (
        fit(weights=np.zeros(60)),
        r"At least two classes .*found 0 class\(es\)|[Ss]ample weights must",
    ),
]
LABELS = [
    (fit(y=np.zeros(60)), r"At least two classes need .*found 1 class\(es\)"),
    (fit(y=np.full(60, "a")), r"At least two classes need .*found 1 class\(es\) \(\['a'\]\)"),
    (fit(y=np.full(60, NAN)), r"no row has a label"),
    (fit(y=np.where(np.arange(60) < 59, NAN, 1.0)), r"found 1 class\(es\) .* in 1 such rows"),
    (fit(y=P[:, 0]), r"Unknown label type: continuous"),
    (fit(y=changed(Y, 0, INF)), r"infinity"),
    (fit(X=P.T), r"X of shape \(4, 60\) has one column per label \(60\).*the transpose"),
    (fit(y=Y, weights=(Y == 1).astype(float)), r"rows of positive weight; found 1 class\(es\)"),
    (fit(X=P[:1], y=Y[:1]), r"1 class\(es\)|1 sample"),
    (train(EnsembleData(R3[:, :2], [0, 1])), r"2 instance\(s\), fewer than its 3 classes"),
    (lambda: EnsembleData(R, Y + 1), r"labels hold .*2.* allowed are the class codes 0 … 1"),
    (lambda: EnsembleData(R, np.full(60, "a")), r"labels hold \['a'\].*pass `classes`"),
]
OPTIONS = [
    (fit(aggregator="best"), r"aggregator must be one of .*'auto'.*, got 'best'"),
    (fit(trainer="sgd"), r"trainer must be 'als'.*, got 'sgd'"),
    (fit(link="probit"), r"link must be 'identity' or 'logit', got 'probit'"),
    (fit(confidence="high"), r"confidence must be one of .*'uniform'.*, got 'high'"),
    (fit(layout="rows"), r"layout is 'rows'; it must be one of"),
    (fit(passthrough="middle"), r"passthrough must be None, 'after' .* or 'before'.*got 'middle'"),
    (fit(class_weight="equal"), r"class_weight must be None, 'balanced' or a dict .*got '?equal"),
    (fit(class_weight={0: 1, 5: 2}), r"class_weight must map classes .*5"),
    (fit(class_weight={0: -1}), r"class_weight must map classes to weights >= 0"),
    (fit(cv="five"), r"cv must be an integer >= 2.*got 'five'"),
    (fit(cv=1), r"cv must be an integer >= 2.*got 1"),
    (fit(n_classifiers=0), r"n_classifiers must be None or at least 1.*, got 0"),
    (fit(n_classifiers=2.5), r"n_classifiers must be None or .* got 2.5"),
    (fit(n_classifiers=7), r"n_classifiers=7 does not fit 4 columns for 2 classes"),
    (fit(focal_gamma=-1), r"focal_gamma must be a.* >= 0, got -1"),
    (fit(focal_gamma=NAN), r"focal_gamma must be a.* >= 0, got nan"),
    (fit(focal_gamma="2"), r"focal_gamma must be a number >= 0, got '2'"),
    (fit(focal_gamma=0.5, focal_delta=-1), r"focal_delta must be .*>= 0, got -1"),
    (fit(focal_alpha=1.5), r"focal_alpha must .*\[0, 1\], got 1.5"),
    (fit(X=P3, y=Y3, focal_alpha=0.5), r"focal_alpha .* needs two classes, got 3"),
    (fit(rho=-0.1), r"rho must be a number in \[0, 1\], got -0.1"),
    (fit(rho=1.1), r"rho must be a number in \[0, 1\], got 1.1"),
    (fit(rho="half"), r"rho must be a number in \[0, 1\], got 'half'"),
    (fit(lambda_reg=-1), r"lambda_reg must be a number .*0.*, got -1"),
    (fit(latent_dim=0), r"latent_dim must be an integer >= 1, got 0"),
    (fit(latent_dim=2.5), r"latent_dim must be an integer >= 1, got 2.5"),
    (fit(max_iter=0), r"max_iter must be an integer >= 1, got 0"),
    (fit(tol=-1), r"tol must be a number >= 0, got -1"),
    (fit(random_state="x"), r"random_state must be an integer .*, got 'x'"),
    (train(random_state=-1), r"random_state must be an integer .*, got -1"),
    (train(verbose="x"), r"verbose must be an integer >= 0, got 'x'"),
    (train(standardize="x"), r"standardize must be True or False, got 'x'"),
    (train(use_class_weights="no"), r"use_class_weights must be True or False, got 'no'"),
    (train(use_label_aware_confidence=1), r"use_label_aware_confidence must be .*, got 1"),
    (
        train(confidence="label_aware", use_label_aware_confidence=False),
        r"'label_aware' needs .*got use_label_aware_confidence=False",
    ),
    (
        fit(trainer=CFEnsembleTrainer(confidence="label_aware", supervision="majorize")),
        r"'label_aware' needs .*supervision='majorize'",
    ),
    (train(aggregator_type="median"), r"aggregator_type must be one of .*, got 'median'"),
    (train(aggregator_solver="exact"), r"aggregator_solver must be .*, got 'exact'"),
    (train(focal_gradient="half"), r"focal_gradient must be .*, got 'half'"),
    (train(init="zeros"), r"init must be .*, got 'zeros'"),
    (train(confidence="high"), r"confidence must be one of .*, got 'high'"),
    (train(link="probit"), r"link must be .*, got 'probit'"),
    (train(rho=2), r"rho must be a number in \[0, 1\], got 2"),
    (train(focal_gamma=-1), r"focal_gamma must be .*>= 0, got -1"),
    (train(label_aware_alpha=-1), r"label_aware_alpha must be .*>= 0, got -1"),
    (train(confidence="adaptive", adaptive_shares=(1, 1, 1)), r"adaptive_shares must .* sum to 1"),
    (train(n_classifiers=7), r"n_classifiers.*7.*4|4.*7"),
    (train(aggregator_lr=-1), r"aggregator_lr must be .*got -1"),
    (train(freeze_aggregator_iters=-1), r"freeze_aggregator_iters must be .*got -1"),
]
NAMES = [
    (predict(FRAME[["b", "a", "c", "d"]], train=FRAME), r"feature names should match"),
    (predict(FRAME.rename(columns={"a": "z"}), train=FRAME), r"feature names should match"),
    (predict(FRAME[["a", "b"]], train=FRAME), r"feature names should match"),
    (lambda: EnsembleData(R, classifier_names=["a", "b"]), r"4 different names, .* got 2"),
    (lambda: EnsembleData(R, classifier_names=["a"] * 4), r"4 different names"),
]


def cases():
    for kind in ("SHAPES", "VALUES", "LABELS", "OPTIONS", "NAMES"):
        for call, message in globals()[kind]:
            yield pytest.param(call, message, id=f"{kind.lower()}: {message[:40]}")


@pytest.mark.parametrize(("call", "message"), list(cases()))
def test_bad_input_is_refused_with_what_was_given_and_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call()


@pytest.mark.filterwarnings("ignore::cfe_stack.MissingPredictionsWarning")
@pytest.mark.parametrize(("lost", "left"), [(Y == 1, 1), (np.arange(60) > 9, 0)])
def test_labelled_rows_with_predictions_must_be_of_two_classes(lost, left):
    X, y = np.where(lost[:, None], NAN, P), Y if left else np.where(lost, Y, NAN)
    message = (
        rf"At least two classes need labeled rows with predictions; found {left}\. "
        r".* no predictions"
    )
    with pytest.raises(ValueError, match=message):
        CFEnsembleClassifier(layout="class1").fit(X, y)


def test_unknown_trainer_data_is_refused():
    trainer = CFEnsembleTrainer(latent_dim=2, max_iter=200, random_state=0).fit(LABELLED)
    with pytest.raises(ValueError, match="3 classifiers.* fitted to 4 classifiers"):
        trainer.predict_proba(R[:3])
    with pytest.raises(ValueError, match="3 classes.* fitted to 4 classifiers and 2 classes"):
        trainer.predict_proba(R3)


def test_a_refused_fit_changes_no_parameter_and_leaves_no_model():
    model = CFEnsembleClassifier(rho=2)
    before = repr(model.get_params())
    with pytest.raises(ValueError, match="rho"):
        model.fit(P, Y)
    assert repr(model.get_params()) == before
    assert not any(name.endswith("_") for name in vars(model))
