"""The report: what it says, that it needs nothing but itself, and how a browser shows it."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest
from browsing import WIDTHS, check_shown

from cfe_stack import EnsembleData
from cfe_stack.blending.blend import blend
from cfe_stack.blending.next_steps import next_steps
from cfe_stack.datasets import make_ensemble

pytest.importorskip("matplotlib")
from cfe_stack.blending.report import write_report  # noqa: E402

NAMES = ["alpha <&>", "beta", "beta again", "gamma", "half"]


def made(n_classes=2):
    """Data with a name that HTML must not take for a tag, a duplicate, and gaps."""
    source = make_ensemble(5, 400, n_classes, random_state=0)
    R = np.array(source.R)
    R[2] = R[1]
    R[4, :130] = np.nan
    R[0, ::7] = np.nan
    classes = ["no", "yes", "later"][:n_classes]
    data = EnsembleData(R[:, :300], source.labels[:300], classifier_names=NAMES, classes=classes)
    return data, EnsembleData(R[:, 300:], classifier_names=NAMES, classes=classes)


@pytest.fixture(scope="module")
def blended():
    return blend(*made(), contenders=["mean", "best single"], n_draws=100, progress=False)


@pytest.fixture(scope="module")
def page(blended, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(blended, path, n_bootstrap=2, progress=False)
    return path


@pytest.mark.exhaustive
def test_figures_of_the_blend_stand_in_the_page(page, blended):
    text = page.read_text("utf-8")
    for score in blended.scores:
        assert f"<td>{score.score:.4f}</td>" in text
        assert f"{score.low:.4f} … {score.high:.4f}" in text
    for title in ("What was blended", "Scores", "Calibration", "Coverage", "Leaks", "What to do"):
        assert f"<h2>{title}" in text
    for u, weight in enumerate(blended.classifier.weights_):
        assert f"<td>{weight:.3f}</td>" in text, NAMES[u]
    assert "beta, beta again hold the same predictions; keep one of them." in text
    assert "no: " in text


def test_the_page_needs_nothing_but_itself(page):
    text = page.read_text("utf-8")
    # names are text, never markup
    assert "alpha &lt;&amp;&gt;" in text
    assert "alpha <&>" not in text
    for attribute in re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")>]*)', text):
        assert attribute.startswith("data:")
    assert "<script" not in text
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == 7
    assert all(base64.b64decode(p).startswith(b"\x89PNG") for p in pictures)
    assert text.count('<img alt="') == len(pictures)


@pytest.mark.exhaustive
def test_several_classes_without_gaps(tmp_path):
    source = make_ensemble(3, 200, 3, random_state=1)
    data = EnsembleData(source.R[:, :150], source.labels[:150])
    found = blend(
        data, EnsembleData(source.R[:, 150:]), contenders=["mean"], n_draws=50, progress=False
    )
    write_report(found, tmp_path / "r.html", title="Three & more", n_bootstrap=0)
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "<h1>Three &amp; more</h1>" in text
    assert "Every model has predicted every row." in text
    assert "Nothing looks like a leak." in text
    assert text.count("<img") == 5


def test_advice_names_what_was_put_in(blended):
    steps = next_steps(blended)
    assert steps[0] == "Keep one of beta, beta again: they hold the same predictions."
    assert any("With 300 scored rows" in step for step in steps)
    assert not any("half cover" in step for step in steps)
    thin = np.array(blended.test.R)
    thin[4, 10:] = np.nan
    thin[:, 0] = np.nan
    test = EnsembleData(thin, classifier_names=NAMES)
    steps = next_steps(replace(blended, test=test))
    assert any("half cover less than half of the test rows" in step for step in steps)
    assert any(step.startswith("1 test rows have no prediction at all") for step in steps)


def test_advice_prefers_what_is_simpler_when_it_is_as_good(blended):
    ours = blended.score
    rival = replace(ours, contender="mean", reference_better=0.3)
    steps = next_steps(replace(blended, scores=(rival, ours)))
    assert any("mean is as good as the blend (better or equal in 70%" in step for step in steps)
    rival = replace(rival, reference_better=0.97)
    assert not any("as good as" in s for s in next_steps(replace(blended, scores=(ours, rival))))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_shows_the_page(browser, page, width):
    check_shown(browser, page, width, n_pictures=7)
