import numpy as np
import pytest
from implementations import LINKS
from scipy.special import logit

from cfe_stack.losses.link import CenteredLogRatioLink, IdentityLink, LogitLink, make_link

every_link = pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
INNER = np.random.default_rng(0).dirichlet(np.full(3, 20.0), size=(4, 7))
"""Class probabilities that no clip touches."""


@every_link
def test_round_trip(link):
    np.testing.assert_allclose(link.inverse(link.forward(INNER)), INNER, rtol=1e-13)


@every_link
def test_missing_stays_missing_and_touches_nothing_else(link):
    holed = INNER.copy()
    holed[1, 2] = np.nan
    for there in (link.forward, link.inverse):
        result = there(holed).copy()
        assert np.isnan(result[1, 2]).all()
        result[1, 2] = there(INNER)[1, 2]
        np.testing.assert_array_equal(result, there(INNER))


@every_link
def test_shape_dtype_and_input_are_kept(link):
    R = INNER.astype(np.float32)
    before = R.copy()
    for there in (link.forward, link.inverse):
        assert there(R).shape == R.shape
        assert there(R).dtype == np.float32
    np.testing.assert_array_equal(R, before)


@every_link
def test_certain_predictions_stay_finite_and_come_back_within_the_clip(link):
    certain = np.eye(3)[None]
    linked = link.forward(certain)
    assert np.isfinite(linked).all()
    clip = getattr(link, "clip", 0.0)
    np.testing.assert_allclose(link.inverse(linked), certain, atol=2 * clip)


@every_link
def test_inverse_gives_probabilities_for_any_value(link):
    anything = np.array([[-1e4, 0.0, 1e4], [-2.0, 0.5, 1.2]])
    R = link.inverse(anything)
    assert ((R >= 0) & (R <= 1)).all()


def test_known_values():
    R = np.array([0.2, 0.5, 0.8])
    np.testing.assert_array_equal(IdentityLink().forward(R), R)
    np.testing.assert_allclose(LogitLink().forward(R), [-np.log(4), 0, np.log(4)], atol=1e-15)
    logs = np.log([0.2, 0.3, 0.5])
    clr = CenteredLogRatioLink().forward(np.array([0.2, 0.3, 0.5]))
    np.testing.assert_allclose(clr, logs - logs.mean(), rtol=1e-14)


@pytest.mark.parametrize("clip", [1e-3, 0.05])
def test_clip(clip):
    np.testing.assert_allclose(
        LogitLink(clip).forward(np.array([0.0, clip / 2, 1.0])), logit([clip, clip, 1 - clip])
    )
    clr = CenteredLogRatioLink(clip)
    np.testing.assert_array_equal(
        clr.forward(np.array([0.0, 0.3, 0.7])), clr.forward(np.array([clip, 0.3, 0.7]))
    )
    certain = np.log([clip, clip, 1.0])
    np.testing.assert_allclose(clr.forward(np.eye(3)[2]), certain - certain.mean(), rtol=1e-14)


def test_centred_log_ratios_sum_to_zero_and_give_distributions():
    link = CenteredLogRatioLink()
    np.testing.assert_allclose(link.forward(INNER).sum(axis=-1), 0, atol=1e-14)
    np.testing.assert_allclose(link.inverse(1e3 * INNER).sum(axis=-1), 1, rtol=1e-14)


def test_centred_log_ratio_of_two_classes_is_half_the_log_odds():
    r = np.linspace(0.01, 0.99, 33)
    clr = CenteredLogRatioLink().forward(np.column_stack([1 - r, r]))
    half = LogitLink().forward(r) / 2
    np.testing.assert_allclose(clr, np.column_stack([-half, half]), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "n_classes", "link"),
    [
        ("identity", 2, IdentityLink()),
        ("identity", 5, IdentityLink()),
        ("logit", 2, LogitLink()),
        ("logit", 5, CenteredLogRatioLink()),
    ],
)
def test_make_link(name, n_classes, link):
    assert make_link(name, n_classes) == link


@pytest.mark.parametrize("name", ["probit", None])
def test_unknown_link(name):
    with pytest.raises(ValueError, match=f"link must be 'identity' or 'logit', got {name!r}"):
        make_link(name, 2)
