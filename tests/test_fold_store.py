import numpy as np
import pytest

from cfe_stack.fold_store import FoldStore, content_key


def test_what_is_saved_comes_back(tmp_path):
    store, proba = FoldStore(tmp_path / "new"), np.array([[0.2, 0.8]])
    key = content_key("mean", proba)
    assert store.load(key) is None
    store.save(key, proba, 1.5)
    loaded, seconds = FoldStore(tmp_path / "new").load(key)
    np.testing.assert_array_equal(loaded, proba)
    assert seconds == 1.5


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_a_damaged_file_is_as_good_as_none(tmp_path, content):
    store = FoldStore(tmp_path)
    store.save("ab12", np.ones((1, 2)), 0.0)
    (tmp_path / "ab" / "ab12.npz").write_bytes(content)
    assert store.load("ab12") is None


def test_nothing_is_left_of_a_write_that_fails(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(KeyboardInterrupt):
        FoldStore(tmp_path).save("ab12", np.ones((1, 2)), 0.0)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_keys_tell_contents_apart():
    R = np.arange(6.0).reshape(2, 3)
    other = R.copy()
    other[1, 2] += 1e-12
    keys = {content_key(*parts) for parts in [(R,), (other,), (R, "x"), (R.T,), (R, None)]}
    assert len(keys) == 5
    assert content_key(R) == content_key(R.copy())
