"""SUM = A + B, DIFFERENCE = A - B."""

import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        a, b = (pb.get_input_tensor_by_name(request, name).as_numpy() for name in "AB")
        if a.shape != b.shape:
            error = f"A and B differ in shape: {list(a.shape)} and {list(b.shape)}"
            return pb.InferenceResponse(error=pb.TritonError(error, pb.TritonError.INVALID_ARG))
        return pb.InferenceResponse([pb.Tensor("SUM", a + b), pb.Tensor("DIFFERENCE", a - b)])
