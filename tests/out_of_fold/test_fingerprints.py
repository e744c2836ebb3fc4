import importlib
import linecache
import os
import subprocess
import sys
import types
from functools import partial

import numpy as np
import polars as pl
import pytest
from optional_packages import pandas as pd
from scipy import sparse
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from cfe_stack.out_of_fold.fingerprints import Fingerprint, UncacheableError, library_versions

A = np.arange(12.0).reshape(4, 3)
FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.Categorical(["u", "v"])})
DIFFERENT = {
    "value": (A, A + 1e-12),
    "shape": (A, A.reshape(3, 4)),
    "type": (A, A.astype(np.float32)),
    "order of rows": (A, A[::-1]),
    "kind": (1, 1.0),
    "text": ("1", 1),
    "nesting": ([1, [2]], [[1], 2]),
    "split": (["ab", "c"], ["a", "bc"]),
    "key": ({"a": 1}, {"b": 1}),
    "objects": (np.array(["a", None], dtype=object), np.array(["a", "None"], dtype=object)),
    "column name": (FRAME, FRAME.rename(columns={"a": "z"})),
    "cell": (FRAME, FRAME.assign(b=["x", "z"])),
    "category": (FRAME, FRAME.assign(c=pd.Categorical(["v", "u"]))),
    "package": (pd.DataFrame(A), pl.DataFrame(A)),
    "polars": (pl.DataFrame(A), pl.DataFrame(A + 1)),
    "sparse": (sparse.csr_matrix(A), sparse.csr_matrix(A + 1)),
    "parameter": (GaussianNB(), GaussianNB(var_smoothing=1e-3)),
    "class": (GaussianNB(), DecisionTreeClassifier()),
    "nested": (
        make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=2)),
        make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=3)),
    ),
    "in a list": (
        VotingClassifier([("a", GaussianNB())]),
        VotingClassifier([("a", GaussianNB(priors=[0.5, 0.5]))]),
    ),
    "code": (FunctionTransformer(lambda X: X + 1), FunctionTransformer(lambda X: X + 2)),
    "partial": (partial(np.clip, a_min=0), partial(np.clip, a_min=1)),
    "random state": (np.random.RandomState(0), np.random.RandomState(1)),
    "how it was fitted": (
        FrozenEstimator(GaussianNB().fit(A, [0, 1, 0, 1])),
        FrozenEstimator(GaussianNB().fit(A, [0, 0, 1, 1])),
    ),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_differs_has_another_address(case):
    one, other = DIFFERENT[case]
    assert Fingerprint(one).digest != Fingerprint(other).digest
    assert Fingerprint(one).digest == Fingerprint(one).digest


def test_arrow_tables_have_addresses():
    pyarrow = pytest.importorskip("pyarrow")
    tables = [
        pyarrow.table({name: column})
        for name in "ab"
        for column in ([1, 2], [1, 3], [1.0, 2.0], ["x", "y"])
    ]
    assert len({Fingerprint(table).digest for table in tables}) == len(tables)
    assert Fingerprint(tables[0]).digest == Fingerprint(tables[0].slice(0)).digest


def test_threads_have_no_address():
    forests = [RandomForestClassifier(n_jobs=jobs, random_state=0) for jobs in (None, 1, -1)]
    assert len({Fingerprint(make_pipeline(forest)).digest for forest in forests}) == 1


def test_memory_layout_has_no_address():
    assert Fingerprint(A).digest == Fingerprint(np.asfortranarray(A)).digest
    assert Fingerprint({"a": 1, "b": 2}).digest == Fingerprint({"b": 2, "a": 1}).digest


def test_another_process_finds_the_same_address():
    code = (
        "import numpy as np; from sklearn.naive_bayes import GaussianNB;"
        "from cfe_stack.out_of_fold.fingerprints import Fingerprint;"
        "print(Fingerprint(np.arange(5.0), GaussianNB(), {'a': {1, 2}, 'b': 'ü'}).digest)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = Fingerprint(np.arange(5.0), GaussianNB(), {"a": {1, 2}, "b": "ü"}).digest
    assert run.stdout.strip() == here


def test_what_cannot_be_hashed_is_said():
    with pytest.raises(UncacheableError, match="generator object"):
        Fingerprint(i for i in range(3))


CLASS = """
from sklearn.naive_bayes import GaussianNB

class Base(GaussianNB):
    def helped(self, X):
        return X + 1

class Mine(Base):
    \"\"\"A learner of the user's own.\"\"\"

    kinds = {"a", "b"}
    log = []

    def fit(self, X, y, *, shift=0.5):
        return super().fit(self.helped(X) if "a" in {"a", "b", "c", "d"} else X, y)

    @property
    def width(self):
        return 1

    @staticmethod
    def narrow(X):
        return X
"""


def address_of_mine(text):
    """Return the address of `Mine()` of a module with this text."""
    module = types.ModuleType("own_learner")
    exec(compile(text, "own_learner.py", "exec"), module.__dict__)
    return Fingerprint(module.Mine()).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X + 1", "X + 2"),
        ("shift=0.5", "shift=0.25"),
        ("return 1", "return 2"),
        ("return X\n", "return -X\n"),
        ('kinds = {"a", "b"}', 'kinds = {"a"}'),
        ('"c", "d"}', '"c", "e"}'),
        ("Mine(Base)", "Mine(GaussianNB)"),
    ],
    ids=["base class", "default", "property", "static method", "attribute", "constant", "bases"],
)
def test_the_code_of_a_learners_class_is_part_of_its_address(old, new):
    assert old in CLASS
    assert address_of_mine(CLASS) != address_of_mine(CLASS.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"), [("+ 1", "+ 1  # one"), ("A learner", "The one"), ("log = []", "log = [A]")]
)
def test_what_changes_no_prediction_leaves_the_address_of_a_class(old, new):
    assert old in CLASS
    text = "import numpy as np\n\nA = np.ones(3)\n" + CLASS
    assert address_of_mine(text) == address_of_mine(text.replace(old, new))


def test_another_process_finds_the_same_address_of_a_class(tmp_path):
    (tmp_path / "own_learner.py").write_text(CLASS)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom own_learner import Mine\n"
        "from cfe_stack.out_of_fold.fingerprints import Fingerprint\n"
        "print(Fingerprint(Mine()).digest)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in "12"
    }  # fmt: skip
    assert found == {address_of_mine(CLASS)}


@pytest.mark.parametrize("fate", ["class Mine(", "x = 1\n", '"""\n\nclass Mine:', None])
def test_the_address_of_a_class_does_not_depend_on_its_file(tmp_path, monkeypatch, fate):
    file = tmp_path / "lost_later.py"
    file.write_text(CLASS)
    monkeypatch.syspath_prepend(tmp_path)
    model = importlib.import_module("lost_later").Mine()
    before = Fingerprint(model).digest
    file.unlink() if fate is None else file.write_text(fate)
    linecache.clearcache()
    assert Fingerprint(model).digest == before != Fingerprint(GaussianNB()).digest
    sys.modules.pop("lost_later")


def test_versions_are_those_of_packages_in_use():
    found = library_versions([make_pipeline(StandardScaler(), GaussianNB())])
    assert set(found) == {"numpy", "scipy", "sklearn"}
    xgboost = pytest.importorskip("xgboost")
    assert library_versions([xgboost.XGBClassifier()])["xgboost"] == xgboost.__version__
