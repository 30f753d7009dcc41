"""What a model of molecules is made of: reading and writing them, training, saving; without draws.

The sequences of `TokenDiffusion` are here tokens of SMILES or SELFIES strings. What a user gives are
molecules, which are checked and written first; what a user gets are SMILES.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sciffusion.estimators.fitting import all_or_nothing
from sciffusion.estimators.token_alphabet import EncodedTokens, FlatSequences
from sciffusion.estimators.tokens import TokenDiffusion
from sciffusion.estimators.validation import check_boolean, check_integer

from .property_network import NoisyPropertyNetwork, train_property_network
from .report import InputReport, OnInvalid
from .templates import TokenTemplate
from .tokenizers import MoleculeTokenizer, molecule_tokenizer
from .writing import WrittenMolecules, report_from_dict, report_to_dict, write_for_model

__all__ = ["MoleculeModel"]

_PROPERTIES = 50  # stream of the property network, apart from those of `TokenModel`
_PROPERTY_PREFIX = "property_network."


class MoleculeModel(TokenDiffusion):
    """Base of `MoleculeDiffusion`."""

    representation: str
    canonical: bool
    property_network: bool

    # Molecules are no arrays of integers, and have no rates between tokens.
    padding = None
    rates = None

    report_: InputReport
    _representation_: str
    _canonical_: bool
    _property_network_: NoisyPropertyNetwork | None

    # ---------------------------------------------------------------- molecules as tokens

    @property
    def _tokenizer(self) -> MoleculeTokenizer:
        return molecule_tokenizer(getattr(self, "_representation_", self.representation))

    def tokenize(self, sequence: str) -> Sequence[str]:
        """Return the tokens of a string of the representation (not of a SMILES, where that is SELFIES).

        Parameters
        ----------
        sequence : str
            One string.
        """
        return self._tokenizer.tokenize(sequence)

    def detokenize(self, tokens: Sequence[str]) -> str:
        """Return the SMILES of tokens; it need not be valid.

        Parameters
        ----------
        tokens : sequence of str
            Tokens of the representation, without the end.
        """
        tokenizer = self._tokenizer
        return tokenizer.to_smiles(tokenizer.join(tokens))

    def _encode(
        self,
        X: Any,
        *,
        fitting: bool = False,
        wildcard: str | None = None,
        growing: bool = False,
        name: str = "X",
    ) -> EncodedTokens:
        """Return molecules as rows of token numbers (see `TokenModel`)."""
        if not isinstance(X, WrittenMolecules):
            canonical = getattr(self, "_canonical_", self.canonical)
            X, _, _ = write_for_model(X, self._tokenizer, canonical=canonical, name=name)
        return super()._encode(X, fitting=fitting, wildcard=wildcard, growing=growing, name=name)

    def _encode_templates(self, templates: Sequence[TokenTemplate]) -> EncodedTokens:
        """Return templates as rows, with what is not given."""
        for template in templates:
            template.check(self._alphabet_.symbols, self.max_length_)
        rows = []
        for template in templates:
            tokens = np.array(template.tokens, dtype=object)
            drawn = np.array([token is None for token in template.tokens], dtype=bool)
            flat = FlatSequences(tokens, np.array([len(tokens)], dtype=np.int64), drawn)
            rows.append(self._alphabet_.encode(flat, self.max_length_, growing=template.open_end))
        return EncodedTokens(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))

    def _smiles(self, tokens: NDArray[np.int64]) -> list[str]:
        """Return rows of token numbers as SMILES, equal rows decoded once."""
        different, places = np.unique(tokens, axis=0, return_inverse=True)
        strings = [self.detokenize(row) for row in self._alphabet_.decode(different)]
        return [strings[place] for place in places.reshape(-1)]

    # ---------------------------------------------------------------- fitting

    @all_or_nothing
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        errors: OnInvalid = "raise",
    ) -> Any:
        """Fit the model.

        Parameters
        ----------
        X : sequence of str or of RDKit molecules
            SMILES, in a list, an array, a Series or a frame of one column.
        y : array-like of shape (n,) or (n, p), optional
            Properties that draws can be conditioned on: numbers, best in a Series or frame whose names they
            then have, or one class a molecule. NaN or None where a property is not known.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0 of the molecules.
        errors : {"raise", "drop"}, default "raise"
            What happens to rows that are no molecule: an error that lists them, or they are left out, with
            their properties and weights, and listed in `report_`.

        Returns
        -------
        MoleculeDiffusion
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If molecules, properties or a parameter cannot be used; a model fitted before is then left as it
            was.
        """
        check_integer("nfe", self.nfe, low=1)
        check_integer("draws", self.draws, low=1)
        guided = check_boolean("property_network", self.property_network)
        tokenizer = molecule_tokenizer(self.representation)
        canonical = check_boolean("canonical", self.canonical)
        written, rows, report = write_for_model(X, tokenizer, canonical=canonical, errors=errors)
        kept = _kept(y, rows, report.n_given, "y")
        weights = _kept(sample_weight, rows, report.n_given, "sample_weight")
        self._representation_, self._canonical_ = self.representation, canonical
        self._fit_tokens(written, _named(kept), weights)
        self._property_network_ = self._fitted_property_network(written, kept, weights) if guided else None
        self.report_ = report
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
        errors: OnInvalid = "raise",
    ) -> Any:
        """Go on training with other molecules, from the weights that are there.

        Alphabet, length and the scale of properties stay as they are, and so does the network of noisy
        molecules' properties.

        Parameters
        ----------
        X, y, sample_weight, errors
            As in `fit`, of tokens that the model knows and no longer than its molecules.
        max_steps : int, optional
            Training steps at most, in place of the constructor's.
        learning_rate : float, optional
            In place of the constructor's; a third of it by default.

        Returns
        -------
        MoleculeDiffusion
            The estimator, changed; if anything fails, as it was.
        """
        tokenizer, canonical = self._tokenizer, getattr(self, "_canonical_", self.canonical)
        written, rows, report = write_for_model(X, tokenizer, canonical=canonical, errors=errors)
        kept = _kept(y, rows, report.n_given, "y")
        weights = _kept(sample_weight, rows, report.n_given, "sample_weight")
        tuned = super().fine_tune(
            written, _named(kept), weights, max_steps=max_steps, learning_rate=learning_rate
        )
        self.report_ = report
        return tuned

    def _fitted_property_network(
        self, written: WrittenMolecules, y: Any, weights: Any
    ) -> NoisyPropertyNetwork:
        """Train the network that guides draws."""
        form = self._condition_form_
        if not form.means:
            raise ValueError(
                "property_network=True needs numbers as y, got "
                f"{'classes' if form.classes else 'no properties'}"
            )
        tokens = torch.from_numpy(self._encode(written).tokens)
        properties = torch.from_numpy(form.encode(_named(y), len(tokens), "y")).float()
        seen = slice(None) if weights is None else np.asarray(weights, dtype=np.float64) > 0.0
        task, settings = self._task(), self._settings_
        with self._private_streams(_PROPERTIES):
            network = NoisyPropertyNetwork(
                task.process.state_size, properties.shape[1], width=settings.width,
                depth=max(1, settings.depth // 2), n_heads=settings.n_heads,
            )  # fmt: skip
        train_property_network(
            network, task.process, tokens[seen], properties[seen], settings, self._train, stream=_PROPERTIES
        )
        return network.eval()

    # ---------------------------------------------------------------- what was learnt

    @property
    def property_names_(self) -> list[str]:
        """Names of the properties that draws can be conditioned on."""
        return list(self._condition_form_.names)

    # ---------------------------------------------------------------- persistence

    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, values = super()._fitted_state()
        network = self._property_network_
        if network is not None:
            tensors |= {_PROPERTY_PREFIX + name: value for name, value in network.state_dict().items()}
        return tensors, {
            **values,
            "representation": self._representation_,
            "canonical": self._canonical_,
            "property_sizes": None if network is None else network.sizes,
            "report": report_to_dict(self.report_),
        }

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        own = {name: value for name, value in tensors.items() if name.startswith(_PROPERTY_PREFIX)}
        super()._restore_fitted_state({n: v for n, v in tensors.items() if n not in own}, values)
        self._representation_ = str(values["representation"])
        self._canonical_ = bool(values["canonical"])
        self.report_ = report_from_dict(values["report"])
        self._property_network_ = None
        if values["property_sizes"] is not None:
            self._property_network_ = NoisyPropertyNetwork(**values["property_sizes"])
            stripped = {name.removeprefix(_PROPERTY_PREFIX): value for name, value in own.items()}
            self._property_network_.load_state_dict(stripped)
            self._property_network_.eval()


def _kept(values: Any, rows: NDArray[np.intp], n_given: int, name: str) -> Any:
    """Return the values of the rows that were read, in the form they came in."""
    if values is None or np.ndim(values) == 0:
        return values
    if len(values) != n_given:
        raise ValueError(f"{name} must have one row a molecule, got {len(values)} for {n_given} molecules")
    return values.iloc[rows] if isinstance(values, pd.Series | pd.DataFrame) else np.asarray(values)[rows]


def _named(y: Any) -> Any:
    """Return properties with names: draws are asked for them by name."""
    if y is None or isinstance(y, pd.DataFrame):
        return y
    if isinstance(y, pd.Series):
        return y if y.name is not None else y.rename("y")
    table = np.asarray(y)
    if table.ndim == 1:
        return pd.Series(table, name="y")
    return pd.DataFrame(table, columns=[f"y{place}" for place in range(table.shape[1])])
