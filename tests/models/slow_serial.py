"""Sleeps for INPUT0 seconds, one request after the other, so that a queue forms in Triton. OUTPUT0 = INPUT0."""

import time

import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(pb.get_input_tensor_by_name(request, "INPUT0").as_numpy()) for request in requests]

    def _answer(self, seconds):
        time.sleep(float(seconds.flat[0]))
        return pb.InferenceResponse([pb.Tensor("OUTPUT0", seconds)])
