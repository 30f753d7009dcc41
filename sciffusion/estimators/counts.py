"""`CountDiffusion`: the joint law of a table of counts, draws from it and from its conditional laws."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..discrete import Births, PureDeath
from ..sampling import State, sample, uniform_grid
from .base import DiffusionEstimator
from .chunking import map_chunks
from .counts_bounds import log_bound_counts
from .counts_training import CountDenoiser, CountRows, CountSettings, marginal_laws, train_count_network
from .fitting import all_or_nothing
from .random_state import integer_seed, private_generator
from .token_conditions import ConditionForm
from .validation import check_boolean, check_choice, check_integer, check_sample_weight
from .vectors.tables import TableForm, read_table, weighted_rows

__all__ = ["CountDiffusion"]

Floats = NDArray[np.float64]

_SPLIT, _NETWORK, _HELD_OUT, _BOUND = range(4)  # numbers of the private random streams
_FEWEST_ROWS = 2
_LARGEST_LAW = 1023  # a law has a logit for every count; beyond this a mean is what is affordable


class CountDiffusion(DensityMixin, DiffusionEstimator):  # type: ignore[misc, unused-ignore]
    r"""Joint law of counts, by a diffusion model whose noise lets individuals vanish.

    Counts are thinned until none is left (`sciffusion.discrete.PureDeath`), and a network learns to say how
    many are missing. Draws are whole numbers, never negative, of any dispersion, and columns depend on each
    other as in the data: species in samples, reads of genes, spikes of neurons, claims, photons.

    Parameters
    ----------
    head : {"law", "mean"}, default "law"
        What the network answers with: the whole law of every clean count, from which births are drawn
        exactly however few the steps, or their mean, as published, which is cheaper for counts beyond some
        hundreds and needs many steps.
    largest : int, optional
        Largest count that a draw may have; by default a quarter above the largest of the table.
    fractional : {"raise", "round"}, default "raise"
        What to do with values that are no whole numbers.
    mask_share : float in [0, 1], default 0.3
        Share of the training rows that are shown with known counts, from which ``sample(given=...)`` and
        `impute` are learned. 0 spends everything on the joint law.
    condition_dropout : float in [0, 1), default 0.1
        Share of the training rows whose properties (y) are hidden, so that draws need none.
    width, depth : int, default 128 and 3
        Units of a hidden layer, and residual blocks.
    dropout : float in [0, 1), default 0.1
        Share of the hidden features set to zero in training.
    learning_rate, weight_decay : float, default 0.002 and 0.01
        Of AdamW; the rate falls to zero along a cosine.
    batch_size : int, default 256
        Rows of a training step.
    max_steps : int, default 2000
        Training steps at most.
    patience : int or None, default 20
        Evaluations of the held-out loss (every 50 steps) without improvement after which training stops.
    validation_fraction : float in [0, 1), default 0.1
        Share of the rows that are kept back to stop by; nothing where that is less than five rows.
    nfe : int, default 32
        Network evaluations of a draw, unless a method is told otherwise.
    draws : int, default 32
        Network evaluations of a bound, unless a method is told otherwise.
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
    largest_ : int
        Largest count that a draw may have.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Notes
    -----
    What is exact: with the head "law" a single column is drawn without error of the steps, however few, and
    only the dependence of columns within one step is lost, which vanishes as `nfe` grows. `score_samples`
    bounds log likelihoods from below; it is a bound of the law that infinitely many steps draw from.

    References
    ----------
    J. E. Santos and others, "Blackout Diffusion: Generative Diffusion Models in Discrete-State Spaces",
    arXiv 2305.11089 (the process, the mean and its steps). The law of counts, its exact births and the strict
    weight of the bound are constructions of this library.

    Examples
    --------
    >>> import numpy as np
    >>> from sciffusion import CountDiffusion
    >>> rate = np.random.default_rng(0).gamma(2.0, 2.0, size=(200, 1))
    >>> X = np.random.default_rng(1).poisson(rate, size=(200, 3))
    >>> model = CountDiffusion(max_steps=50, random_state=0).fit(X)
    >>> model.sample(5, random_state=0).shape
    (5, 3)
    """

    def __init__(
        self,
        *,
        head: str = "law",
        largest: int | None = None,
        fractional: str = "raise",
        mask_share: float = 0.3,
        condition_dropout: float = 0.1,
        width: int = 128,
        depth: int = 3,
        dropout: float = 0.1,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        batch_size: int = 256,
        max_steps: int = 2000,
        patience: int | None = 20,
        validation_fraction: float = 0.1,
        nfe: int = 32,
        draws: int = 32,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
        trainer_options: Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.head = head
        self.largest = largest
        self.fractional = fractional
        self.mask_share = mask_share
        self.condition_dropout = condition_dropout
        self.width = width
        self.depth = depth
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.nfe = nfe
        self.draws = draws
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.trainer_options = trainer_options
        self.checkpoint = checkpoint

    # ---------------------------------------------------------------- fitting

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> CountDiffusion:
        """Fit the model.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Counts: whole numbers >= 0, without missing values.
        y : array-like of shape (n,) or (n, p), optional
            Properties of the rows that draws can be conditioned on: numbers, or one class a row.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0 of the rows.

        Returns
        -------
        CountDiffusion
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If the table or a parameter cannot be used; a model fitted before is then left as it was.
        """
        settings = CountSettings.of(self)
        check_integer("nfe", self.nfe, low=1)
        check_integer("draws", self.draws, low=1)
        table = self._counts(X, fitting=True)
        form, conditions = ConditionForm.learn(y, len(table))
        paired, weights = weighted_rows(np.hstack([table, conditions]), sample_weight, _FEWEST_ROWS)
        table, conditions = paired[:, : table.shape[1]], paired[:, table.shape[1] :]
        self.largest_ = self._largest_count(table, settings)
        self._settings_, self._condition_form_ = settings, form
        self.seed_ = self._new_seed()
        rows = CountRows(
            torch.from_numpy(table).long(),
            torch.from_numpy(conditions).float(),
            torch.from_numpy(weights / weights.mean()).float(),
        )
        marginals = marginal_laws(rows.counts, rows.weights, self.largest_)
        with self._private_streams(_NETWORK):
            network = settings.network(marginals, form.n_conditions)
        kept, held_out = rows.split(settings.validation_fraction, self._generator(_SPLIT))
        self.history_ = train_count_network(
            settings, self._process(), network, kept, held_out, self._train,
            int(self._generator(_HELD_OUT).initial_seed()),
        )  # fmt: skip
        self._network_ = network
        return self

    def _largest_count(self, table: Floats, settings: CountSettings) -> int:
        """Return the largest count that is allowed for."""
        found = int(table.max())
        if self.largest is None:
            largest = found + max(-(-found // 4), 1)
        else:
            largest = check_integer("largest", self.largest, low=1)
            if found > largest:
                raise ValueError(f"largest is {largest}, and X holds the count {found}")
        if settings.head == "law" and largest > _LARGEST_LAW:
            raise ValueError(
                f'head="law" has a logit for every count up to {largest} and takes {_LARGEST_LAW} at most; '
                'use head="mean", or set largest'
            )
        return largest

    def _counts(self, X: Any, *, fitting: bool = False, allow_missing: bool = False) -> Floats:
        """Return a table of counts (and NaN where allowed), or raise naming the first that is none."""
        rounding = check_choice("fractional", self.fractional, ("raise", "round")) == "round"
        table = read_table(
            self, X, fitting=fitting, allow_missing=allow_missing, fewest_rows=_FEWEST_ROWS if fitting else 1
        )
        whole = np.rint(table)
        for wrong, what in (
            (table < 0.0, "Negative values in data passed to CountDiffusion: X must hold counts >= 0"),
            (
                (whole != table) & ~np.isnan(table) & (not rounding),
                'X must hold whole numbers (fractional="round" rounds them)',
            ),
        ):
            if wrong.any():
                row, place = (int(index) for index in np.argwhere(wrong)[0])
                column = TableForm.of(self).labels([place])[0]
                raise ValueError(
                    f"{what}; {int(wrong.sum())} values are not, the first is {table[row, place]:g} in row "
                    f"{row}, column {column!r}"
                )
        return whole

    def _process(self) -> PureDeath:
        return PureDeath(self.largest_)

    # ---------------------------------------------------------------- bounds

    def score_samples(
        self, X: Any, y: Any = None, *, draws: int | None = None, return_std: bool = False
    ) -> Any:
        """Return lower bounds of the log likelihoods of rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Counts. A row with one above `largest_` has the bound minus infinity.
        y : array-like, optional
            Properties; the bound is then that of the row given these.
        draws : int >= 1, optional
            Times at which the integrand is looked at, in place of the constructor's; each costs a network
            evaluation a row. The estimate of the bound has no bias, whatever the number.
        return_std : bool, default False
            Return the standard errors of the estimates, too; they take the draws for independent, and as
            these are stratified are rather too large.

        Returns
        -------
        ndarray of shape (n,), or two of them
            In nats a row.
        """
        check_is_fitted(self)
        count = check_integer("draws", self.draws if draws is None else draws, low=1)
        counts = torch.from_numpy(self._counts(X)).long()
        conditions = torch.from_numpy(self._condition_form_.encode(y, len(counts), "y"))
        bounds = log_bound_counts(
            self._network_, self._process(), counts, conditions, draws=count,
            seed=int(self._generator(_BOUND).initial_seed()), device=self._compute_device(),
        )  # fmt: skip
        return bounds if check_boolean("return_std", return_std) else bounds[0]

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean lower bound of rows in nats (higher is better), weighted if weights are given.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Counts.
        y : array-like, optional
            Properties, used if the model was fitted with such.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0.
        """
        check_is_fitted(self)
        bounds = self.score_samples(X, y if self._condition_form_.n_conditions else None)
        return float(np.average(bounds, weights=check_sample_weight(sample_weight, len(bounds))))

    # ---------------------------------------------------------------- draws

    def sample(
        self,
        n_samples: int = 1,
        *,
        condition: Any = None,
        given: Mapping[Any, float] | pd.DataFrame | None = None,
        nfe: int | None = None,
        random_state: Any = None,
    ) -> Any:
        """Draw rows.

        Parameters
        ----------
        n_samples : int >= 1, default 1
            Number of rows; with a frame of several rows in `given`, of draws for each of these.
        condition : object, optional
            Properties that draws shall have: a number, a class, a list of numbers or a mapping from names to
            numbers for all draws, or one such a draw.
        given : mapping or DataFrame, optional
            Counts of some columns, by name or position, each row of a frame a case of its own.
        nfe : int >= 1, optional
            Network evaluations, in place of the constructor's.
        random_state : int, RandomState or None
            Source of the draws.

        Returns
        -------
        ndarray or DataFrame of shape (n_samples, n_features)
            int64; a frame if the model was fitted on one. Draws of one case stand together; for a frame of
            cases the index has the levels of its own and ``draw``.
        """
        check_is_fitted(self)
        count = check_integer("n_samples", n_samples, low=1)
        form = TableForm.of(self)
        cases, index = form.cases(given)
        cases = self._whole_cases(cases)
        drawn = self._complete(cases.repeat(count, axis=0), condition, nfe, random_state)
        if index is not None:
            index = pd.MultiIndex.from_arrays(
                [*_levels(index.repeat(count)), np.tile(np.arange(count), len(index))],
                names=[*index.names, "draw"],
            )
        return drawn if form.names is None else pd.DataFrame(drawn, columns=form.names, index=index)

    def impute(
        self, X: Any, *, condition: Any = None, nfe: int | None = None, random_state: Any = None
    ) -> Any:
        """Replace missing counts by draws given the other counts of the row.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Counts, NaN where one is missing.
        condition, nfe, random_state
            As in `sample`.

        Returns
        -------
        ndarray or DataFrame
            int64, like X.
        """
        check_is_fitted(self)
        table = self._counts(X, allow_missing=True)
        drawn = self._complete(table, condition, nfe, random_state)
        return pd.DataFrame(drawn, columns=X.columns, index=X.index) if isinstance(X, pd.DataFrame) else drawn

    def _whole_cases(self, cases: Floats) -> Floats:
        """Check the counts that are given."""
        wrong = (cases < 0.0) | ((np.rint(cases) != cases) & ~np.isnan(cases))
        if wrong.any():
            raise ValueError(f"given must hold whole numbers >= 0, got {cases[wrong][0]:g}")
        return cases

    def _complete(
        self, table: Floats, condition: Any, nfe: int | None, random_state: Any
    ) -> NDArray[np.int64]:
        """Return the rows with every NaN replaced by a draw given the rest of its row."""
        steps = check_integer("nfe", self.nfe if nfe is None else nfe, low=1)
        known = ~np.isnan(table)
        if self._settings_.mask_share == 0.0 and (known.any(axis=1) & ~known.all(axis=1)).any():
            raise ValueError("this model was fitted with mask_share=0, which learns no conditional law")
        if np.nanmax(table, initial=0.0) > self.largest_:
            raise ValueError(f"counts must not exceed largest_ = {self.largest_}, got {np.nanmax(table):g}")
        conditions = torch.from_numpy(self._condition_form_.encode(condition, len(table))).float()
        start = torch.from_numpy(np.where(known, table, 0.0)).long()
        network, device = self._on_device(self._network_), self._compute_device()
        denoiser = CountDenoiser(network, self._process())
        seed = integer_seed(random_state)
        solver = Births("posterior" if self._settings_.head == "law" else "poisson")

        def draw(rows: slice) -> NDArray[np.int64]:
            mask = torch.from_numpy(known[rows])
            state = State(
                start[rows].to(device),
                known=mask.to(device) if bool(mask.any()) else None,
                generator=private_generator(seed, rows.start),
            )
            given = conditions[rows].to(device) if conditions.shape[1] else None
            result = sample(denoiser, solver, uniform_grid(steps), state=state, condition=given)
            values: NDArray[np.int64] = result.samples.cpu().numpy()
            return values

        bytes_per_row = 8 * table.shape[1] * 8 * (self.largest_ + 1)
        return np.concatenate(map_chunks(draw, len(table), bytes_per_row))

    # ---------------------------------------------------------------- persistence and tags

    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return dict(self._network_.state_dict()), {
            "settings": asdict(self._settings_),
            "condition_form": self._condition_form_.to_dict(),
            "largest": self.largest_,
        }

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self._settings_ = CountSettings(**values["settings"])
        self._condition_form_ = ConditionForm.from_dict(values["condition_form"])
        self.largest_ = int(values["largest"])
        flat = torch.full((int(self.n_features_in_), self.largest_ + 1), 1.0 / (self.largest_ + 1))
        self._network_ = self._settings_.network(flat, self._condition_form_.n_conditions)
        self._network_.load_state_dict(tensors)
        self._network_.eval()

    def __sklearn_tags__(self) -> Tags:
        """Tell scikit-learn what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.input_tags.positive_only = True
        return tags


def _levels(index: pd.Index[Any]) -> list[Any]:
    return [index.get_level_values(level) for level in range(index.nlevels)]
