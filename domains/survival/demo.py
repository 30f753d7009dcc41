"""Fit `SDPMSurvival` on a real trial beside Cox regression and a random forest, and write the report.

    python -m sciffusion.domains.survival.demo --out report

The data are those of the German Breast Cancer Study Group (686 patients). Five-fold cross-validation, all
models with their defaults; the forest needs scikit-survival and is named as missing where that is not
installed. ``--quick`` takes two folds and few training steps: enough to see that all works, not to judge.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sciffusion.datasets import SurvivalDataset, load_gbsg2
from sciffusion.training.global_state import limited_threads

from .estimator import SDPMSurvival
from .evaluation import SCORES, Evaluation, Factory, evaluate
from .peers import CoxPeer, ForestPeer
from .report import ReportContent, write_report
from .report_pictures import save_overview

__all__ = ["OURS", "demo_models", "main", "score_table"]

#: Name of the default model in tables.
OURS = "SDPMSurvival"
#: The same model with a network that has learned nothing: everybody gets the cohort's curve.
NETWORK_OFF = "SDPMSurvival, network off"

_QUICK: dict[str, Any] = {"max_steps": 60, "n_members": 2, "n_draws": 64}


def demo_models(seed: int = 0, peers: bool = True, **parameters: Any) -> dict[str, Factory]:
    """Return the models that are compared, by name.

    Parameters
    ----------
    seed : int
        Of the models.
    peers : bool
        Whether Cox regression and the forest are among them.
    **parameters
        Of `SDPMSurvival`.

    Returns
    -------
    dict of str to callable
        As `evaluate` takes it.
    """
    models: dict[str, Factory] = {OURS: partial(SDPMSurvival, random_state=seed, **parameters)}
    if peers:
        models |= {CoxPeer.name: CoxPeer, ForestPeer.name: partial(ForestPeer, seed)}
    off = {**parameters, "max_steps": 0}
    models[NETWORK_OFF] = partial(SDPMSurvival, random_state=seed, **off)
    return models


def score_table(evaluation: Evaluation) -> str:
    """Return the means over folds as lines of text.

    Parameters
    ----------
    evaluation : Evaluation
        Scores to show.

    Returns
    -------
    str
        One line a model, and one for each that could not be run.
    """
    table = evaluation.summary()
    width = max(len(str(name)) for name in [*table.index, *evaluation.missing])
    heads = [*SCORES.values(), "D-cal. p", "fit s"]
    lines = [" " * width + "".join(f"{head:>11}" for head in heads)]
    for name, row in table.iterrows():
        scores = "".join(f"{row[key]:11.4f}" if key == "ibs" else f"{row[key]:11.3f}" for key in SCORES)
        lines.append(f"{name:{width}}{scores}{row['d_calibration_p']:11.3f}{row['fit_seconds']:11.1f}")
    lines += [f"{name:{width}}  not run: {reason}" for name, reason in evaluation.missing.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> Path:
    """Run the demonstration.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line; ``sys.argv[1:]`` by default.

    Returns
    -------
    Path
        The report.
    """
    options = _parser().parse_args(arguments)
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    data = load_gbsg2()
    models = demo_models(options.seed, **(_QUICK if options.quick else {}))
    folds = 2 if options.quick else 5
    print(
        f"{data.card.title}: {len(data.X)} patients, {int(data.event.sum())} events; {folds} folds",
        flush=True,
    )
    with limited_threads(1), tqdm(total=folds * len(models), unit="fit", file=sys.stderr) as bar:
        evaluation = evaluate(
            models, data.X, data.y, folds=folds, seed=options.seed, progress=partial(_show, bar)
        )
    quick = " --quick" if options.quick else ""
    command = (
        f"python -m {__spec__.name if __spec__ else __name__} --out {shlex.quote(options.out)} "
        f"--seed {options.seed}{quick}"
    )
    path = write_report(
        folder / "index.html", _content(data, evaluation, command, options.seed, options.quick)
    )
    if options.picture:
        save_overview(options.picture, evaluation, OURS, data.card.time_unit)
    print(
        f"\n{score_table(evaluation)}\n\n{evaluation.self_check(OURS)}\n\nReport: {path.resolve()}",
        flush=True,
    )
    return path


def _content(
    data: SurvivalDataset, evaluation: Evaluation, command: str, seed: int, quick: bool
) -> ReportContent:
    card = data.card
    facts = [("study", card.title), ("source", card.citation), ("licence", card.licence)]
    reduced = ("This is a reduced run: two folds and few training steps. Its numbers judge nothing.",)
    return ReportContent(
        evaluation,
        OURS,
        title=f"Recurrence-free survival after breast cancer surgery{' (reduced run)' if quick else ''}",
        time_unit=card.time_unit,
        event_meaning=card.event_meaning,
        facts=facts,
        command=command,
        seed=seed,
        show_covariates=True,
        notes=reduced if quick else (),
    )


def _show(bar: Any, done: int, total: int, what: str) -> None:
    bar.set_description(what)
    bar.update(done - bar.n)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sciffusion.domains.survival.demo",
        description="Fit a diffusion survival model on a real trial beside its peers and write a report.",
    )
    parser.add_argument("--out", default="report", help="folder of the report (report)")
    parser.add_argument("--picture", help="also write a PNG with curves and cohorts to this file")
    parser.add_argument("--seed", type=int, default=0, help="seed of folds and models (0)")
    parser.add_argument("--quick", action="store_true", help="two folds and few steps: to see that all works")
    return parser


if __name__ == "__main__":
    main()
