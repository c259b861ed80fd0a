"""What a call is charged, by the unit of a limit: at least one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from routing.call import Call
from routing.reading import PREFIX_BYTES, is_written, request_of
from transcoding.message import InferRequest

Cost = Callable[[Call], int]

MAX_TOKENS: Final = "max_tokens"
"""The parameter of a request, as OpenAI's API and vLLM's backend for Triton have it."""


def cost_of(unit: str, estimate: int = 1) -> Cost:
    """How to find it for a unit of "requests", "items", "bytes" or "tokens"; of the last, `estimate` where the call
    does not ask for less."""
    return _COSTS[unit] if unit != "tokens" else partial(_tokens, estimate)


def _requests(call: Call) -> int:
    return 1


def _items(call: Call) -> int:
    """The batch: the first dimension of the first input."""
    request = _request(call)
    shape = request.inputs[0].shape if request is not None and request.inputs else ()
    return max(1, shape[0]) if shape else 1


def _bytes(call: Call) -> int:
    return max(1, sum(map(len, call.message)) - PREFIX_BYTES)


def _tokens(estimate: int, call: Call) -> int:
    request = _request(call)
    asked = request.parameters.get(MAX_TOKENS) if request is not None and request.parameters else None
    return max(1, min(asked, estimate)) if type(asked) is int else estimate


def _request(call: Call) -> InferRequest | None:
    """The request as tensors, None for one that has none. Raises `GatewayError` for a malformed one."""
    if call.infer is None and not (is_written(call) and call.method.kind in ("infer", "stream")):
        return None
    return request_of(call)


_COSTS: Final[dict[str, Cost]] = {"requests": _requests, "items": _items, "bytes": _bytes}
