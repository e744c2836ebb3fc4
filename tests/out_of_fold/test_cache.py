import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from counting_learners import CountedTree, fits
from sklearn.datasets import load_iris

from cfe_stack import collect_out_of_fold
from cfe_stack.out_of_fold.cache import CacheWarning, DamagedEntryError, Entry, FoldCache

X, Y = load_iris(return_X_y=True)
ENTRY = Entry(np.linspace(0, 1, 30).reshape(10, 3), {"seconds": 1.25, "n_trees": None})
# imports once, then runs collections in children, killing as many as it is told to
SCRIPT = """
import os, random, signal, sys, time
import numpy as np
from counting_learners import CountedTree, fits
from sklearn.datasets import load_iris
from cfe_stack import collect_out_of_fold

log, cache, out, kills = *sys.argv[1:4], int(sys.argv[4])
X, y = load_iris(return_X_y=True)
bases = [(f"tree {i}", CountedTree(log, i, 0.01)) for i in range(8)]

def run():
    child = os.fork()
    if child == 0:
        data = collect_out_of_fold(bases, X, y, memory=cache, refit=None, progress=False)
        np.save(out, data.R)
        os._exit(0)
    return child

generator = random.Random(0)
for _ in range(kills):
    child, before = run(), fits(log)
    while generator.random() < 0.6 and fits(log) < 40:
        while fits(log) == before:
            time.sleep(0.0005)
        before = fits(log)
    time.sleep(generator.uniform(0, 0.015))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
print(fits(log))
children = [run() for _ in range(2 if kills == 0 else 1)]
assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
print(fits(log))
assert os.waitpid(run(), 0)[1] == 0
print(fits(log))
"""


def test_the_home_directory_can_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    FoldCache("~/store").store("ab12", ENTRY)
    assert len(list((tmp_path / "store").rglob("ab12.npz"))) == 1
    assert FoldCache(tmp_path / "store").load("ab12").details == ENTRY.details


def collected_with(folder, kills):
    """Return how many fits there were after the kills, after the next run, and after another."""
    files = [str(folder / part) for part in ("log", "cache", "R.npy")]
    command = [sys.executable, "-c", SCRIPT, *files, str(kills)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert list((folder / "cache").rglob("*.partial")) == [] or kills
    return [int(line) for line in run.stdout.split()]


def undisturbed():
    bases = [(f"tree {i}", CountedTree(None, i)) for i in range(8)]
    return np.ascontiguousarray(collect_out_of_fold(bases, X, Y, refit=None).R).tobytes()


@pytest.mark.parametrize("scores", [ENTRY.scores, np.array([[np.nan, 1.0]]), np.empty((0, 2))])
def test_an_entry_comes_back_bit_for_bit(tmp_path, scores):
    cache = FoldCache(tmp_path)
    cache.store("abc", Entry(scores, {"fold": 3}))
    found = cache.load("abc")
    assert found.scores.tobytes() == scores.tobytes()
    assert found.scores.shape == scores.shape
    assert found.details == {"fold": 3}
    assert cache.load("abd") is None


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x40
    path.write_bytes(content)


def test_every_kind_of_damage_is_noticed_or_harmless(tmp_path):
    cache = FoldCache(tmp_path)
    cache.store("abc", ENTRY)
    path, whole = cache.path("abc"), cache.path("abc").read_bytes()
    noticed = 0
    for position in range(0, len(whole), 7):
        flip(path, position)
        try:
            found = cache.load("abc")
        except DamagedEntryError:
            noticed += 1
        else:
            # zip and alignment hold bytes that mean nothing
            np.testing.assert_array_equal(found.scores, ENTRY.scores)
            assert found.details == ENTRY.details
        path.write_bytes(whole)
    assert noticed > len(whole) / 14
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedEntryError, match=path.name):
            cache.load("abc")


def test_an_entry_under_another_address_is_not_taken(tmp_path):
    cache = FoldCache(tmp_path)
    cache.store("abc", ENTRY)
    os.rename(cache.path("abc"), cache.path("abd"))
    with pytest.raises(DamagedEntryError, match="checksum"):
        cache.load("abd")


