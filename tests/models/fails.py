"""Fails as INPUT0 says: 0 raises, 1 to 8 are the codes of `TritonError` in the order below, 9 has no code.

Any other number comes back as OUTPUT0.
"""

import triton_python_backend_utils as pb

CODES = (
    "UNKNOWN",
    "INTERNAL",
    "NOT_FOUND",
    "INVALID_ARG",
    "UNAVAILABLE",
    "UNSUPPORTED",
    "ALREADY_EXISTS",
    "CANCELLED",
)


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(pb.get_input_tensor_by_name(request, "INPUT0").as_numpy()) for request in requests]

    def _answer(self, value):
        which = int(value.flat[0])
        if which == 0:
            raise RuntimeError("boom exception")
        if which <= len(CODES):
            return pb.InferenceResponse(error=pb.TritonError(f"err{which}", getattr(pb.TritonError, CODES[which - 1])))
        if which == 9:
            return pb.InferenceResponse(error=pb.TritonError("default code"))
        return pb.InferenceResponse([pb.Tensor("OUTPUT0", value)])
