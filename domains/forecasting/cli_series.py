"""From the files and options of ``sciffusion forecast`` to frames and models, and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sciffusion.estimators.csv_tables import read_table

from .cli_options import names_of, numbers_of
from .csv_input import ONLY_SERIES, SeriesColumns, read_series
from .forecaster import DiffusionForecaster
from .frame_output import draws_frame
from .frames import panel_of_frame
from .panel import Panel

__all__ = ["FileOfSeries", "filled_frame", "load_model", "new_model", "without_only_id"]


def new_model(
    horizon: int,
    id_col: str,
    time_col: str,
    target: str,
    past: str,
    future: str,
    static: str,
    season_length: str,
    frequency: str,
    *,
    max_steps: int | None,
    no_network: bool,
    device: str,
    seed: int,
) -> DiffusionForecaster:
    """Return the forecaster that the options ask for."""
    targets = names_of(target)
    if not targets:
        raise ValueError("--target must name at least one column")
    seasons = [_whole(season) for season in numbers_of(season_length, "--season-length")]
    given: dict[str, Any] = {} if max_steps is None else {"max_steps": max_steps}
    return DiffusionForecaster(
        horizon=horizon,
        season_length=None if not seasons else seasons[0] if len(seasons) == 1 else seasons,
        network_off=no_network,
        past_covariates=names_of(past),
        future_covariates=names_of(future),
        static_covariates=names_of(static),
        target=targets[0] if len(targets) == 1 else targets,
        id_col=id_col,
        time_col=time_col,
        frequency=frequency or None,
        device=device,
        random_state=seed,
        **given,
    )


def _whole(number: float) -> int:
    if number != int(number):
        raise ValueError(f"--season-length must be whole numbers, found {number:g}")
    return int(number)


def load_model(path: Path, device: str) -> DiffusionForecaster:
    """Load a model from a file.

    Raises
    ------
    FileNotFoundError
        If there is none, with what makes one.
    ValueError
        If the file holds no forecaster of frames.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no model file {str(path)!r}; make one with `sciffusion forecast fit`, or name another "
            "with --model"
        )
    model = DiffusionForecaster.load(path)
    if not model.framed_:
        raise ValueError(
            f"the model in {str(path)!r} was fitted on an array; fit it on a frame, or with `sciffusion "
            "forecast fit`"
        )
    model.set_params(device=device)
    return model


@dataclass(frozen=True)
class FileOfSeries:
    """How the files of a model are read."""

    columns: SeriesColumns
    separator: str

    @classmethod
    def of(cls, model: DiffusionForecaster, time_format: str, separator: str) -> FileOfSeries:
        """Return how the files of a model, fitted or not, are read."""
        target = (model.target,) if isinstance(model.target, str) else tuple(model.target)
        panel: Panel | None = getattr(model, "panel_", None)
        id_type = None if panel is None else panel.frame_format.id_dtype
        only = panel is None or panel.ids == (ONLY_SERIES,)
        columns = SeriesColumns(
            model.id_col, model.time_col, target,
            tuple(model.past_covariates), tuple(model.future_covariates), tuple(model.static_covariates),
            id_optional=only and model.id_col == _DEFAULT_ID, time_format=time_format,
            id_type=id_type if id_type is not None and id_type.lower().startswith(("int", "uint")) else None,
        )  # fmt: skip
        return cls(columns, separator)

    def read(self, path: Path, *, ahead: bool = False) -> pd.DataFrame:
        """Return the series of a file, or the covariates of the rows ahead."""
        return read_series(read_table(path, self.separator), self.columns, without_target=ahead)


_DEFAULT_ID = "unique_id"


def filled_frame(model: DiffusionForecaster, frame: pd.DataFrame | None) -> pd.DataFrame:
    """Return a frame with a row for every step of each series, NaN where there was none.

    Parameters
    ----------
    model : DiffusionForecaster
        Fitted or not.
    frame : DataFrame or None
        None for the series that the model was fitted to.
    """
    panel: Panel | None = getattr(model, "panel_", None)
    if frame is not None:
        panel = panel_of_frame(
            frame, id_col=model.id_col, time_col=model.time_col, target=model.target,
            frequency=None if panel else model.frequency, past=model.past_covariates,
            future=model.future_covariates, static=model.static_covariates,
            min_observed=0, gaps="fill", like=panel,
        )  # fmt: skip
    assert panel is not None
    stamps = draws_frame(panel, panel.values[:, None], steps=panel.steps)
    own = (panel.steps > (panel.last_step - panel.lengths)[:, None]).reshape(-1)
    rows = stamps.loc[own, [model.id_col, model.time_col]].reset_index(drop=True)
    if frame is None:
        return stamps[own].drop(columns="sample_id").reset_index(drop=True)
    wide: Any = rows.merge(frame, on=[model.id_col, model.time_col], how="left")
    static = list(model.static_covariates)
    if static:
        wide[static] = wide.groupby(model.id_col, sort=False)[static].transform("first")
    return pd.DataFrame(wide)


def without_only_id(frame: pd.DataFrame, id_col: str) -> pd.DataFrame:
    """Return a frame without the ids where the file had none."""
    return frame.drop(columns=id_col) if (frame[id_col] == ONLY_SERIES).all() else frame
