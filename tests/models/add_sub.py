"""OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1; BYTES are decimal numbers in text."""

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        left, right = (pb.get_input_tensor_by_name(request, name).as_numpy() for name in ("INPUT0", "INPUT1"))
        if left.dtype == np.object_:
            try:
                left, right = left.astype(np.int64), right.astype(np.int64)
            except ValueError as error:
                return pb.InferenceResponse(error=pb.TritonError(str(error), pb.TritonError.INVALID_ARG))
            results = [_text(left + right), _text(left - right)]
        else:
            results = [left + right, left - right]
        return pb.InferenceResponse([pb.Tensor(f"OUTPUT{i}", result) for i, result in enumerate(results)])


def _text(numbers):
    return np.array([str(number).encode() for number in numbers.flat], dtype=np.object_).reshape(numbers.shape)
