"""How likely a model of token sequences holds sequences to be: bounds, scores, perplexity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from .token_alphabet import EncodedTokens
from .token_bounds import log_bound_rows
from .token_model import TokenModel
from .validation import check_boolean, check_integer, check_sample_weight

__all__ = ["TokenScoring"]

Floats = NDArray[np.float64]

_BOUND = 10  # number of the private random stream of bounds


class TokenScoring(DensityMixin, TokenModel):  # type: ignore[misc, unused-ignore]
    """A model of token sequences that bounds log likelihoods."""

    draws: int

    def score_samples(
        self, X: Any, y: Any = None, *, draws: int | None = None, return_std: bool = False
    ) -> Any:
        """Return lower bounds of the log likelihoods of sequences.

        Parameters
        ----------
        X : sequences
            As in `fit`.
        y : array-like, optional
            Properties; the bound is then that of the sequence given these.
        draws : int >= 1, optional
            Times at which the integrand is looked at, in place of the constructor's; each costs a network
            evaluation a sequence. The estimate has no bias, whatever the number.
        return_std : bool, default False
            Return the standard errors of the estimates, too; they take the draws for independent, and as
            these are stratified are rather too large.

        Returns
        -------
        ndarray of shape (n,), or two of them
            In nats a sequence.
        """
        check_is_fitted(self)
        count = check_integer("draws", self.draws if draws is None else draws, low=1)
        encoded = self._encode(X)
        bounds = self._bounds(encoded, y, count)
        return bounds if check_boolean("return_std", return_std) else bounds[0]

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean lower bound of sequences in nats (higher is better), weighted if weights are given.

        Parameters
        ----------
        X : sequences
            As in `fit`.
        y : array-like, optional
            Properties, if the model was fitted with such.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0.
        """
        check_is_fitted(self)
        known = y if self._condition_form_.n_conditions else None
        bounds = self.score_samples(X, known)
        return float(np.average(bounds, weights=check_sample_weight(sample_weight, len(bounds))))

    def perplexity(self, X: Any, y: Any = None, *, draws: int | None = None) -> float:
        """Return an upper bound of the perplexity a token of a set of sequences.

        The exponential of the negative bounds of all sequences over the number of their tokens, where the end
        of a sequence that is shorter than the longest counts as one.

        Parameters
        ----------
        X, y, draws
            As in `score_samples`.
        """
        check_is_fitted(self)
        encoded = self._encode(X)
        lengths = self._alphabet_.lengths(encoded.tokens)
        count = check_integer("draws", self.draws if draws is None else draws, low=1)
        bounds, _ = self._bounds(encoded, y, count)
        tokens = np.minimum(lengths + int(self.variable_length_), self.max_length_).sum()
        return float(np.exp(-bounds.sum() / tokens))

    def _bounds(self, encoded: EncodedTokens, y: Any, draws: int) -> tuple[Floats, Floats]:
        conditions = self._condition_form_.encode(y, len(encoded.tokens), "y")
        seed = int(self._generator(_BOUND).initial_seed())
        return log_bound_rows(
            self._on_device(self._network_), self._task(), encoded.tokens, conditions, draws=draws, seed=seed,
            device=self._compute_device(),
        )  # fmt: skip
