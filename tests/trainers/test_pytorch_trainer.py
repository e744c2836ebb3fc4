import io
import sys
import warnings
from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from stacked_columns import log_loss_of, stacked

from cfe_stack import CFEnsembleClassifier, CFEnsemblePyTorchTrainer, EnsembleData
from cfe_stack.datasets import make_ensemble
from cfe_stack.losses.schedules import LinearSchedule
from cfe_stack.pools.gates import Gates, linear_gate
from cfe_stack.trainers.joint_objective import Plateau, initial_gate, shuffled_batches

torch = pytest.importorskip("torch")
# most descents are cut off early here, which may leave a ranking worse than the plain average's
pytestmark = pytest.mark.filterwarnings("ignore::cfe_stack.CollapsedAggregatorWarning")

QUICK = {"latent_dim": 3, "lambda_reg": 0.1, "max_epochs": 20, "tol": 0, "random_state": 0}
SETTINGS = {
    "adam, projected": {},
    "adam, free": {"instance_factors": "free"},
    "adamw, random": {"optimizer": "adamw", "init": "random"},
    "sgd, free": {"optimizer": "sgd", "instance_factors": "free"},
    "lbfgs, float64": {"optimizer": "lbfgs", "dtype": "float64", "max_epochs": 3},
    "lbfgs, free": {"optimizer": "lbfgs", "instance_factors": "free", "max_epochs": 3},
    "batches": {"batch_size": 32},
    "batches, free": {"batch_size": 32, "instance_factors": "free"},
    "logit, standardized": {"link": "logit", "standardize": True, "confidence": "uniform"},
    "mean": {"aggregator_type": "mean", "confidence": "adaptive"},
    "log pool": {"aggregator_type": "log_pool", "confidence": "calibration"},
    "gated pool": {"aggregator_type": "gated_pool", "link": "logit", "standardize": True},
    "gated pool, free": {"aggregator_type": "gated_pool", "instance_factors": "free"},
    "gated pool, lbfgs": {"aggregator_type": "gated_pool", "optimizer": "lbfgs", "max_epochs": 3},
    "focal": {"focal_gamma": 0.5, "class_weight": {0: 1.0, 1: 2.0}},
    "schedule": {"focal_gamma": LinearSchedule(2.0, 0.0), "tol": 1e-4},
    "class weights, schedule": {"use_class_weights": LinearSchedule(0.0, 1.0), "tol": 1e-4},
}


@pytest.fixture(params=[2, 3], ids=["binary", "three classes"])
def data(request):
    made = make_ensemble(5, 120, request.param, missing_rate=0.1, random_state=0)
    labels = made.labels.copy()
    labels[::4] = -1
    return EnsembleData(made.R, labels)


def trainer(**settings):
    return CFEnsemblePyTorchTrainer(**(QUICK | settings))


def compatible(settings, data):
    if data.n_classes > 2 and "class_weight" in settings:
        return {"focal_gamma": 0.5}
    return settings


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_lowers_the_objective_and_predicts(name, data):
    model = trainer(**compatible(SETTINGS[name], data)).fit(data)
    first, last = model.history_["objective"][[0, -1]]
    assert last <= first or "schedule" in name
    proba = model.predict_proba(data.R)
    assert proba.shape == model.transductive_proba_.shape == (120, data.n_classes)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert model.n_iter_ == len(model.history_)
    assert model.history_.names == ("objective", "reconstruction", "supervised", "focal_gamma")
    if "pool" in name:
        assert (model.weights_ >= 0).all()


@pytest.mark.first_cases
@pytest.mark.parametrize("name", SETTINGS)
def test_equal_seeds_give_equal_bits(name, data):
    model = trainer(**compatible(SETTINGS[name], data))
    before = torch.get_rng_state()
    first, second = clone(model).fit(data), clone(model).fit(data)
    np.testing.assert_array_equal(first.predict_proba(data.R), second.predict_proba(data.R))
    assert torch.equal(torch.get_rng_state(), before)


