"""Molecules that a user gives, checked and written in the representation of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .report import InputReport, InvalidMoleculesError, OnInvalid, check_smiles
from .tokenizers import MoleculeTokenizer

__all__ = ["WrittenMolecules", "report_from_dict", "report_to_dict", "write_for_model"]


class WrittenMolecules(list[str]):
    """Strings of the representation of a model, already checked."""


def write_for_model(
    X: Any, tokenizer: MoleculeTokenizer, *, canonical: bool, errors: OnInvalid = "raise", name: str = "X"
) -> tuple[WrittenMolecules, NDArray[np.intp], InputReport]:
    """Check molecules and write them in the representation of a model.

    Parameters
    ----------
    X : sequence of str or of RDKit molecules
        A list, an array, a Series or a frame of one column.
    tokenizer : MoleculeTokenizer
        The representation.
    canonical : bool
        Whether SMILES are first brought into RDKit's canonical form, so that a molecule has one string.
    errors : {"raise", "drop"}
        What happens to rows that are no molecule, or one that the representation cannot hold.
    name : str
        What errors call the argument.

    Returns
    -------
    WrittenMolecules
        The strings of what was read.
    ndarray of int
        Their positions.
    InputReport
        What was left out.

    Raises
    ------
    TypeError
        If X is no such sequence.
    ValueError
        If it is empty, nothing in it can be written, or (with "raise") something cannot.
    """
    checked = check_smiles(X, errors=errors, canonical=canonical, name=name)
    strings, places, refused = WrittenMolecules(), [], []
    for place, smiles in zip(checked.rows.tolist(), checked.smiles, strict=True):
        try:
            string = tokenizer.from_smiles(smiles.strip())
            tokenizer.tokenize(string)
        except ValueError as error:
            refused.append({"row": place, "smiles": smiles, "reason": str(error)})
        else:
            strings.append(string)
            places.append(place)
    report = checked.report
    if refused:
        rows = [*report.invalid.to_dict("records"), *refused]
        invalid = pd.DataFrame(rows).sort_values("row", ignore_index=True)
        report = InputReport(report.n_given, invalid, report.n_repeated)
        if errors == "raise" or not strings:
            hint = "; errors='drop' leaves such rows out" if strings else ": nothing is left"
            raise InvalidMoleculesError(
                f"{name} holds molecules that cannot be written as {tokenizer.name}{hint}. {report}", report
            )
    return strings, np.array(places, dtype=np.intp), report


def report_to_dict(report: InputReport) -> dict[str, Any]:
    """Return a report as plain values."""
    rows = [[int(row), str(smiles), str(why)] for row, smiles, why in report.invalid.itertuples(index=False)]
    return {"n_given": report.n_given, "n_repeated": report.n_repeated, "invalid": rows}


def report_from_dict(values: dict[str, Any]) -> InputReport:
    """Rebuild a report from what `report_to_dict` returned."""
    invalid = pd.DataFrame(
        {
            name: [row[column] for row in values["invalid"]]
            for column, name in enumerate(("row", "smiles", "reason"))
        }
    )
    return InputReport(int(values["n_given"]), invalid, int(values["n_repeated"]))
