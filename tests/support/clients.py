"""The four flavours of the unmodified tritonclient, behind one blocking face, so that one test is for all of them."""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

FLAVOURS = ("http", "http.aio", "grpc", "grpc.aio")
_MODULES = {
    "http": tritonclient.http,
    "http.aio": tritonclient.http.aio,
    "grpc": tritonclient.grpc,
    "grpc.aio": tritonclient.grpc.aio,
}
WAIT = 20.0


class Client:
    """A tritonclient of one flavour. Unknown attributes are the client's own methods, awaited where they must be."""

    def __init__(self, flavour: str, address: str) -> None:
        self.flavour = flavour
        self.is_http = flavour.startswith("http")
        self.is_aio = flavour.endswith("aio")
        self.library = _MODULES[flavour]
        self._loop = asyncio.new_event_loop() if self.is_aio else None
        options = {"concurrency": 4} if flavour == "http" else {}
        self.raw = (
            self._run(self._make(address)) if self.is_aio else self.library.InferenceServerClient(address, **options)
        )

    async def _make(self, address: str) -> Any:
        return self.library.InferenceServerClient(address)

    def _run(self, awaitable: Any) -> Any:
        assert self._loop is not None
        return self._loop.run_until_complete(asyncio.wait_for(awaitable, WAIT))  # noqa: TID251 - the tests' own loop

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.raw, name)

        def call(*arguments: Any, **options: Any) -> Any:
            result = method(*arguments, **options)
            return self._run(result) if inspect.isawaitable(result) else result

        return call

    def close(self) -> None:
        if self._loop is None:
            self.raw.close()
        else:
            self._run(self.raw.close())
            self._loop.close()

    def input(self, name: str, array: np.ndarray[Any, Any], datatype: str, **options: Any) -> Any:
        tensor = self.library.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, **options)
        return tensor

    def output(self, name: str, **options: Any) -> Any:
        return self.library.InferRequestedOutput(name, **options)

    def infer_all(self, requests: Iterable[dict[str, Any]]) -> list[Any]:
        """All of these at once, each by the flavour's own way to do so; results in the order of the requests."""
        if self.is_aio:
            return self._run(self._gather(list(requests)))
        if self.is_http:
            return [pending.get_result(timeout=WAIT) for pending in [self.raw.async_infer(**one) for one in requests]]
        waiting = [self._callback(one) for one in requests]
        return [_result(*answers.get(timeout=WAIT)) for answers in waiting]

    async def _gather(self, requests: list[dict[str, Any]]) -> list[Any]:
        return await asyncio.gather(*(self.raw.infer(**one) for one in requests))

    def _callback(self, request: dict[str, Any]) -> queue.Queue[Any]:
        answers: queue.Queue[Any] = queue.Queue()
        self.raw.async_infer(callback=lambda result, error: answers.put((result, error)), **request)
        return answers

    def stream(self, requests: list[dict[str, Any]], count: int, **options: Any) -> list[tuple[Any, Any]]:
        """Send these on one gRPC stream and take `count` (result, error) pairs from it."""
        if self.is_aio:
            return self._run(self._stream_aio(requests, count, options))
        answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self.raw.start_stream(callback=lambda result, error: answers.put((result, error)), **options)
        try:
            for request in requests:
                self.raw.async_stream_infer(**request)
            return [answers.get(timeout=WAIT) for _ in range(count)]
        finally:
            self.raw.stop_stream()

    async def _stream_aio(
        self, requests: list[dict[str, Any]], count: int, options: dict[str, Any]
    ) -> list[tuple[Any, Any]]:
        enough = asyncio.Event()

        async def source() -> AsyncIterator[dict[str, Any]]:
            for request in requests:
                yield request
            await enough.wait()

        answers: list[tuple[Any, Any]] = []
        async for answer in self.raw.stream_infer(source(), **options):
            answers.append(answer)
            if len(answers) == count:
                enough.set()
        return answers


def _result(result: Any, error: InferenceServerException | None) -> Any:
    if error is not None:
        raise error
    return result


def run_threads(calls: Iterable[Any]) -> None:
    """Run all of these to their end; the first error is raised."""
    errors: list[BaseException] = []

    def guarded(call: Any) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    if errors:
        raise errors[0]
