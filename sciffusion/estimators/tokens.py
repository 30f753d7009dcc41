"""`TokenDiffusion`: the law of sequences of tokens, draws from it, and bounds of likelihoods."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from ..sampling.guidance import DiscreteClassifierFree
from .fitting import all_or_nothing
from .random_state import integer_seed
from .token_alphabet import EncodedTokens
from .token_draws import DrawPlan, draw_rows, draw_steered_rows
from .token_processes import token_recipe
from .token_scoring import TokenScoring
from .token_solvers import token_solver
from .token_steering import steering_of
from .validation import check_boolean, check_integer, check_number

__all__ = ["TokenDiffusion"]

Floats = NDArray[np.float64]


class TokenDiffusion(TokenScoring):  # type: ignore[misc, unused-ignore]
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
        itself, "cross_entropy" weighs all times alike. "auto" is the bound, and cross-entropy for "matrix",
        whose bound is slow to compute.
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
        "maximal_coupling", or a solver of ``sciffusion.discrete``. "auto" is "trapezoid", except under
        guidance, with rewards and for "matrix".
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
        reward: Callable[[Any], ArrayLike] | None = None,
        reward_scale: float = 1.0,
        steering_options: Mapping[str, Any] | None = None,
        return_weights: bool = False,
        nfe: int | None = None,
        solver: Any = None,
        random_state: Any = None,
    ) -> Any:
        r"""Draw sequences.

        Parameters
        ----------
        n_samples : int >= 1, default 1
            Number of sequences.
        condition : object, optional
            Properties that draws shall have: a number, a class, a list of p numbers or a mapping from names
            of properties to numbers for all draws, or one such a draw. NaN where one is not asked for.
        guidance_scale : float, default 1
            Strength of the condition: 1 draws from the conditional law, 0 ignores it; more than 1
            exaggerates it at two evaluations a prediction, and draws then follow no law that has a name.
        known : sequence, optional
            One template that all draws follow; see `infill`.
        wildcard, grow
            As in `infill`.
        reward : callable, optional
            From sequences (as this method returns them) to one number each, ``-inf`` for sequences that are
            refused. Draws are particles of one system, weighed and resampled on the way, which costs rewards
            but no network evaluations; weighted, they follow the law of the model times
            :math:`e^{\lambda r}` up to the noise of a finite number of them.
        reward_scale : float, default 1
            :math:`\lambda`.
        steering_options : mapping, optional
            Further arguments of `sciffusion.sampling.TokenSteering`, such as ``every``, ``potential``,
            ``clean`` or ``on_error``: with "zero" a sequence whose reward raises counts nothing, and a
            warning tells how many did.
        return_weights : bool, default False
            Return draws with a reward as the particles are, with their log weights. Otherwise they are drawn
            anew by their weights, so that some may repeat.
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
        ndarray of shape (n_samples,)
            With `return_weights`: log weights; their exponentials sum to 1. Equal ones without a reward.
        """
        check_is_fitted(self)
        count = check_integer("n_samples", n_samples, low=1)
        weighted = check_boolean("return_weights", return_weights)
        if known is None:
            shape = (count, self.max_length_)
            start, barred = EncodedTokens(np.zeros(shape, np.int64), np.zeros(shape, bool)), None
        else:
            one, barred = self._template([known], wildcard, grow, "known")
            start = one.repeated(count)
            barred = np.repeat(barred, count, axis=0)
        conditions = self._condition_form_.encode(condition, count)
        plan = self._plan(conditions, guidance_scale, nfe, solver, reward is not None)
        if reward is None:
            sequences = self._decode(self._drawn(start, barred, conditions, plan, random_state))
            return (sequences, np.full(count, -np.log(count))) if weighted else sequences
        particles = steering_of(reward, self._decode, count, reward_scale, steering_options)
        rows, log_weights = draw_steered_rows(
            self._on_device(self._network_), self._task(), start, conditions, plan, particles,
            seed=integer_seed(random_state), device=self._compute_device(), barred=barred,
            resample=not weighted,
        )  # fmt: skip
        return (self._decode(rows), log_weights) if weighted else self._decode(rows)

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
        start = start.tiled(count)
        plan = self._plan(conditions, guidance_scale, nfe, solver)
        drawn = self._drawn(start, np.tile(barred, (count, 1)), conditions, plan, random_state)
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
        if self._form_ == "array" and -1 in self._alphabet_.symbols:
            raise ValueError(f"{name} cannot be read: -1 is a token of this model, and stands for open ones")
        growing = check_boolean("grow", grow)
        start = self._encode(templates, wildcard=wildcard, growing=growing, name=name)
        # A token that is given, or any place of a template of fixed length, has no end before it.
        tokens = start.given & (start.tokens != self._alphabet_.end)
        last = np.where(tokens.any(axis=1), tokens.shape[1] - tokens[:, ::-1].argmax(axis=1), 0)
        inside = np.arange(tokens.shape[1]) < last[:, None]
        return start, ~start.given & (inside if growing else True)

    def _plan(
        self, conditions: Floats, guidance_scale: float, nfe: int | None, solver: Any, steered: bool = False
    ) -> DrawPlan:
        """Return how rows are drawn."""
        scale = check_number("guidance_scale", guidance_scale)
        budget = check_integer("nfe", self.nfe if nfe is None else nfe, low=1)
        if scale != 1.0 and np.isnan(conditions).all():
            raise ValueError(f"guidance_scale={scale} needs a condition, got none")
        guidance = () if scale == 1.0 else (DiscreteClassifierFree(scale),)
        recipe = token_recipe(self._process_["name"])
        given = self.solver if solver is None else solver
        chosen, spacing = token_solver(given, recipe, budget, plain=not guidance and not steered)
        return DrawPlan(chosen, budget, spacing, guidance, self._alphabet_.end)

    def _drawn(
        self, start: EncodedTokens, barred: Any, conditions: Floats, plan: DrawPlan, random_state: Any
    ) -> NDArray[np.int64]:
        """Return rows with what is open drawn."""
        return draw_rows(
            self._on_device(self._network_), self._task(), start, conditions, plan,
            seed=integer_seed(random_state), device=self._compute_device(), barred=barred,
        )  # fmt: skip

    def _like(self, templates: Any, drawn: NDArray[np.int64]) -> Any:
        """Return drawn rows in the form of the model, with the index of templates that have one."""
        sequences = self._decode(drawn)
        if isinstance(sequences, pd.DataFrame) and isinstance(templates, pd.DataFrame):
            return sequences.set_axis(templates.index, axis=0)
        if isinstance(templates, pd.Series):
            return pd.Series(sequences, index=templates.index, name=templates.name)
        return sequences

    def __sklearn_tags__(self) -> Tags:
        """Tell scikit-learn what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags
