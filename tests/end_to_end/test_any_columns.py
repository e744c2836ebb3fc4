"""Any columns at all: valid probabilities, or a ValueError that says what is wrong with them."""

import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional_packages import pandas as pd
from scipy import sparse
from test_properties import FIXED, TIMES, check_probabilities

from cfe_stack import CFEnsembleClassifier
from cfe_stack.classifier.final_aggregators import FINAL_AGGREGATORS
from cfe_stack.meta_features.layout import LAYOUTS

pytestmark = pytest.mark.exhaustive

COLUMNS = {
    "uniform": lambda r, codes, rng: r,
    "constant": lambda r, codes, rng: np.full_like(r, rng.choice([0, 1, 0.5, -3, 1e300, 1e-320])),
    "labels": lambda r, codes, rng: rng.permutation(codes).astype(float),
    "margins": lambda r, codes, rng: (r - 0.5) * 10.0 ** rng.integers(-8, 9),
    "huge": lambda r, codes, rng: (r - 0.5) * 1e308,
    "tiny": lambda r, codes, rng: r * 1e-300,
    "nearly one": lambda r, codes, rng: 1 - 1e-16 * r,
    "hard": lambda r, codes, rng: np.round(r),
    "truth": lambda r, codes, rng: codes.astype(float),
    "counts": lambda r, codes, rng: np.floor(r * 1000) - 5,
}
# what may be refused, in the words of the error
DOCUMENTED = (
    "layout", "contains no predictions", "Pass n_classifiers", "sum to", "class codes",
    "At least two classes", "base learner", "infinity",
)  # fmt: skip
CONTAINERS = {
    "array": np.asarray,
    "single": lambda P: P.astype(np.float32),
    "pandas": lambda P: pd.DataFrame(P).add_prefix("c"),
    "nullable pandas": lambda P: pd.DataFrame(P).add_prefix("c").astype("Float64"),
    "polars": lambda P: pl.DataFrame(P, schema=[f"c{j}" for j in range(P.shape[1])]),
    "sparse": sparse.csr_array,
}


@st.composite
def tables(draw):
    """Draw columns of one kind or of several, with holes, and codes."""
    n, m = draw(st.sampled_from([2, 3, 6, 30, 80])), draw(st.sampled_from([1, 2, 3, 6]))
    n_classes = draw(st.sampled_from([2, 2, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    codes = rng.integers(0, n_classes, max(n, n_classes))
    codes[:n_classes] = np.arange(n_classes)
    kinds = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=2))
    P = np.column_stack(
        [COLUMNS[rng.choice(kinds)](rng.random(len(codes)), codes, rng) for _ in range(m)]
    )
    holes = rng.random(P.shape) < draw(st.sampled_from([0, 0, 0.2, 0.9]))
    return np.where(holes, np.nan, P), codes


@settings(FIXED, max_examples=80 * TIMES)
@given(
    made=tables(),
    container=st.sampled_from(sorted(CONTAINERS)),
    aggregator=st.sampled_from(sorted(set(FINAL_AGGREGATORS) - {"auto", "greedy_selection"})),
    layout=st.sampled_from(["auto", "auto", "auto", *LAYOUTS]),
    names=st.booleans(),
)
def test_any_columns_give_probabilities_or_a_documented_error(
    made, container, aggregator, layout, names
):
    P, codes = made
    y = np.array(["b", "a", "c"])[codes] if names else codes
    with np.errstate(over="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X = CONTAINERS[container](P)
        model = CFEnsembleClassifier(aggregator=aggregator, layout=layout)
        try:
            model.fit(X, y)
        except ValueError as error:
            if not any(words in str(error) for words in DOCUMENTED):
                raise
            return
        check_probabilities(model.predict_proba(X), len(y), len(model.classes_))
        assert set(model.predict(X)) <= set(y)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_outputs_come_in_the_frames_that_are_asked_for(container):
    rng = np.random.default_rng(0)
    P, codes = rng.random((40, 3)), np.arange(40) % 2
    model = CFEnsembleClassifier(aggregator="log_pool", layout="class1")
    made = model.set_output(transform=container).fit(CONTAINERS[container](P), codes)
    out = made.transform(CONTAINERS[container](P))
    assert isinstance(out, {"pandas": pd.DataFrame, "polars": pl.DataFrame}[container])
    assert list(out.columns) == list(made.get_feature_names_out())
    plain = made.set_output(transform="default").transform(CONTAINERS[container](P))
    np.testing.assert_array_equal(np.asarray(out), plain)
