"""OUTPUT0 = INPUT0 + INPUT1, where INPUT1 may be left out and then is 0."""

import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        result = pb.get_input_tensor_by_name(request, "INPUT0").as_numpy()
        other = pb.get_input_tensor_by_name(request, "INPUT1")
        if other is not None:
            result = result + other.as_numpy()
        return pb.InferenceResponse([pb.Tensor("OUTPUT0", result)])
