import os
import signal
import uuid

import numpy as np
import pytest
from tolerances import of_minimizers

from cfe_stack import CFEnsembleTrainer, EnsembleData
from cfe_stack.data import dask_chunks
from cfe_stack.datasets import make_ensemble
from cfe_stack.pools.newton import CLASS_PRIOR
from cfe_stack.trainers.aggregators import SOLVER_TOL

pytest.importorskip("dask")
M, N = 5, 4000


def ensemble(n_classes=2, dtype=np.float64):
    made = make_ensemble(M, N, n_classes, missing_rate=0.1, random_state=0)
    R = np.concatenate([np.nan_to_num(made.R[:1], nan=1 / n_classes), made.R[1:]]).astype(dtype)
    labels = np.where(np.arange(N) % 3 == 0, made.labels, -1)
    return R, labels, np.random.default_rng(0).integers(0, 4, N)


def in_chunks(R, sizes=(900, 1, 1099, 2000)):
    import dask.array

    return dask.array.from_array(R, chunks=(2, sizes, *R.shape[2:]))


def trainer(**parameters):
    return CFEnsembleTrainer(
        **{"latent_dim": 3, "max_iter": 6, "tol": 0, "random_state": 0} | parameters
    )


def assert_same(ours, plain, atol=1e-9):
    for name in ("classifier_factors_", "weights_", "intercept_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(plain, name), rtol=0, atol=atol)
    for name in ("objective", "reconstruction", "supervised"):
        np.testing.assert_allclose(ours.history_[name], plain.history_[name], rtol=0, atol=atol)


SETTINGS = {
    "random start": (2, {}),
    "spectral, standardised": (2, {"init": "spectral", "standardize": True, "link": "logit"}),
    "adaptive": (2, {"confidence": "adaptive", "aggregator_type": "log_pool"}),
    "three classes": (3, {"confidence": "calibration", "focal_gamma": 1.0}),
}


@pytest.mark.parametrize("C_too", [False, True])
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_chunks_are_trained_like_the_whole(setting, C_too, monkeypatch):
    import dask

    n_classes, parameters = setting
    monkeypatch.setattr(dask_chunks, "MAX_CHUNKS_IN_PROGRESS", 3)
    R, labels, weights = ensemble(n_classes)
    C = (np.random.default_rng(1).random((M, N)) > 0.2) + 0.5 if C_too else None
    # other chunks than those of R
    C_chunks = in_chunks(C, (4000,)) if C_too else None
    whole = EnsembleData(R, labels, C, weights)
    plain = trainer(**parameters).fit(whole)
    with dask.config.set(scheduler="synchronous"):
        data = EnsembleData(in_chunks(R), labels, C_chunks, weights)
        ours = trainer(**parameters).fit(data)
        assert data.n_missing == whole.n_missing
        atol = 1e-9
        if plain.aggregator_type == "log_pool":
            loss = weights[labels >= 0].sum() * plain.history_["supervised"].max()
            atol = of_minimizers(SOLVER_TOL, loss, CLASS_PRIOR)
        assert_same(ours, plain, atol)
        np.testing.assert_allclose(ours.predict_proba(data), plain.predict_proba(whole), atol=atol)
        np.testing.assert_allclose(ours.transform(data), plain.transform(whole), atol=1e-9)


def test_nothing_of_the_matrix_reaches_this_process_in_training(monkeypatch):
    import dask

    def read_here(*_):
        raise AssertionError("the matrix was read outside of its chunks")

    R, labels, _ = ensemble()
    with dask.config.set(scheduler="synchronous"):
        # single instances are gathered for the check of a collapse
        monkeypatch.setattr("cfe_stack.data.lazy_matrix.LazyMatrix._chunk", read_here)
        fitted = trainer(standardize=True, confidence="adaptive").fit(
            EnsembleData(in_chunks(R), labels)
        )
        assert fitted.n_iter_ == 6


def test_bad_cells_are_found_in_their_chunk():
    R = ensemble()[0]
    R[2, 2100] = 7.0
    with pytest.raises(ValueError, match="R holds 7 at classifier 2, instance 2100"):
        EnsembleData(in_chunks(R))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"store_instance_factors": True}, "store_instance_factors=True keeps .* dask array"),
        ({"supervision": "majorize"}, "supervision='majorize' keeps all .* dask array"),
    ],
)
def test_what_needs_all_instances_at_one_place_is_refused(parameters, message):
    R, labels, _ = ensemble()
    with pytest.raises(ValueError, match=message):
        trainer(**parameters).fit(EnsembleData(in_chunks(R), labels))


# how a dying worker is mourned is up to dask
@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_loses_a_worker_gives_the_same_result(tmp_path):
    distributed = pytest.importorskip("distributed")
    R, labels, weights = ensemble()

    def lethal(part, folder):
        # while a sweep reads the chunks for the fifth time or so, one of the workers dies
        (folder / uuid.uuid4().hex).touch()
        if len(list(folder.iterdir())) >= 8 * 5:
            try:
                os.mkdir(folder.parent / "killed")
            except FileExistsError:
                return part
            os.kill(os.getpid(), signal.SIGKILL)
        return part

    (tmp_path / "reads").mkdir()
    chunks = in_chunks(R, (500,) * 8).rechunk({0: -1})
    chunks = chunks.map_blocks(lethal, folder=tmp_path / "reads", dtype=R.dtype)
    with (
        distributed.LocalCluster(
            n_workers=3, threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address=None, silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        workers = set(client.scheduler_info()["workers"])
        ours = trainer(max_iter=12).fit(EnsembleData(chunks, labels, sample_weight=weights))
        assert (tmp_path / "killed").exists()
        assert set(client.scheduler_info()["workers"]) != workers
    plain = trainer(max_iter=12).fit(EnsembleData(R, labels, sample_weight=weights))
    assert_same(ours, plain, atol=1e-6)
