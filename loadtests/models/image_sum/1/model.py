"""The sum of an image's values: a large request with a small answer."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """SUM = the sum of all values of IMAGE, added up in FP64, one for each image of the batch."""

    def execute(self, requests):
        """One response for each request of the batch."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        image = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy()
        total = image.sum(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("SUM", total.reshape(-1, 1))])
