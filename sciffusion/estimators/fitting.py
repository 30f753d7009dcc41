"""Nothing half-fitted: a fit happens as a whole or not at all.

Fitted attributes end in an underscore, private ones too (``_network_``), and no other attribute may be set by
a fit. `all_or_nothing` first removes those of an earlier fit, so that none of them can survive beside new
ones; if the fit then fails, for whatever reason, the estimator is put back as it was before the call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

__all__ = ["all_or_nothing", "is_fitted_attribute"]

_Self = TypeVar("_Self")
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Method = Callable[Concatenate[_Self, _Arguments], _Result]


def is_fitted_attribute(name: str) -> bool:
    """Tell whether an attribute of this name belongs to a fit."""
    return name.endswith("_") and not name.endswith("__")


@overload
def all_or_nothing(method: _Method[_Self, _Arguments, _Result]) -> _Method[_Self, _Arguments, _Result]: ...
@overload
def all_or_nothing(
    *, fresh: bool
) -> Callable[[_Method[_Self, _Arguments, _Result]], _Method[_Self, _Arguments, _Result]]: ...
def all_or_nothing(method: Any = None, *, fresh: bool = True) -> Any:
    """Make a fit method leave the estimator unchanged when it fails.

    Parameters
    ----------
    method : callable
        The method; use as ``@all_or_nothing`` or ``@all_or_nothing(fresh=False)``.
    fresh : bool
        Remove the fitted attributes of an earlier fit first; False for `partial_fit` and warm starts, which
        must then replace what they change and not change it in place.
    """
    if method is None:
        return functools.partial(all_or_nothing, fresh=fresh)

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(vars(self))
        if fresh:
            for name in [name for name in before if is_fitted_attribute(name)]:
                delattr(self, name)
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return wrapper
