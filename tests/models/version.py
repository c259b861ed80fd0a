"""OUTPUT0 is the number of the version that answers. INPUT0 is not used."""

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, arguments):
        self._version = np.array([int(arguments["model_version"])], np.int32)

    def execute(self, requests):
        return [pb.InferenceResponse([pb.Tensor("OUTPUT0", self._version)]) for _ in requests]
