"""Decoupled, as the model of Triton's own tests of `generate`: TEXT is PROMPT, once, or REPETITION times with STREAM.

Request parameters: REPETITION, DELAY in seconds before each, FAIL_LAST ends with an error, OUTPUT_0_DIM gives TEXT no
elements.
"""

import json
import time

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            self._answer(request, json.loads(request.parameters()))

    def _answer(self, request, parameters):
        sender = request.get_response_sender()
        prompt = pb.get_input_tensor_by_name(request, "PROMPT").as_numpy()
        text = np.empty((1, 0), np.object_) if parameters.get("OUTPUT_0_DIM") else prompt
        streaming = pb.get_input_tensor_by_name(request, "STREAM").as_numpy().flat[0]
        for _ in range(parameters.get("REPETITION", 1) if streaming else 1):
            time.sleep(parameters.get("DELAY", 0))
            if sender.is_cancelled():
                break
            sender.send(pb.InferenceResponse([pb.Tensor("TEXT", text)]))
        error = pb.InferenceResponse(error=pb.TritonError("An Error Occurred"))
        sender.send(error if parameters.get("FAIL_LAST") else None, flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
