"""A self-contained HTML report of a cross-validated comparison.

One file: pictures are inlined, nothing is loaded from elsewhere, there is no script, and every text that
comes from the data is escaped. The file appears as a whole or not at all. Sentences about results are made
from the numbers shown beside them.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd

from sciffusion.training.checkpoints import write_atomically

from .evaluation import SCORES, Evaluation
from .report_pictures import EXAMPLE_LABELS, calibration_pictures, cohort_picture, patient_picture
from .self_check import SelfCheck

__all__ = ["ReportContent", "write_report"]

_HIGHER_IS_BETTER = {"harrell": True, "uno": True, "ibs": False, "auc": True}
_PACKAGES = ("sciffusion", "torch", "numpy", "pandas", "scikit-learn", "lifelines", "scikit-survival")


@dataclass(frozen=True)
class ReportContent:
    """What a report is about.

    Attributes
    ----------
    evaluation : Evaluation
        The comparison.
    model : str
        Name of the model whose curves and checks are shown; it must be one that draws.
    title : str
        Heading.
    time_unit : str
        Unit of the times, such as "days since operation".
    event_meaning : str
        What the event is, such as "died".
    facts : sequence of (str, str)
        What is known about the data besides their size: source, licence, ...
    command : str
        What the reader would type to make the report again.
    seed : int
        Of the evaluation.
    show_covariates : bool
        Whether to print the covariates of the patients shown; leave it False where the report may reach
        readers who must not see patients' data.
    notes : sequence of str
        Further remarks for the last section.
    """

    evaluation: Evaluation
    model: str
    title: str
    time_unit: str = ""
    event_meaning: str = ""
    facts: Sequence[tuple[str, str]] = ()
    command: str = ""
    seed: int = 0
    show_covariates: bool = False
    notes: Sequence[str] = ()


def write_report(path: str | PathLike[str], content: ReportContent) -> Path:
    """Write the report.

    Parameters
    ----------
    path : path-like
        The HTML file; replaced if it is there, once the new one is complete. Its folder must exist.
    content : ReportContent
        What to report.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImportError
        If matplotlib (extra ``plots``) is not installed.
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If `content.model` does not draw observations, or is not in the evaluation.
    """
    if content.model not in content.evaluation.held_out:
        raise ValueError(f"model must be one of {list(content.evaluation.held_out)}, got {content.model!r}")
    check = content.evaluation.self_check(content.model)
    template = resources.files(__package__).joinpath("report_template.html").read_text(encoding="utf-8")
    page = Template(template).substitute(
        title=escape(content.title),
        subtitle=_subtitle(content),
        glance=_glance(content, check),
        data=_facts(_data_facts(content)),
        comparison=_comparison(content),
        patients=_patients(content),
        cohorts=_cohorts(content, check),
        calibration=_calibration(content),
        provenance=_facts(_provenance(content)),
        limits=_limits(content),
    )
    write_atomically(path, lambda file: file.write(page.encode("utf-8")))
    return Path(path)


# -------------------------------------------------------------------- sections


def _subtitle(content: ReportContent) -> str:
    evaluation = content.evaluation
    events = int(evaluation.target.event.sum())
    return escape(
        f"{len(evaluation.target)} patients, {events} events, {evaluation.n_folds}-fold cross-validation. "
        "All scores, curves and checks are for patients that the model in question had not seen."
    )


def _glance(content: ReportContent, check: SelfCheck) -> str:
    table = content.evaluation.summary()
    ours = table.loc[content.model]
    sentences = [
        f"{content.model} puts {ours['harrell']:.1%} of the comparable pairs of patients in the right order "
        f"(Harrell C; chance gives 50%). Its integrated Brier score is {ours['ibs']:.4f}; lower is better."
    ]
    sentences += [
        _against(content.evaluation, content.model, str(other)) for other in _others(table, content)
    ]
    worst = {
        "as expected": "all self-checks came out as expected",
        "questionable": "at least one self-check is questionable: see below before using the model",
        "failed": "at least one self-check failed: do not use the model before understanding why",
    }[check.verdict]
    sentences.append(f"Generated patients against observed ones: {worst}.")
    sentences.append(_agreement(content))
    return _paragraphs(sentences)


def _agreement(content: ReportContent) -> str:
    """Say whether predicted and observed survival agree at the reference time."""
    result = content.evaluation.one_calibration(content.model)
    unit = f" {content.time_unit.split(' ')[0]}" if content.time_unit else ""
    start = f"At the median time of the events ({result.time:.4g}{unit})"
    if not np.isfinite(result.p_value):
        return f"{start} the observed survival is not known well enough to judge the predicted one."
    says = (
        "differ by more than chance explains"
        if result.p_value < 0.05
        else "do not differ by more than chance explains"
    )
    return f"{start} predicted and observed survival {says} (chi-square p = {_number(result.p_value, 3)})."


def _others(table: pd.DataFrame, content: ReportContent) -> Iterable[str]:
    return [str(name) for name in table.index if name != content.model]


def _against(evaluation: Evaluation, ours: str, other: str) -> str:
    """Compare two models on the IBS, fold by fold."""
    wide = evaluation.scores.pivot(index="fold", columns="model", values="ibs")
    difference = wide[ours] - wide[other]
    mean, error = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))
    if not np.isfinite(mean):
        return f"The Brier scores cannot be compared with those of {other}: a fold is undefined."
    side = "lower (better)" if mean < 0 else "higher (worse)"
    clear = "more" if abs(mean) > 2 * error else "not more"
    return (
        f"Against {other} the integrated Brier score is {abs(mean):.4f} {side} on average; that is {clear} "
        f"than twice its standard error over the folds ({error:.4f})."
    )


def _data_facts(content: ReportContent) -> list[tuple[str, str]]:
    target, X = content.evaluation.target, content.evaluation.X
    missing, median = int(X.isna().any(axis=1).sum()), float(np.median(target.time))
    event = f" ({content.event_meaning})" if content.event_meaning else ""
    unit = f" {content.time_unit}" if content.time_unit else ""
    return [
        *content.facts,
        ("patients", f"{len(X)}, of whom {missing} with missing values"),
        ("covariates", ", ".join(map(str, X.columns))),
        ("events", f"{int(target.event.sum())}{event}; {1 - target.event.mean():.1%} of the rows censored"),
        (
            "follow-up",
            f"{target.time.min():g} to {target.time.max():g}{unit}, median {median:g}",
        ),
    ]


def _comparison(content: ReportContent) -> str:
    evaluation, table = content.evaluation, content.evaluation.summary()
    heads = "".join(
        f'<th class="number" scope="col">{name}'
        f"<small>{'higher' if _HIGHER_IS_BETTER[key] else 'lower'} is better</small></th>"
        for key, name in SCORES.items()
    )
    rows = [_model_row(str(name), row, str(name) == content.model) for name, row in table.iterrows()]
    rows += [
        f'<tr><th scope="row">{escape(name)}</th><td colspan="6">not run: {escape(reason)}</td></tr>'
        for name, reason in evaluation.missing.items()
    ]
    return (
        '<div class="scroll"><table><thead><tr><th scope="col">model</th>'
        f'{heads}<th class="number" scope="col">D-calibration p<small>all folds together</small></th>'
        '<th class="number" scope="col">fit<small>seconds</small></th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="note">Means over {evaluation.n_folds} folds, &plusmn; standard error over them (folds '
        "share training patients, so it is somewhat too small). Harrell C and Uno C: share of pairs put in "
        "the right order. IBS: mean squared error of the predicted probabilities over time. Mean AUC: "
        "telling early from late events, averaged over time. D-calibration p: below .05 the predicted "
        "probabilities disagree with what happened; censoring makes the test cautious. Seconds are wall "
        "time of one fit on this machine.</p>"
    )


def _model_row(name: str, row: pd.Series[float], ours: bool) -> str:
    cells = "".join(
        f'<td class="number">{_number(row[key], 4 if key == "ibs" else 3)}'
        f"<small>&plusmn; {_number(row[f'{key}_se'], 4 if key == 'ibs' else 3)}</small></td>"
        for key in SCORES
    )
    p_value = row["d_calibration_p"]
    shown = "&lt; .001" if p_value < 1e-3 else _number(p_value, 3)
    return (
        f'<tr class="{"ours" if ours else "other"}"><th scope="row">{escape(name)}</th>{cells}'
        f'<td class="number">{shown}</td><td class="number">{row["fit_seconds"]:.1f}</td></tr>'
    )


def _patients(content: ReportContent) -> str:
    evaluation = content.evaluation
    model = evaluation.held_out[content.model].last_fit
    picture = patient_picture(evaluation, content.model, content.time_unit)
    members = model._settings_.n_members
    band = (
        f"The bands show the range of the model's {members} networks, which differ in their starting weights "
        "and in the patients that each kept back: what training leaves open. They are not confidence "
        "intervals, and not the range in which a patient's own time falls."
        if members > 1
        else "The model is one network, so no band can be drawn."
    )
    caption = (
        "Predicted survival of three held-out patients of the last fold, at the 10th, 50th and 90th "
        f"percentile of predicted risk. Filled circle: the event happened then; open circle: "
        f"observation ended then. {band}"
    )
    table = _patient_table(evaluation, content.model) if content.show_covariates else ""
    return _figure(picture, "Survival curves of three patients", caption) + table


def _patient_table(evaluation: Evaluation, model: str) -> str:
    rows, target = evaluation.example_rows(model), evaluation.target
    X = evaluation.X.iloc[rows]
    heads = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in ["", *X.columns, "outcome"])
    body = ""
    for place, (row, label) in enumerate(zip(rows, EXAMPLE_LABELS, strict=True)):
        outcome = f"{'event' if target.event[row] else 'censored'} at {target.time[row]:g}"
        values = [*(_cell(value) for value in X.iloc[place]), outcome]
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        body += f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>'
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _cohorts(content: ReportContent, check: SelfCheck) -> str:
    picture = cohort_picture(check, content.time_unit)
    caption = (
        "One observation drawn for every held-out patient, against what was observed. The band is for each "
        "time on its own."
    )
    rows = "".join(
        f'<tr><td class="verdict {finding.verdict.split()[-1]}">{escape(finding.verdict)}</td>'
        f"<td>{escape(finding.name)}</td><td>{escape(finding.text)}</td></tr>"
        for finding in check.findings
    )
    return (
        _figure(picture, "Kaplan-Meier curves of observed and generated patients", caption)
        + '<table><thead><tr><th scope="col">self-check</th><th scope="col"></th>'
        + f'<th scope="col">what was found</th></tr></thead><tbody>{rows}</tbody></table>'
        + '<p class="note">These checks look at the cohort as a whole: a model that gives everybody the same '
        "curve passes them too. Whether patients are told apart is a matter of the table above.</p>"
    )


def _calibration(content: ReportContent) -> str:
    evaluation, name = content.evaluation, content.model
    one, distribution = calibration_pictures(evaluation, name, content.time_unit)
    result = evaluation.one_calibration(name)
    shown = int(np.isfinite(result.observed).sum())
    left = _figure(
        one,
        "Predicted against observed survival at one time",
        f"{shown} groups of about {len(evaluation.target) // len(result.counts)} patients by predicted "
        "probability, at the median time of the events. On the diagonal prediction and observation agree; "
        f"the distance of all groups from it has chi-square p = {_number(result.p_value, 3)}.",
    )
    p_value = evaluation.d_calibration(name).p_value
    right = _figure(
        distribution,
        "Histogram of predicted survival at the observed times",
        "Over all times together (D-calibration): each bar should reach the line; the band is where 95 % of "
        "bars fall by chance without censoring, and fewer stray with it. Long bars at the left: patients "
        f"live longer than predicted. p = {_number(p_value, 3)}.",
    )
    return f'<div class="pair">{left}{right}</div>'


def _provenance(content: ReportContent) -> list[tuple[str, str]]:
    installed = []
    for package in _PACKAGES:
        try:
            installed.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    facts = [
        ("date", datetime.now(UTC).strftime("%Y-%m-%d")),
        ("seed", str(content.seed)),
        ("protocol", f"{content.evaluation.n_folds} folds with equal shares of events, shuffled by the seed"),
        ("software", f"Python {platform.python_version()}; {', '.join(installed)}"),
    ]
    return [*([("command", content.command)] if content.command else []), *facts]


def _limits(content: ReportContent) -> str:
    last = content.evaluation.target.time.max()
    unit = f" {content.time_unit}" if content.time_unit else ""
    texts = [
        "Cross-validation within one data set says nothing about patients of other places or later years. "
        "Validate on them before any use in care.",
        "All models assume that, among patients with the same covariates, censoring has nothing to do with "
        "the event. The data cannot show whether that holds.",
        f"Nothing is known beyond the longest follow-up of {last:g}{unit}; curves end there.",
        "Predictions are associations: a curve for another treatment is not the effect of changing the "
        "treatment.",
        "No settings were tuned for this report. The other models run with one common setting each; tuned, "
        "they might do better.",
        "A curve speaks for patients like this one on average. Bands around curves show the randomness of "
        "training only.",
        *content.notes,
    ]
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


# -------------------------------------------------------------------- pieces


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{_fact(name, text)}</td></tr>' for name, text in facts
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def _fact(name: str, text: str) -> str:
    return f"<code>{escape(text)}</code>" if name == "command" else escape(text)


def _figure(picture: str, description: str, caption: str) -> str:
    return (
        f'<figure><img alt="{escape(description)}" src="{picture}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _paragraphs(texts: Sequence[str]) -> str:
    return "\n".join(f"<p>{escape(text)}</p>" for text in texts)


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "undefined"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "missing" if np.isnan(value) else f"{value:g}"
    return str(value)
