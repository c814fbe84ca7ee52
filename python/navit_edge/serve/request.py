"""A request for inference as every protocol makes it, and the parameters that it may have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError
from navit_edge.options import checked_int
from navit_edge.policy import Policy
from navit_edge.serve.errors import bad_input
from navit_edge.serve.tracing import TraceContext

#: An encoded file, or pixels uint8 [height_px, width_px(, channels)].
Image: TypeAlias = "bytes | memoryview | npt.NDArray[np.uint8]"

#: Longer texts are no policy.
_MOST_POLICY_CHARACTERS = 256
#: The share of a timeout in which images are to be done; the rest is for the answer.
OF_TIMEOUT = 0.9


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What a client may say of its images; other names are ignored.

    deadline_ms: when the result is wanted, from the arrival of the request. The session's scheduling goes by it; what
        is late is answered all the same.
    timeout_us: after so long the request ends with ``Code.DEADLINE``, and images that are in no pack yet are cancelled:
        Triton's ``timeout``. Without ``deadline_ms`` it is the deadline, too. 0: none.
    priority: higher leaves first.
    policy: how many tokens an image gets.
    top_k: the outputs ``labels`` and ``scores`` have so many classes.
    """

    deadline_ms: float | None = None
    timeout_us: float | None = None
    priority: int = 0
    policy: Policy | None = None
    top_k: int | None = None

    @staticmethod
    def of(values: Mapping[str, Any]) -> Parameters:
        """Of plain values by the names of the protocol. Numbers may be texts, as those of HTTP headers and queries.
        Raises ServeError."""
        timeout_us = _number("timeout", values, "microseconds, 0 for none")
        deadline_ms = _number("deadline_ms", values, "milliseconds, more than 0")
        if deadline_ms == 0:
            raise bad_input("deadline_ms is 0; expected milliseconds, more than 0; leave it out for no deadline")
        top_k = _whole("top_k", values, "how many classes, 1 and up")
        if top_k is not None and top_k < 1:
            raise bad_input(f"top_k is {top_k}; expected how many classes, 1 and up")
        try:
            priority = checked_int("priority", _whole("priority", values, "a whole number of 32 bits") or 0)
        except InvalidInputError as error:
            raise bad_input(str(error)) from None
        return Parameters(
            deadline_ms=deadline_ms,
            timeout_us=timeout_us or None,
            priority=priority,
            policy=_policy(values.get("policy")),
            top_k=top_k,
        )

    @property
    def session_deadline_ms(self) -> float | None:
        """What ``Session.submit`` gets."""
        if self.deadline_ms is None and self.timeout_us is not None:
            return self.timeout_us / 1000.0 * OF_TIMEOUT
        return self.deadline_ms


@dataclass(frozen=True, kw_only=True)
class InferRequest:
    """images: one or more, which were counted and measured against the limits. trace: whose request it is."""

    images: Sequence[Image]
    parameters: Parameters = field(default_factory=Parameters)
    trace: TraceContext | None = None


def _number(name: str, values: Mapping[str, Any], expected: str) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    number = math.nan
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not 0 <= number <= 1e15:
        raise bad_input(f"{name} is {str(value)[:40]!r}; expected {expected}")
    return number


def _whole(name: str, values: Mapping[str, Any], expected: str) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, str) and len(value) < 20:
            return int(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value):
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise bad_input(f"{name} is {str(value)[:40]!r}; expected {expected}")


def _policy(text: Any) -> Policy | None:
    if text is None or text == "":
        return None
    if not isinstance(text, str) or len(text) > _MOST_POLICY_CHARACTERS:
        raise bad_input('policy is no text of a policy; expected one as "fast" or "token-cap:256"')
    try:
        return Policy.parse(text)
    except InvalidInputError as error:
        raise bad_input(f"policy: {error}") from None
