"""The objective and its parts over training."""

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from cfe_stack.displays.canvas import QUIET, SERIES, Display, axes_for
from cfe_stack.displays.reading import final_estimator_of
from cfe_stack.trainers.base import BaseTrainer


class TrainingHistoryDisplay(Display):
    r"""Objective of a trainer after every sweep or epoch, and the two parts that it is the sum of.

    Parameters
    ----------
    objective : ndarray of shape (n_steps,)
        ρ · L_recon + (1 − ρ) · L_sup.
    reconstruction : ndarray of shape (n_steps,)
        L_recon: squared error per observed cell, with the ridge.
    supervised : ndarray of shape (n_steps,)
        L_sup: weighted mean loss of labeled instances, in nats; 0 without any.
    rho : float
        Share of reconstruction.
    step_name : str, default="sweep"
        What a step is called.
    focal_gamma : ndarray of shape (n_steps,), default=None
        Focusing parameter at every step.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    The parts are drawn as they enter the objective, multiplied by ρ and 1 − ρ, so that they add up
    to it. The objective of a focal loss with a schedule changes from step to step.

    Examples
    --------
    >>> from cfe_stack import CFEnsembleTrainer, EnsembleData
    >>> from cfe_stack.datasets import make_ensemble
    >>> from cfe_stack.displays import TrainingHistoryDisplay
    >>> made = make_ensemble(5, 200, random_state=0)
    >>> trainer = CFEnsembleTrainer(latent_dim=2, random_state=0)
    >>> trainer = trainer.fit(EnsembleData(made.R, made.labels))
    >>> display = TrainingHistoryDisplay.from_estimator(trainer)
    >>> bool(display.objective[-1] < display.objective[0])
    True
    """

    def __init__(
        self,
        objective: np.ndarray,
        reconstruction: np.ndarray,
        supervised: np.ndarray,
        *,
        rho: float,
        step_name: str = "sweep",
        focal_gamma: np.ndarray | None = None,
    ) -> None:
        self.objective = objective
        self.reconstruction = reconstruction
        self.supervised = supervised
        self.rho = rho
        self.step_name = step_name
        self.focal_gamma = focal_gamma

    @classmethod
    def from_estimator(cls, estimator: Any) -> Self:
        """Read the history of a fitted trainer, or of the trainer in a fitted classifier.

        Parameters
        ----------
        estimator : fitted estimator
            A trainer, a `CFEnsembleClassifier`, or a stack, pipeline or search that ends in one.

        Returns
        -------
        TrainingHistoryDisplay
        """
        trainer = estimator
        if not isinstance(trainer, BaseTrainer):
            trainer = final_estimator_of(estimator, None)[0]
            check_is_fitted(trainer, "trainer_")
            trainer = trainer.trainer_
        check_is_fitted(trainer, "factor_model_")
        history = trainer.history_
        supervised = history["supervised"]
        return cls(
            history["objective"],
            history["reconstruction"],
            supervised,
            # without a label, reconstruction is all there is
            rho=float(trainer.rho) if supervised.any() else 1.0,
            step_name="epoch" if hasattr(trainer, "max_epochs") else "sweep",
            focal_gamma=history["focal_gamma"],
        )

    def plot(self, ax: Any = None, *, yscale: str = "log") -> Self:
        """Draw the objective and its parts.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        yscale : {"log", "linear"}, default="log"

        Returns
        -------
        TrainingHistoryDisplay
            This object, with `ax_` and `figure_`.
        """
        if yscale not in ("log", "linear"):
            raise ValueError(f"yscale must be 'log' or 'linear', got {yscale!r}.")
        ax = axes_for(ax)
        steps = np.arange(1, len(self.objective) + 1)
        parts = {
            "objective": self.objective,
            f"{self.rho:g} · reconstruction": self.rho * self.reconstruction,
            f"{1 - self.rho:g} · supervised loss": (1 - self.rho) * self.supervised,
        }
        marks = max(1, len(steps) // 10)
        for style, (name, values) in zip(SERIES, parts.items(), strict=False):
            # the objective may run under one of its parts, and is seen on both sides of it
            width = 3.5 if name == "objective" else 1.5
            look = style | ({"color": "0.7", "marker": ""} if name == "objective" else {})
            if values.any():
                ax.plot(
                    steps, values, label=name, linewidth=width, markersize=4, markevery=marks,
                    **look,
                )  # fmt: skip
        ax.set(yscale=yscale, ylabel="loss (mean per cell, per instance)")
        ax.set_xlabel(self.step_name + self._schedule())
        ax.grid(color=QUIET, alpha=0.3, linewidth=0.5)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(frameon=False)
        return self._drawn_on(ax)

    def _schedule(self) -> str:
        gamma = self.focal_gamma
        if gamma is None or not np.ptp(gamma):
            return ""
        return f" (focal γ from {gamma[0]:g} to {gamma[-1]:g})"
