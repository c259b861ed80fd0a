"""Takes its configured time for each request, one after the other, and answers with the number of its server.

It sleeps, so that what decides is where requests queue and not how a few cores are shared.
"""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """SERVER is the parameter `server`, INT32[1]; it comes after `seconds` seconds."""

    def initialize(self, args):
        """Read the parameters."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._seconds = float(parameters["seconds"]["string_value"])
        self._server = np.array([[int(parameters["server"]["string_value"])]], dtype=np.int32)

    def execute(self, requests):
        """One response for each request; there is one request in a batch."""
        return [self._answer() for _ in requests]

    def _answer(self):
        time.sleep(self._seconds)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("SERVER", self._server)])