def test_entries_hold_no_pickles(tmp_path):
    cache = FoldCache(tmp_path)
    cache.path("abc").parent.mkdir(parents=True)
    np.savez(cache.path("abc"), scores=np.array([object()], dtype=object), details="", checksum="")
    with pytest.raises(DamagedEntryError, match="allow_pickle=False"):
        cache.load("abc")


@pytest.mark.parametrize("damage", ["flipped", "half-written", "empty"])
def test_damaged_entries_are_named_and_computed_again(tmp_path, damage):
    log, bases = tmp_path / "log", [("tree", CountedTree(str(tmp_path / "log")))]
    options = {"memory": tmp_path / "cache", "refit": None, "progress": False}
    first = collect_out_of_fold(bases, X, Y, **options)
    path = sorted((tmp_path / "cache").rglob("*.npz"))[2]
    if damage == "flipped":
        flip(path, path.stat().st_size // 4)
    else:
        path.write_bytes(path.read_bytes()[: 300 if damage == "half-written" else 0])
    with pytest.warns(
        CacheWarning, match=f"'tree', fold [0-4], is corrupt and will be recomputed.*{path.name}"
    ):
        second = collect_out_of_fold(bases, X, Y, **options)
    assert fits(log) == 5 + 1
    np.testing.assert_array_equal(first.R, second.R)
    collect_out_of_fold(bases, X, Y, **options)
    assert fits(log) == 5 + 1


@pytest.fixture
def folder():
    """Give a folder that others may look into, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


@contextlib.contextmanager
def without_room():
    """Let no file grow beyond a kilobyte: a write stops in the middle, as on a full disk."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def without_privileges():
    """Be nobody for a while where the tests run as root, who may read and write everywhere."""
    if os.name != "posix":
        pytest.skip("permissions of directories are POSIX")
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)


@pytest.mark.parametrize(
    ("fault", "message"), [(without_room, "File too large"), (without_privileges, "Permission")]
)
def test_what_cannot_be_stored_is_returned_all_the_same(folder, fault, message):
    bases, options = [("tree", CountedTree())], {"refit": None, "progress": False}
    expected = collect_out_of_fold(bases, X, Y, **options).R
    if fault is without_privileges:
        folder.chmod(0o555)
    with (
        fault(),
        pytest.warns(CacheWarning, match=f"5 prediction.s. could not be stored.*{message}") as seen,
    ):
        data = collect_out_of_fold(bases, X, Y, memory=folder, **options)
    folder.chmod(0o755)
    assert len(seen) == 1
    np.testing.assert_array_equal(data.R, expected)
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_entries_that_may_not_be_read_are_named_and_computed_again(folder):
    bases, options = [("tree", CountedTree())], {"refit": None, "progress": False}
    first = collect_out_of_fold(bases, X, Y, memory=folder, **options)
    for path in folder.rglob("*.npz"):
        path.parent.chmod(0o777)
        path.chmod(0)
    with without_privileges(), pytest.warns(CacheWarning, match="cannot be read .*Permission"):
        second = collect_out_of_fold(bases, X, Y, memory=folder, **options)
    np.testing.assert_array_equal(first.R, second.R)


def test_a_directory_that_is_a_file_loses_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(CacheWarning, match="could not be stored"):
        data = collect_out_of_fold(
            [("tree", CountedTree())], X, Y, memory=tmp_path / "file", refit=None, progress=False
        )
    assert data.n_missing == 0


def test_only_old_leftovers_are_removed(tmp_path):
    cache = FoldCache(tmp_path)
    cache.store("abc", ENTRY)
    old, young = (cache.path("abc").with_name(f"{name}.partial") for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert cache.remove_leftovers() == 1
    assert young.exists()
    assert not old.exists()
    assert cache.load("abc") is not None


@pytest.mark.exhaustive
def test_killed_at_ten_random_moments_nothing_is_lost(tmp_path):
    killed, resumed, again = collected_with(tmp_path, kills=10)
    assert 0 < killed < 40
    # a fit may be killed between its end and its storing
    assert 40 <= resumed <= 40 + 10
    assert again == resumed
    assert np.load(tmp_path / "R.npy").tobytes() == undisturbed()


@pytest.mark.exhaustive
def test_two_processes_share_a_directory(tmp_path):
    _, both, again = collected_with(tmp_path, kills=0)
    assert 40 <= both <= 80
    assert again == both
    assert np.load(tmp_path / "R.npy").tobytes() == undisturbed()
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 40
