"""Decoupled, as Triton's `repeat` backend: each element of IN is one response, DELAY[i] ms after the one before.

The model takes its next request WAIT ms after this one. A negative element gives an error in the stream. A cancelled
request ends early; STATE 1 in the request's parameters asks for the totals of that instead: OUT is the number of
requests that were cancelled, IDX the number still running.
"""

import json
import threading
import time

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, arguments):
        self._lock = threading.Lock()
        self._cancelled = 0
        self._running = 0

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            if json.loads(request.parameters()).get("STATE"):
                sender.send(_response(self._cancelled, self._running), flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                continue
            elements, delays, wait = (_numbers(request, name) for name in ("IN", "DELAY", "WAIT"))
            with self._lock:
                self._running += 1
            threading.Thread(target=self._respond, args=(sender, elements, delays), daemon=True).start()
            time.sleep(wait[0] / 1000)

    def _respond(self, sender, elements, delays):
        cancelled = False
        for index, (element, delay) in enumerate(zip(elements, delays)):
            cancelled = _sleep(delay / 1000, sender)
            if cancelled:
                break
            sender.send(_response(element, index) if element >= 0 else _error(f"element {index} is negative"))
        with self._lock:
            self._running -= 1
            self._cancelled += cancelled
        sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _numbers(request, name):
    return pb.get_input_tensor_by_name(request, name).as_numpy().flatten().tolist()


def _sleep(seconds, sender):
    """True as soon as the request is cancelled."""
    end = time.monotonic() + seconds
    while not sender.is_cancelled():
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(left, 0.01))
    return True


def _response(element, index):
    return pb.InferenceResponse(
        [pb.Tensor("OUT", np.array([element], np.int32)), pb.Tensor("IDX", np.array([index], np.uint32))]
    )


def _error(text):
    return pb.InferenceResponse(error=pb.TritonError(text))
