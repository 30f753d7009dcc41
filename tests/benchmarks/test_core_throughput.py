"""The throughput benchmark in miniature: equal work, sane numbers, and bars that can be missed."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from core_throughput import BARE, OURS, PEER, bare_run, make_network, our_run, run_all, throughput_bars

from sciffusion.continuous import DPMSolverMultistep


def test_the_programs_do_the_same_work() -> None:
    table, overhead = run_all((0.0, 0.1), n_steps=4, rounds=1)
    assert set(table["program"]) >= {OURS, BARE}
    assert float(table["differs by"].max()) < 1e-4
    assert bool((table["samples / s"] > 0.0).all())
    assert bool((table.loc[table["program"] == BARE, "of bare loop"] == 1.0).all())
    assert bool((overhead["us / step"] > 0.0).all())
    calls = []
    start = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    for run in (bare_run, lambda *given: our_run(*given, DPMSolverMultistep(1))):
        counted: list[float] = []
        calls.append(counted)
        run(lambda x, time, counted=counted: (counted.append(float(time)), 0.5 * x)[1], 7, start)()
    assert calls[0] == pytest.approx(calls[1])
    assert len(calls[0]) == 7


def test_networks_take_the_time_asked_for() -> None:
    cheap, dear = make_network(0.2), make_network(2.0)
    x, time = torch.zeros(64, 64), torch.tensor(0.5)
    seconds = []
    for network in (cheap, dear):
        _, cost = min((_cost(network, x, time) for _ in range(5)), key=lambda pair: pair[1])
        seconds.append(cost)
    assert seconds[1] > 4.0 * seconds[0]


def _cost(network: object, x: torch.Tensor, time: torch.Tensor) -> tuple[None, float]:
    import time as clock

    start = clock.process_time()
    network(x, time)  # type: ignore[operator]
    return None, clock.process_time() - start


def test_bars_are_missed_by_a_slow_or_wrong_driver() -> None:
    rows = [
        {"network ms": 5.0, "program": name, "of bare loop": ratio, "differs by": gap}
        for name, ratio, gap in ((OURS, 1.02, 1e-6), (PEER, 1.5, 1.0), (BARE, 1.0, 0.0))
    ]
    table = pd.DataFrame(rows)
    assert [bar.reached for bar in throughput_bars(table, reduced=False)] == [True, True]
    assert [bar.reached for bar in throughput_bars(table, reduced=True)] == [True, None]
    table.loc[0, "of bare loop"] = 1.06
    table.loc[0, "differs by"] = 0.1
    assert [bar.reached for bar in throughput_bars(table, reduced=False)] == [False, False]
