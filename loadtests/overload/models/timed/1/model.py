"""Sleeps for a time that varies by half around its mean, and says when it began.

It sleeps, so that its capacity is its number of instances over its mean time, and not what the cores have left.
"""

import json
import random
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """BEGAN, INT64[1], is the machine's monotonic clock in nanoseconds when the execution began."""

    def initialize(self, args):
        """Read the parameter."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._seconds = float(parameters["seconds"]["string_value"])

    def execute(self, requests):
        """One response for each request; there is one request in a batch."""
        return [self._answer() for _ in requests]

    def _answer(self):
        began = np.array([[time.monotonic_ns()]], dtype=np.int64)
        time.sleep(self._seconds * random.uniform(0.5, 1.5))
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("BEGAN", began)])
