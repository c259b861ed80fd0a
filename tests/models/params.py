"""What the backend sees of a request besides its tensors, as JSON text. INPUT0 is not used."""

import json

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [pb.InferenceResponse([pb.Tensor("OUTPUT0", _text(_describe(request)))]) for request in requests]


def _describe(request):
    return {
        "params": json.loads(request.parameters()),
        "id": request.request_id(),
        "corr": str(request.correlation_id()),
        "flags": request.flags(),
        "timeout": request.timeout(),
        "ro": sorted(request.requested_output_names()),
    }


def _text(value):
    return np.array([json.dumps(value, sort_keys=True).encode()], np.object_)
