"""Base learners of ensembles made for scikit-learn or mlxtend, taken over as they are."""

from typing import Any

from cfe_stack.base_learners.fitted_learner import check_estimators


def base_learners(ensemble: Any) -> list[tuple[str, Any]]:
    """Return the (name, learner) pairs of a stack or a vote.

    Parameters
    ----------
    ensemble : estimator
        ``StackingClassifier`` or ``VotingClassifier`` of scikit-learn, ``StackingClassifier``,
        ``StackingCVClassifier`` or ``EnsembleVoteClassifier`` of mlxtend, or another ensemble that
        holds its learners in the same attributes.

    Returns
    -------
    list of (str, estimator)
        For :func:`cfe_stack.collect_out_of_fold` and :class:`cfe_stack.CFEStackingClassifier`,
        under the names by which the ensemble's own parameters know them. Learners that are dropped
        are left out.

    Raises
    ------
    TypeError
        If the object holds no learners.

    Notes
    -----
    The learners are those that were given, not those that the ensemble may have fitted; collecting
    fits copies of them. Weights of a vote and meta-classifiers are left behind.

    Examples
    --------
    >>> from sklearn.ensemble import VotingClassifier
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from cfe_stack.base_learners import base_learners
    >>> base_learners(VotingClassifier([("bayes", GaussianNB()), ("other", "drop")]))
    [('bayes', GaussianNB())]
    """
    # scikit-learn; mlxtend's stacks; mlxtend's vote
    for attribute in ("estimators", "named_classifiers", "named_clfs"):
        held = getattr(ensemble, attribute, None)
        if held is not None and not isinstance(ensemble, type):
            return check_estimators(held)
    raise TypeError(
        f"{ensemble!r:.80} holds no base learners that are known here: pass a stack or a vote of "
        "scikit-learn or mlxtend, or write out (name, estimator) pairs."
    )
