"""Sleeps for INPUT0 seconds, all requests at once, and notices when one is cancelled.

OUTPUT0 is the seconds slept, CANCELLED the number of requests that were cancelled in their sleep since the model was
loaded, RUNNING the number asleep now, this one not counted. So a request of 0 seconds reads the counts.
"""

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
            seconds = float(pb.get_input_tensor_by_name(request, "INPUT0").as_numpy().flat[0])
            threading.Thread(target=self._sleep, args=(request.get_response_sender(), seconds), daemon=True).start()

    def _sleep(self, sender, seconds):
        began = time.monotonic()
        with self._lock:
            self._running += 1
        cancelled = sender.is_cancelled()
        while not cancelled and (left := began + seconds - time.monotonic()) > 0:
            time.sleep(min(left, 0.01))
            cancelled = sender.is_cancelled()
        with self._lock:
            self._running -= 1
            self._cancelled += cancelled
            counts = self._cancelled, self._running
        sender.send(_response(time.monotonic() - began, *counts), flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _response(seconds, cancelled, running):
    return pb.InferenceResponse(
        [
            pb.Tensor("OUTPUT0", np.array([seconds], np.float32)),
            pb.Tensor("CANCELLED", np.array([cancelled], np.int32)),
            pb.Tensor("RUNNING", np.array([running], np.int32)),
        ]
    )