def test_other_seeds_give_other_starts(data):
    ends = [trainer(init="random", random_state=seed).fit(data).weights_ for seed in (0, 1)]
    assert np.abs(ends[0] - ends[1]).max() > 1e-6


def test_sample_weights_are_frequencies():
    made = make_ensemble(5, 80, random_state=1)
    weights = np.random.default_rng(0).integers(0, 3, 80)
    rows = np.repeat(np.arange(80), weights)
    settings = {"optimizer": "lbfgs", "dtype": "float64", "max_epochs": 1}
    weighted = trainer(**settings).fit(
        EnsembleData(made.R, made.labels, sample_weight=weights.astype(float))
    )
    repeated = trainer(**settings).fit(EnsembleData(made.R[:, rows], made.labels[rows]))
    np.testing.assert_allclose(
        weighted.predict_proba(made.R), repeated.predict_proba(made.R), atol=1e-7
    )
    assert np.isfinite(weighted.transductive_proba_).all()


def test_projected_factors_are_the_fold_in(data):
    model = trainer(dtype="float64").fit(data)
    np.testing.assert_allclose(model.transform(data), model.instance_factors_, atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(data), model.transductive_proba_, atol=1e-9)


def test_the_best_state_is_restored(data):
    settings = {"lr": 1.0, "dtype": "float64", "instance_factors": "free"}
    model = trainer(max_epochs=6, **settings).fit(data)
    objectives = model.history_["objective"]
    assert objectives[-1] > objectives.min()
    again = trainer(max_epochs=int(objectives.argmin()) + 1, **settings).fit(data)
    np.testing.assert_allclose(model.predict_proba(data), again.predict_proba(data), atol=1e-12)


def test_an_interrupt_keeps_the_best_state(data, monkeypatch):
    model = trainer(max_epochs=50)
    record, epochs = model._record, []

    def interrupting(*args):
        epochs.append(record(*args))
        if len(epochs) == 5:
            raise KeyboardInterrupt
        return epochs[-1]

    monkeypatch.setattr(model, "_record", interrupting)
    model.fit(data)
    assert model.n_iter_ == 5
    assert np.isfinite(model.predict_proba(data)).all()


def test_an_interrupt_of_the_newton_steps_keeps_the_best_state(data, monkeypatch, caplog):
    settings = {"optimizer": "lbfgs", "dtype": "float64", "latent_dim": 2, "lambda_reg": 1.0}

    def interrupted(point, local_model):
        local_model(point + 1.0)
        raise KeyboardInterrupt

    ends = []
    for newton_polish in (interrupted, lambda point, local_model: point):
        monkeypatch.setattr("cfe_stack.trainers.torch_descent.newton_polish", newton_polish)
        model = trainer(max_epochs=50, **settings).set_params(tol=1e-3, patience=1).fit(data)
        ends.append((model.predict_proba(data), model.history_["objective"].min()))
    assert "the best state is kept" in caplog.text
    np.testing.assert_array_equal(*(proba for proba, _ in ends))
    assert ends[0][1] == ends[1][1]


