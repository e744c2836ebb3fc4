"""scikit-learn's callbacks hear of fits, of what has a progress bar in them, and of their end."""

import io
import sys

import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from cfe_stack import CFEnsembleClassifier, CFEStackingClassifier
from cfe_stack.datasets import make_ensemble

pytest.importorskip("sklearn.callback")


class Recorder:
    """Notes what happens, in words."""

    max_propagation_depth = None

    def __init__(self, stop_at=None):
        self.heard, self.stop_at = [], stop_at

    def setup(self, estimator, context):
        self.heard.append("setup")

    def teardown(self, estimator, context):
        self.heard.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.heard.append(f"+{type(estimator).__name__} {context.task_name}")
        if context.task_name == self.stop_at:
            raise KeyboardInterrupt

    def on_fit_task_end(self, estimator, context):
        self.heard.append(f"-{type(estimator).__name__} {context.task_name}")


@pytest.fixture
def rows():
    made = make_ensemble(3, 60, random_state=0)
    return made.R.T, made.labels


def test_a_fit_and_its_steps_are_tasks(rows, monkeypatch):
    recorder = Recorder()
    model = CFEnsembleClassifier(progress=True, max_iter=2).set_callbacks(recorder)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert model.fit(*rows) is model
    assert terminal.getvalue() == ""  # the bars are the callbacks' now
    name = "CFEnsembleClassifier"
    assert recorder.heard[:4] == ["setup", f"+{name} fit", f"+{name} ALS", f"+{name} step"]
    assert recorder.heard[-3:] == [f"-{name} inner folds", f"-{name} fit", "teardown"]
    begun = [what[1:] for what in recorder.heard if what[0] == "+"]
    ended = [what[1:] for what in recorder.heard if what[0] == "-"]
    assert sorted(set(begun)) == sorted(set(ended))
    again = CFEnsembleClassifier(max_iter=2).fit(*rows)
    assert (model.predict_proba(rows[0]) == again.predict_proba(rows[0])).all()


def test_a_stack_tells_of_its_collection_and_a_search_of_its_fits(rows):
    recorder = Recorder()
    learners = [("bayes", GaussianNB()), ("tree", DecisionTreeClassifier(max_depth=2))]
    CFEStackingClassifier(learners, cv=2, progress=False).set_callbacks(recorder).fit(*rows)
    assert recorder.heard.count("+CFEStackingClassifier step") >= 2 * 3
    assert "+CFEStackingClassifier collect" in recorder.heard
    assert "+CFEStackingClassifier inner folds" in recorder.heard
    recorder = Recorder()
    search = GridSearchCV(CFEnsembleClassifier(max_iter=2), {"focal_gamma": [0.0, 1.0]}, cv=2)
    search.set_callbacks(recorder).fit(*rows)
    assert recorder.heard.count("+CFEnsembleClassifier fit") == 2 * 2 + 1
    assert recorder.heard.count("setup") == 1


def test_an_interrupted_fit_ends_for_callbacks_too_and_changes_nothing(rows):
    recorder = Recorder("inner folds")
    model = CFEnsembleClassifier(max_iter=2).fit(*rows)
    before = dict(vars(model))
    with pytest.raises(KeyboardInterrupt):
        model.set_callbacks(recorder).fit(rows[0][:40], rows[1][:40])
    assert recorder.heard[-1] == "teardown"
    assert {k: v for k, v in vars(model).items() if k != "_skl_callbacks"} == before
    # and bars are shown by nobody else afterwards
    model.set_callbacks().fit(*rows)
    assert recorder.heard[-1] == "teardown"
