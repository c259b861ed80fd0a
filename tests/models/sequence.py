"""Stateful models. `kind` is a parameter of the configuration:

`echo` is what the client library's sequence examples expect: OUTPUT = INPUT, plus 1 at START, plus the correlation id
at END where the model is told it. `sum` gives the running sum of a sequence.
"""

import json

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, arguments):
        self._kind = json.loads(arguments["model_config"])["parameters"]["kind"]["string_value"]
        self._sums = {}

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        value = pb.get_input_tensor_by_name(request, "INPUT").as_numpy()
        controls = {name: _control(request, name) for name in ("START", "END", "CORRID")}
        result = value + (self._sum if self._kind == "sum" else _echo)(value, controls)
        return pb.InferenceResponse([pb.Tensor("OUTPUT", result.astype(np.int32))])

    def _sum(self, value, controls):
        before = 0 if controls["START"] else self._sums[controls["CORRID"]]
        self._sums[controls["CORRID"]] = before + int(value.flat[0])
        if controls["END"]:
            del self._sums[controls["CORRID"]]
        return before


def _echo(value, controls):
    return (1 if controls["START"] else 0) + (controls["CORRID"] if controls["END"] else 0)


def _control(request, name):
    tensor = pb.get_input_tensor_by_name(request, name)
    return int(tensor.as_numpy().flat[0]) if tensor is not None else 0