def test_a_stalled_descent_stops():
    plateau = Plateau(patience=2, tol=0.01)
    assert [plateau.is_best(v) for v in (1.0, 0.5, 0.499)] == [True, True, True]
    assert not plateau.stalled
    assert not plateau.is_best(0.6)
    assert plateau.stalled
    forever = Plateau(patience=1, tol=0.0)
    assert [forever.is_best(1.0) for _ in range(3)] == [True, False, False]
    assert not forever.stalled


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_constant_schedule_of_class_weights_is_none_or_the_whole(data, share):
    always = trainer(use_class_weights=lambda progress: share, dtype="float64").fit(data)
    plain = trainer(use_class_weights=bool(share), dtype="float64").fit(data)
    np.testing.assert_allclose(
        always.history_["objective"], plain.history_["objective"], rtol=1e-12
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_gate_starts_at_the_first_factor_and_then_moves(n_classes):
    made = make_ensemble(6, 300, n_classes, random_state=0)
    data = EnsembleData(made.R, made.labels)
    settings = {"aggregator_type": "gated_pool", "link": "logit", "standardize": True}
    model = trainer(dtype="float64", **settings).fit(data)
    assert np.abs(model.gate_).max() > 1e-3
    start = initial_gate(data, model.factor_model_)
    Z_hat = np.moveaxis(model.factor_model_.reconstruct(model.instance_factors_), 0, -1)
    phi = linear_gate(Z_hat, start.direction, start.offset)
    first = Gates.fit(
        model.factor_model_.factors, model.instance_factors_, np.empty((300, 0)), data.frequencies
    )
    expected = first.values(model.instance_factors_, np.empty((300, 0)))[:, 0]
    np.testing.assert_allclose(phi, expected, atol=1e-6)
    ungated = trainer(dtype="float64", **settings | {"aggregator_type": "log_pool"}).fit(data)
    assert model.history_["objective"][-1] < ungated.history_["objective"][-1]


def test_only_the_gated_pool_has_a_gate(data):
    with pytest.raises(AttributeError, match="gated_pool"):
        trainer(max_epochs=1).fit(data).gate_  # noqa: B018


@pytest.mark.parametrize("factors", ["free", "projected"])
def test_large_data_are_read_batch_by_batch(factors, tmp_path, monkeypatch):
    made = make_ensemble(5, 3000, missing_rate=0.1, random_state=0)
    R = np.lib.format.open_memmap(tmp_path / "R.npy", "w+", np.float32, made.R.shape)
    R[:] = made.R
    settings = {"batch_size": 500, "instance_factors": factors, "max_epochs": 2}
    whole = trainer(**settings).fit(EnsembleData(np.array(R), made.labels))
    monkeypatch.setattr("cfe_stack.trainers.torch_descent.MAX_KEPT_CELLS", 0)
    read, block_of = [], EnsembleData.block_of

    def counting(data, rows, start=0):
        block = block_of(data, rows, start)
        read.append(len(block.labels))
        return block

    monkeypatch.setattr(EnsembleData, "block_of", counting)
    streamed = trainer(**settings).fit(EnsembleData(R, made.labels))
    np.testing.assert_array_equal(streamed.weights_, whole.weights_)
    # six batches: for the start of free factors, in each of two epochs a step and a look, the end
    assert read.count(500) == 6 * (5 + (factors == "free"))


def test_batches_are_runs_of_neighbours_and_hold_everyone_once():
    batches = shuffled_batches(10_001, 160, np.random.default_rng(0).permutation)
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(10_001))
    steps = np.diff(batches[0])
    assert (steps == 1).mean() > 0.8
    assert len(np.unique(batches[0] // 1000)) > 5


def test_an_unfinished_descent_warns(data):
    with pytest.warns(ConvergenceWarning, match="did not converge in 3 epochs"):
        trainer(max_epochs=3, tol=1e-8).fit(data)


@pytest.mark.parametrize("factors", ["free", "projected"])
def test_a_descent_that_diverges_says_so_and_keeps_the_best(data, factors):
    settings = {"optimizer": "sgd", "lr": 1e8, "instance_factors": factors, "init_prior": False}
    with pytest.warns(ConvergenceWarning, match="diverged in epoch"):
        model = trainer(**settings).fit(data)
    assert model.n_iter_ < 20
    assert np.isfinite(model.predict_proba(data.R)).all()


def test_no_label_means_reconstruction_only(data):
    with pytest.warns(UserWarning, match="rho is treated as 1"):
        model = trainer().fit(EnsembleData(data.R))
    np.testing.assert_array_equal(model.history_["supervised"], 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "rmsprop"}, "optimizer must be one of"),
        ({"instance_factors": "fixed"}, "instance_factors must be one of"),
        ({"device": "tpu"}, "device must be one of"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"confidence": "label_aware"}, "is available for the ALS trainer only"),
        ({"optimizer": "lbfgs", "batch_size": 10}, "Omit batch_size"),
        ({"max_epochs": 0}, "max_epochs must be an integer >= 1"),
        ({"lr": 0.0}, "lr must be a number"),
        ({"use_class_weights": lambda progress: 2.0}, "use_class_weights must be a number in"),
        ({"patience": 0}, "patience must be"),
    ],
)
def test_bad_parameters_are_refused(data, settings, message):
    with pytest.raises(ValueError, match=message):
        trainer(**settings).fit(data)


