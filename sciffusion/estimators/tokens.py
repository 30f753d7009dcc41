"""`TokenDiffusion`: the law of sequences of tokens, draws from it, and bounds of likelihoods."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from .fitting import all_or_nothing
from .random_state import integer_seed
from .token_alphabet import EncodedTokens
from .token_bounds import log_bound_rows
from .token_draws import DrawPlan, draw_rows
from .token_model import TokenModel
from .token_processes import token_recipe
from .token_solvers import token_solver
from .validation import check_boolean, check_integer, check_number, check_sample_weight

__all__ = ["TokenDiffusion"]

Floats = NDArray[np.float64]

_BOUND = 10  # number of the private random stream of bounds


class TokenDiffusion(DensityMixin, TokenModel):  # type: ignore[misc, unused-ignore]
    r"""Discrete diffusion for sequences of tokens: DNA, proteins, strings, anything with an alphabet.

    A transformer learns to undo the corruption of tokens. From this one model come draws, draws around given
    tokens, draws given properties, and lower bounds of log likelihoods.

    Sequences of different lengths are filled up with a token *end*, which is learnt and drawn like the
    others; a drawn row is read up to its first end, so the model has a law of lengths, too. Where all
    training sequences have one length (and `max_length` asks for no more), there is none.

    Parameters
    ----------
    process : {"mask", "uniform", "uniform_absorbing", "matrix"}, default "mask"
        What corrupts tokens: a mask token, uniform tokens, uniform tokens that the network is shown, or a
        Markov process with `rates` of its own.
    schedule : {"linear", "cosine"}, default "linear"
        How the probability to keep a token falls with time.
    rates : str or array-like, optional
        For "matrix": how fast tokens turn into each other.
    objective : {"auto", "elbo", "cross_entropy", "maximal_coupling"}, default "auto"
        What is trained on. All have the same minimiser and weigh times differently: "elbo" is the bound
        itself, "cross_entropy" weighs all times alike. "auto" is the bound for "mask" and
        "uniform_absorbing", and cross-entropy for the others.
    alphabet : str or sequence of str or int, optional
        The tokens, in the order of their numbers; those that occur in training by default. Strings are split
        into tokens of more than one letter where the alphabet has such, the longest first.
    max_length : int, optional
        Longest sequence that the model can hold; that of the training set by default.
    padding : int, optional
        For arrays of integers: what fills the ends of rows of shorter sequences. Not -1.
    width, depth, n_heads : int, default 128, 4 and 4
        Features of a site, blocks, and attention heads of the transformer.
    dropout : float in [0, 1), default 0
        Share of features set to zero in training; helps on a few hundred sequences.
    condition_dropout : float in [0, 1), default 0.1
        Share of the training rows whose properties are hidden, so that the model can do without them.
    known_share : float in [0, 1], default 0.25
        Share of the training rows in which some sites are shown clean, which is what infilling asks. Not
        needed for "mask", which learns it all the time.
    learning_rate, weight_decay : float, default 0.001 and 0.01
        Of AdamW; the rate rises over `warmup_steps` and falls to zero along a cosine.
    batch_size : int, default 128
        Sequences of a training step.
    max_steps : int, default 2000
        Training steps at most.
    warmup_steps : int, default 100
        Steps over which the learning rate rises.
    ema_decay : float in [0, 1), default 0.995
        Of the average of the weights that is used.
    patience : int or None, default 20
        Looks at the held-out bound (one every 50 steps) without improvement after which training stops.
    validation_fraction : float in [0, 1), default 0.1
        Share of the sequences kept back to stop by (at most 2048; none where that is less than five).
    nfe : int, default 32
        Network evaluations of a draw, unless a method is told otherwise.
    solver : str or DiscreteSolver, default "auto"
        What makes the steps of a draw, unless a method is told otherwise: "ancestral", "trapezoid",
        "maximal_coupling", or a solver of ``sciffusion.discrete``.
    draws : int, default 32
        Times at which a bound looks at a sequence, unless a method is told otherwise.
    random_state : int, RandomState or None
        Makes the fit reproducible; draws have a `random_state` of their own.
    device : str, default "auto"
        "auto", "cpu", "cuda" or "mps".
    verbose : bool, default False
        Show a progress bar in training.
    trainer_options : mapping, optional
        Passed to ``pytorch_lightning.Trainer``.
    checkpoint : path, optional
        File by which an interrupted fit is taken up again; give a fixed `random_state` with it.

    Attributes
    ----------
    alphabet_ : list
        The tokens, without the end.
    max_length_ : int
        Tokens of the longest sequence that the model can hold.
    variable_length_ : bool
        Whether there is an end token.
    classes_ : list
        Classes of `y`, where it held classes.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn, where X was an array or a frame of integers.

    References
    ----------
    S. Sahoo and others, "Simple and Effective Masked Diffusion Language Models", arXiv 2406.07524. Y. Schiff
    and others, "Simple Guidance Mechanisms for Discrete Diffusion Models", arXiv 2412.10193 (uniform noise,
    guidance). S. Gourevitch and others, "Uniform Diffusion Models Revisited", arXiv 2605.22765 (what a
    network for uniform noise must predict; the absorbing form).

    Examples
    --------
    >>> from sciffusion import TokenDiffusion
    >>> sequences = ["ACGT", "ACG", "CCGT", "AAGT"] * 10
    >>> model = TokenDiffusion(width=16, depth=1, max_steps=20, random_state=0).fit(sequences)
    >>> len(model.sample(3, random_state=0))
    3
    >>> model.infill(["A?GT"], random_state=0)[0][2:]
    'GT'
    """

    def __init__(
        self,
        *,
        process: str = "mask",
        schedule: str = "linear",
        rates: Any = None,
        objective: str = "auto",
        alphabet: Sequence[str] | Sequence[int] | None = None,
        max_length: int | None = None,
        padding: int | None = None,
        width: int = 128,
        depth: int = 4,
        n_heads: int = 4,
        dropout: float = 0.0,
        condition_dropout: float = 0.1,
        known_share: float = 0.25,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        batch_size: int = 128,
        max_steps: int = 2000,
        warmup_steps: int = 100,
        ema_decay: float = 0.995,
        patience: int | None = 20,
        validation_fraction: float = 0.1,
        nfe: int = 32,
        solver: Any = "auto",
        draws: int = 32,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
        trainer_options: Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.process = process
        self.schedule = schedule
        self.rates = rates
        self.objective = objective
        self.alphabet = alphabet
        self.max_length = max_length
        self.padding = padding
        self.width = width
        self.depth = depth
        self.n_heads = n_heads
        self.dropout = dropout
        self.condition_dropout = condition_dropout
        self.known_share = known_share
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.warmup_steps = warmup_steps
        self.ema_decay = ema_decay
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.nfe = nfe
        self.solver = solver
        self.draws = draws
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.trainer_options = trainer_options
        self.checkpoint = checkpoint

    # ---------------------------------------------------------------- fitting

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> TokenDiffusion:
        """Fit the model.

        Parameters
        ----------
        X : sequences
            Strings (a list, an array, a Series, a frame of one column), lists of tokens, or an array or frame
            of integers with one place of the sequence a column.
        y : array-like of shape (n,) or (n, p), optional
            Properties that draws can be conditioned on: numbers, or one class a sequence (strings or
            booleans). NaN or None where a property is not known.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0 of the sequences.

        Returns
        -------
        TokenDiffusion
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If sequences or a parameter cannot be used; a model fitted before is then left as it was.
        """
        check_integer("nfe", self.nfe, low=1)
        check_integer("draws", self.draws, low=1)
        token_solver(self.solver, token_recipe(self.process), self.nfe)
        self._fit_tokens(X, y, sample_weight)
        return self

    @all_or_nothing(fresh=False)
    def fine_tune(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        max_steps: int | None = None,
        learning_rate: float | None = None,
    ) -> TokenDiffusion:
        """Go on training with other sequences, from the weights that are there.

        Alphabet, length and the scale of properties stay as they are.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`, in the alphabet of the model and no longer than `max_length_`.
        max_steps : int, optional
            Training steps at most, in place of the constructor's.
        learning_rate : float, optional
            In place of the constructor's; a third of it by default.

        Returns
        -------
        TokenDiffusion
            The estimator, changed; if anything fails, as it was.
        """
        check_is_fitted(self)
        rate = self.learning_rate / 3.0 if learning_rate is None else learning_rate
        steps = self.max_steps if max_steps is None else max_steps
        self._tune_tokens(X, y, sample_weight, {"max_steps": steps, "learning_rate": rate})
        return self

    # ---------------------------------------------------------------- bounds

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

    # ---------------------------------------------------------------- draws

    def sample(
        self,
        n_samples: int = 1,
        *,
        condition: Any = None,
        guidance_scale: float = 1.0,
        known: Any = None,
        wildcard: str = "?",
        grow: bool = False,
        nfe: int | None = None,
        solver: Any = None,
        random_state: Any = None,
    ) -> Any:
        """Draw sequences.

        Parameters
        ----------
        n_samples : int >= 1, default 1
            Number of sequences.
        condition : object, optional
            Properties that draws shall have: a number, a class, a list of p numbers or a mapping from names
            of properties to numbers for all draws, or one such a draw. NaN where one is not asked for.
        guidance_scale : float, default 1
            Strength of the condition: 1 draws from the conditional law, 0 ignores it, more than 1
            exaggerates it and costs two evaluations a prediction.
        known : sequence, optional
            One template that all draws follow; see `infill`.
        wildcard, grow
            As in `infill`.
        nfe : int, optional
            Network evaluations at most, in place of the constructor's.
        solver : str or DiscreteSolver, optional
            In place of the constructor's.
        random_state : int, RandomState or None
            Source of the draws.

        Returns
        -------
        list of str, list of lists, ndarray or DataFrame
            Sequences of the form that the model was fitted on; rows of an array end in `padding` where they
            are shorter.
        """
        check_is_fitted(self)
        count = check_integer("n_samples", n_samples, low=1)
        if known is None:
            shape = (count, self.max_length_)
            start, barred = EncodedTokens(np.zeros(shape, np.int64), np.zeros(shape, bool)), None
        else:
            one, barred = self._template([known], wildcard, grow, "known")
            start = EncodedTokens(*(np.repeat(part, count, axis=0) for part in one))
            barred = np.repeat(barred, count, axis=0)
        return self._decode(self._drawn(start, barred, condition, guidance_scale, nfe, solver, random_state))

    def infill(
        self,
        templates: Any,
        n_samples: int | None = None,
        *,
        condition: Any = None,
        guidance_scale: float = 1.0,
        wildcard: str = "?",
        grow: bool = False,
        nfe: int | None = None,
        solver: Any = None,
        random_state: Any = None,
    ) -> Any:
        """Draw the tokens that templates leave open, given the others, which are kept exactly.

        Parameters
        ----------
        templates : sequences
            Strings with `wildcard` in the place of open tokens, lists of tokens with None, or integers with
            -1. What follows a template is its end, so that a draw has as many tokens as its template.
        n_samples : int >= 1, optional
            Draws of each template; None for one.
        condition, guidance_scale
            As in `sample`, for all templates or one each.
        wildcard : str, default "?"
            What stands for an open token in strings.
        grow : bool, default False
            Whether templates are beginnings: what follows them is drawn, too, up to `max_length_`.
        nfe, solver, random_state
            As in `sample`.

        Returns
        -------
        sequences
            As from `sample`, one a template (a Series with its index for a Series), or `n_samples` lists of
            them.
        """
        check_is_fitted(self)
        start, barred = self._template(templates, wildcard, grow, "templates")
        count = 1 if n_samples is None else check_integer("n_samples", n_samples, low=1)
        rows = len(start.tokens)
        conditions = np.tile(self._condition_form_.encode(condition, rows), (count, 1))
        start = EncodedTokens(*(np.tile(part, (count, 1)) for part in start))
        drawn = self._drawn(
            start, np.tile(barred, (count, 1)), conditions, guidance_scale, nfe, solver, random_state,
            encoded=True,
        )  # fmt: skip
        results = [self._like(templates, drawn[k * rows : (k + 1) * rows]) for k in range(count)]
        return results[0] if n_samples is None else results

    def _template(
        self, templates: Any, wildcard: str, grow: bool, name: str
    ) -> tuple[EncodedTokens, NDArray[np.bool_]]:
        """Return templates as rows, and the sites at which they must not end."""
        if not isinstance(wildcard, str) or not wildcard:
            raise ValueError(f"wildcard must be a string of at least one letter, got {wildcard!r}")
        if wildcard in self._alphabet_.symbols:
            raise ValueError(f"wildcard={wildcard!r} is a token of the alphabet; choose another one")
        growing = check_boolean("grow", grow)
        start = self._encode(templates, wildcard=wildcard, growing=growing, name=name)
        # A token that is given, or any place of a template of fixed length, has no end before it.
        tokens = start.given & (start.tokens != self._alphabet_.end)
        last = np.where(tokens.any(axis=1), tokens.shape[1] - tokens[:, ::-1].argmax(axis=1), 0)
        inside = np.arange(tokens.shape[1]) < last[:, None]
        return start, ~start.given & (inside if growing else True)

    def _drawn(
        self, start: EncodedTokens, barred: Any, condition: Any, guidance_scale: float, nfe: int | None,
        solver: Any, random_state: Any, *, encoded: bool = False,
    ) -> NDArray[np.int64]:  # fmt: skip
        """Return rows with what is open drawn."""
        scale = check_number("guidance_scale", guidance_scale)
        budget = check_integer("nfe", self.nfe if nfe is None else nfe, low=1)
        task = self._task()
        chosen, spacing = token_solver(self.solver if solver is None else solver, task.recipe, budget)
        form = self._condition_form_
        conditions = condition if encoded else form.encode(condition, len(start.tokens))
        plan = DrawPlan(chosen, budget, spacing, self._guidance(scale, conditions), self._alphabet_.end)
        return draw_rows(
            self._on_device(self._network_), task, start, conditions, plan,
            seed=integer_seed(random_state), device=self._compute_device(), barred=barred,
        )  # fmt: skip

    def _guidance(self, scale: float, conditions: Floats) -> tuple[Any, ...]:
        if scale == 1.0:
            return ()
        if np.isnan(conditions).all():
            raise ValueError(f"guidance_scale={scale} needs a condition, got none")
        from ..sampling.guidance import DiscreteClassifierFree

        return (DiscreteClassifierFree(scale),)

    def _like(self, templates: Any, drawn: NDArray[np.int64]) -> Any:
        """Return drawn rows in the form of the model, with the index of templates that have one."""
        sequences = self._decode(drawn)
        if isinstance(sequences, pd.DataFrame) and isinstance(templates, pd.DataFrame):
            return sequences.set_axis(templates.index, axis=0)
        if isinstance(templates, pd.Series):
            return pd.Series(sequences, index=templates.index, name=templates.name)
        return sequences

    # ---------------------------------------------------------------- what was learnt

    @property
    def alphabet_(self) -> list[Any]:
        """The tokens, without the end."""
        return list(self._alphabet_.symbols)

    @property
    def variable_length_(self) -> bool:
        """Whether sequences may be shorter than `max_length_`."""
        return self._alphabet_.has_end

    @property
    def classes_(self) -> list[Any]:
        """Classes of the properties, where these were classes."""
        return list(self._condition_form_.classes)

    def __sklearn_tags__(self) -> Tags:
        """Tell scikit-learn what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags
