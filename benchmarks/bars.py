"""Bars: what a benchmark's claim asks of its numbers, and how `--check` reports them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Bar", "bars_text", "check_exit_code", "compare"]


@dataclass(frozen=True)
class Bar:
    """One bar: reached (True), missed (False) or not checked (None), with the numbers behind it."""

    name: str
    reached: bool | None
    detail: str

    def line(self) -> str:
        """Give the bar in one line."""
        word = {True: "reached", False: "MISSED", None: "not checked"}[self.reached]
        return f"{word}: {self.name} ({self.detail})"


def compare(name: str, value: float, limit: float, *, at_most: bool, unit: str = "") -> Bar:
    """Give the bar that a measured value stays on the right side of a limit (NaN misses it)."""
    reached = value <= limit if at_most else value >= limit
    sign = "<=" if at_most else ">="
    return Bar(name, bool(reached), f"{value:.4g}{unit}, asked {sign} {limit:.4g}{unit}")


def bars_text(bars: Sequence[Bar]) -> str:
    """Give the bars as a list in Markdown."""
    return "\n".join(f"- {bar.line()}" for bar in bars)


def check_exit_code(bars: Sequence[Bar]) -> int:
    """Print every bar; 1 if one was missed, else 0."""
    for bar in bars:
        print(bar.line())
    return int(any(bar.reached is False for bar in bars))