def test_cuda_that_is_not_there_is_refused(data):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match="finds no CUDA device"):
        trainer(device="cuda").fit(data)


def collapsing(seed=0):
    """Return the imbalanced set-up of the published collapse, and its truth."""
    random = np.random.default_rng(seed)
    truth = (random.random(500) < 0.1).astype(int)
    evidence = np.where(truth == 1, 0.6, -0.6) + 0.2 * random.standard_normal(500)
    log_odds = evidence + 0.3 * random.standard_normal((10, 500))
    labels = truth.astype(float)
    labels[250:] = np.nan
    return EnsembleData(1 / (1 + np.exp(-log_odds)), labels), truth


@pytest.mark.parametrize("max_epochs", [50, 200])
@pytest.mark.parametrize(
    ("settings", "ranks"),
    [
        ({"use_class_weights": False, "init_prior": False}, False),
        ({"use_class_weights": False, "init_prior": True}, True),
        ({"use_class_weights": True, "init_prior": False}, True),
    ],
)
def test_the_published_collapse_and_its_cures(settings, ranks, max_epochs):
    data, truth = collapsing()
    unlabeled = data.labels < 0
    model = CFEnsemblePyTorchTrainer(
        latent_dim=15, instance_factors="free", max_epochs=max_epochs, tol=0, **settings
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        proba = model.fit(data).transductive_proba_[unlabeled, 1]
    precision = average_precision_score(truth[unlabeled], proba)
    assert precision > 0.95 if ranks else precision < 0.2


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_classifier_predicts_like_its_als_twin(n_classes):
    P, codes, _ = stacked(6, 300, n_classes)
    als = CFEnsembleClassifier().fit(P[:200], codes[:200])
    joint = CFEnsembleClassifier(trainer="pytorch").fit(P[:200], codes[:200])
    losses = [log_loss_of(model.predict_proba(P[200:]), codes[200:]) for model in (als, joint)]
    assert abs(losses[0] - losses[1]) < 0.002
    assert isinstance(joint.trainer_, CFEnsemblePyTorchTrainer)


# torch's tracer looks at a tensor that has no gradient
@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_the_objective_compiles(data, monkeypatch):
    # without the code generator, which takes a minute and a C++ compiler
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    settings = {"max_epochs": 3, "dtype": "float64"}
    compiled = trainer(compile=True, **settings).fit(data)
    plain = trainer(**settings).fit(data)
    np.testing.assert_allclose(compiled.predict_proba(data), plain.predict_proba(data), atol=1e-8)


def test_the_example_of_the_documentation_runs():
    made = make_ensemble(n_classifiers=5, n_instances=200, random_state=0)
    model = CFEnsemblePyTorchTrainer(latent_dim=2, optimizer="lbfgs", lambda_reg=1.0)
    assert model.fit(EnsembleData(made.R, made.labels)).predict_proba(made.R).shape == (200, 2)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_bar_is_shown_where_somebody_can_see_it(monkeypatch, stream):
    pytest.importorskip("tqdm")
    made = make_ensemble(3, 60, random_state=0)
    data = EnsembleData(made.R, made.labels)
    monkeypatch.setattr(sys, "stderr", stream())
    trainer(max_epochs=2, progress=True).fit(data)
    assert ("joint descent" in sys.stderr.getvalue()) == (stream is Terminal)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    trainer(max_epochs=2, progress=True).fit(data)
