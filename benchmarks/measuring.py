"""What a call costs: CPU seconds of this process and peak memory.

CPU seconds count every thread of the process, so they do not depend on how busy the machine is with other
work. Peak memory is the highest resident set during the call minus the resident set before it, from the
kernel's own high-water mark (Linux; NaN elsewhere). Freed memory is handed back to the system first, so
that a call is not charged too little because it reuses what an earlier one left behind.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Cost", "limit_threads", "measure"]

MEGABYTE = 2.0**20


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds, and peak memory above the start in MiB."""

    cpu_seconds: float
    wall_seconds: float
    peak_megabytes: float


def _status_megabytes(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return float(line.split()[1]) * 1024 / MEGABYTE
    return float("nan")


def _reset_high_water_mark() -> bool:
    """Set the peak resident set to the present one; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def limit_threads() -> None:
    """Keep every numerical library of this process on one thread: CPU seconds of many are not comparable."""
    from threadpoolctl import threadpool_limits

    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # libraries that are loaded later read these
    threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def measure(call: Callable[[], Any]) -> tuple[Any, Cost]:
    """Run a call and give its value with its cost."""
    counted = _reset_high_water_mark()
    before = _status_megabytes("VmRSS") if counted else float("nan")
    cpu, wall = time.process_time(), time.perf_counter()
    value = call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = _status_megabytes("VmHWM") - before if counted else float("nan")
    return value, Cost(cpu, wall, max(peak, 0.0) if counted else peak)
