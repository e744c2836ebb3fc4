import io
import math
import sys

import pytest

from cfe_stack.runtime.optional_packages import MissingExtraError, import_extra
from cfe_stack.runtime.progress import progress_bar


def write_module(folder, monkeypatch, text):
    (folder / "brittle_booster.py").write_text(text)
    monkeypatch.syspath_prepend(folder)


def test_returns_the_module():
    assert import_extra("math", extra="boosting") is math


def test_names_the_command_where_the_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingExtraError) as caught:
        import_extra("lightgbm", extra="boosting")
    expected = 'lightgbm is not installed: run `python -m pip install "cfe-stack[boosting]"`.'
    assert str(caught.value) == expected


def test_tells_a_missing_dependency_from_a_missing_package(tmp_path, monkeypatch):
    write_module(tmp_path, monkeypatch, "import no_such_dependency")
    with pytest.raises(MissingExtraError, match="because no_such_dependency is missing"):
        import_extra("brittle_booster", extra="boosting")


def test_a_compiled_library_that_does_not_load_is_not_called_missing(tmp_path, monkeypatch):
    write_module(tmp_path, monkeypatch, "raise OSError('libgomp.so.1: cannot open')")
    with pytest.raises(MissingExtraError, match=r"does not load \(libgomp.so.1") as caught:
        import_extra("brittle_booster", extra="boosting")
    assert "pip install" not in str(caught.value)


def test_an_error_inside_the_package_is_not_swallowed(tmp_path, monkeypatch):
    write_module(tmp_path, monkeypatch, "raise ValueError('a bug of theirs')")
    with pytest.raises(ValueError, match="a bug of theirs"):
        import_extra("brittle_booster", extra="boosting")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("progress", "stream"), [(True, Terminal()), (False, Terminal())])
def test_a_bar_is_shown_where_somebody_can_see_it(monkeypatch, progress, stream):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress_bar(range(3), 3, "count", progress)) == [0, 1, 2]
    assert ("count" in stream.getvalue()) == progress


def test_there_is_no_bar_in_a_file_nor_without_tqdm(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(progress_bar(range(3), 3, "count")) == [0, 1, 2]
    assert sys.stderr.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert list(progress_bar(range(3), 3, "count")) == [0, 1, 2]
    assert sys.stderr.getvalue() == ""
