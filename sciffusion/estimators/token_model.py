"""What a model of token sequences is made of: reading, training, saving; without draws and bounds.

A subclass that writes its sequences in a way of its own (molecules as SMILES, say) replaces `tokenize` and
`detokenize`, or, where strings are not what it takes, `_encode` and `_decode`, which are all that connects a
user's sequences with rows of numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .base import DiffusionEstimator
from .token_alphabet import EncodedTokens, TokenAlphabet
from .token_conditions import ConditionForm
from .token_network import PlacedTokenTransformer
from .token_processes import token_recipe
from .token_tables import SequenceForm, read_sequences
from .token_tokenizers import split_greedily, split_template
from .token_training import TokenRows, TokenSettings, TokenTask, train_token_network
from .validation import check_integer, check_sample_weight

__all__ = ["TokenModel"]

_SPLIT, _NETWORK, _HELD_OUT = range(3)  # numbers of the private random streams
_FINE_TUNING = 100  # first number of the streams of fine tuning


class TokenModel(DiffusionEstimator):
    """Base of estimators of token sequences."""

    process: str
    rates: Any
    schedule: str
    objective: str
    alphabet: Sequence[str] | Sequence[int] | None
    max_length: int | None
    padding: int | None

    _form_: SequenceForm
    _alphabet_: TokenAlphabet
    _condition_form_: ConditionForm
    _network_: PlacedTokenTransformer
    _settings_: TokenSettings
    n_features_in_: int
    _process_: dict[str, Any]
    max_length_: int

    # ---------------------------------------------------------------- what a subclass may replace

    def tokenize(self, sequence: str) -> Sequence[str]:
        """Return the tokens of a string; a subclass may split otherwise.

        Parameters
        ----------
        sequence : str
            One sequence.
        """
        symbols = self._alphabet_.symbols if hasattr(self, "_alphabet_") else self.alphabet
        return split_greedily(sequence, [] if symbols is None else list(symbols))

    def detokenize(self, tokens: Sequence[str]) -> str:
        """Return the string of tokens, the inverse of `tokenize`.

        Parameters
        ----------
        tokens : sequence of str
            Tokens of one sequence, without the end.
        """
        return "".join(tokens)

    def _encode(
        self,
        X: Any,
        *,
        fitting: bool = False,
        wildcard: str | None = None,
        growing: bool = False,
        name: str = "X",
    ) -> EncodedTokens:
        """Return sequences as rows of token numbers of length `max_length_`.

        Parameters
        ----------
        X : strings, lists of tokens or array-like of int
            Sequences.
        fitting : bool, default False
            Learn form, alphabet and length from them first.
        wildcard : str, optional
            For templates: what stands in strings for a token that is to be drawn. None means that X are whole
            sequences.
        growing : bool, default False
            Whether what follows a template is to be drawn, too.
        name : str
            What errors call the argument.
        """

        def tokens(text: str) -> Sequence[Any]:
            return self.tokenize(text) if wildcard is None else split_template(text, wildcard, self.tokenize)

        if fitting and self.alphabet is not None:
            TokenAlphabet.given(self.alphabet, False)  # refused before anything is split by it
        read = read_sequences(
            self, X, fitting=fitting, tokenize=tokens, padding=self._checked_padding(),
            template=wildcard is not None, name=name,
        )  # fmt: skip
        if fitting:
            self._form_ = read.form
            if (read.flat.lengths == 0).any():
                row = int((read.flat.lengths == 0).argmax())
                raise ValueError(f"X must hold sequences of at least one token; row {row} is empty")
            self.max_length_, has_end = self._row_length(read.flat.lengths)
            if self.alphabet is None:
                self._alphabet_ = TokenAlphabet.learn(read.flat, has_end)
            else:
                self._alphabet_ = TokenAlphabet.given(self.alphabet, has_end)
        return self._alphabet_.encode(read.flat, self.max_length_, growing=growing, name=name)

    def _decode(self, tokens: NDArray[np.int64]) -> Any:
        """Return rows of token numbers as sequences of the form that the model was fitted on."""
        if self._form_ == "array":
            return self._as_array(tokens)
        lists = self._alphabet_.decode(tokens)
        return [self.detokenize(one) for one in lists] if self._form_ == "text" else lists

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

    # ---------------------------------------------------------------- training

    def _fit_tokens(self, X: Any, y: Any, sample_weight: ArrayLike | None) -> None:
        """Fit anew."""
        settings = TokenSettings.of(self)
        recipe = token_recipe(self.process)
        recipe.objective(self.objective)
        rows = self._training_rows(X, y, sample_weight, fitting=True)
        self._process_ = {"name": self.process, "schedule": self.schedule, "rates": self.rates}
        self.seed_ = self._new_seed()
        task = self._task()
        with self._private_streams(_NETWORK):
            network = settings.network(
                task.process, recipe, self.max_length_, self._condition_form_.n_conditions
            )
        self._settings_, self._network_ = settings, network
        self._learn(rows, task, 0)

    def _tune_tokens(
        self, X: Any, y: Any, sample_weight: ArrayLike | None, changed: Mapping[str, Any]
    ) -> None:
        """Go on with other sequences, at a copy of the network."""
        self._settings_ = TokenSettings.of(self, **changed)
        rows = self._training_rows(X, y, sample_weight, fitting=False)
        self._network_ = copy.deepcopy(self._network_)
        self.n_fine_tunings_ = getattr(self, "n_fine_tunings_", 0) + 1
        self._learn(rows, self._task(), _FINE_TUNING * self.n_fine_tunings_)

    def _learn(self, rows: TokenRows, task: TokenTask, stream: int) -> None:
        share = self._settings_.validation_fraction
        kept, back = rows.split(share, self._generator(stream + _SPLIT))
        seed = int(self._generator(stream + _HELD_OUT).initial_seed())
        self._network_.train()
        self.history_ = train_token_network(
            self._settings_, task, self._network_, kept, back, self._train, seed=seed, stream=stream
        )
        self._network_.eval()

    def _training_rows(self, X: Any, y: Any, sample_weight: ArrayLike | None, *, fitting: bool) -> TokenRows:
        encoded = self._encode(X, fitting=fitting)
        count = len(encoded.tokens)
        if fitting:
            self._condition_form_, conditions = ConditionForm.learn(y, count)
        else:
            conditions = self._condition_form_.encode(y, count, "y")
        weights = check_sample_weight(sample_weight, count)
        counted = weights > 0.0
        return TokenRows(
            torch.from_numpy(encoded.tokens[counted]),
            torch.from_numpy(conditions[counted]).float(),
            torch.from_numpy(weights[counted] / weights[counted].mean()).float(),
        )

    def _task(self) -> TokenTask:
        """Return the process of the fitted model with its losses."""
        recipe = token_recipe(self._process_["name"])
        process = recipe.build(self._alphabet_, self._process_["schedule"], self._process_["rates"])
        return TokenTask(process, recipe, recipe.objective(self.objective), recipe.objective("elbo"))

    # ---------------------------------------------------------------- form of rows

    def _checked_padding(self) -> int | None:
        if self.padding is None:
            return None
        if check_integer("padding", self.padding) == -1:
            raise ValueError("padding must not be -1, which stands for tokens that are to be drawn")
        return int(self.padding)

    def _row_length(self, lengths: NDArray[np.int64]) -> tuple[int, bool]:
        """Return the length of rows, and whether sequences may be shorter."""
        longest = int(lengths.max())
        if self._form_ == "array":
            longest = int(self.n_features_in_)
        if self.max_length is None:
            return longest, bool((lengths < longest).any())
        length = check_integer("max_length", self.max_length, low=1)
        if longest > length:
            row = int(lengths.argmax())
            raise ValueError(f"max_length={length} is too short: row {row} of X has {longest} tokens")
        if self._form_ == "array" and length > longest:
            raise ValueError(
                f"max_length={length} exceeds the {longest} columns of X; leave it out for arrays"
            )
        return length, bool((lengths < length).any())

    def _as_array(self, tokens: NDArray[np.int64]) -> Any:
        symbols = np.array([*self._alphabet_.symbols, -1 if self.padding is None else self.padding])
        after = np.arange(tokens.shape[1]) >= self._alphabet_.lengths(tokens)[:, None]
        table = symbols[np.where(after, len(symbols) - 1, tokens)]
        names = getattr(self, "feature_names_in_", None)
        return table if names is None else pd.DataFrame(table, columns=names)

    # ---------------------------------------------------------------- persistence

    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return dict(self._network_.state_dict()), {
            "form": self._form_,
            "symbols": list(self._alphabet_.symbols),
            "has_end": self._alphabet_.has_end,
            "length": self.max_length_,
            "condition": self._condition_form_.to_dict(),
            "process": self._process_,
            "settings": asdict(self._settings_),
            "sizes": self._network_.sizes,
        }

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self._form_ = values["form"]
        self._alphabet_ = TokenAlphabet(tuple(values["symbols"]), bool(values["has_end"]))
        self.max_length_ = int(values["length"])
        self._condition_form_ = ConditionForm.from_dict(values["condition"])
        self._process_ = dict(values["process"])
        self._settings_ = TokenSettings(**values["settings"])
        self._network_ = PlacedTokenTransformer(**values["sizes"])
        self._network_.load_state_dict(tensors)
        self._network_.eval()
