"""Options that several commands have, written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")


def option_group(options: Callable[..., Any], argument: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """A decorator that gives a command the options of ``options``, and its ``argument`` what that makes of them."""
    added = inspect.signature(options, eval_str=True).parameters

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> R:
            given = {name: kwargs.pop(name, parameter.default) for name, parameter in added.items()}
            return function(*args, **{argument: options(**given)}, **kwargs)

        own = inspect.signature(function, eval_str=True)
        parameters = [parameter for parameter in own.parameters.values() if parameter.name != argument]
        keyword_only = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in added.values()]
        first = [one for one in parameters if one.kind is not inspect.Parameter.KEYWORD_ONLY]
        last = [one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
        signature = own.replace(parameters=[*first, *last, *keyword_only])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
        return run

    return decorate
