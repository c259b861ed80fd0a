"""A small feed-forward network from `weights.npz` beside this file: ReLU between its layers, a softmax at the end.

Both versions of the model have this code; they differ in their weights.
"""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, arguments):
        weights = np.load(Path(arguments["model_repository"]) / arguments["model_version"] / "weights.npz")
        self._layers = [(weights[f"w{i}"], weights[f"b{i}"]) for i in range(len(weights.files) // 2)]

    def execute(self, requests):
        images = [pb.get_input_tensor_by_name(request, "image").as_numpy() for request in requests]
        ends = np.cumsum([len(batch) for batch in images])[:-1]
        return [_response(part) for part in np.split(self._probabilities(np.concatenate(images)), ends)]

    def _probabilities(self, images):
        values = images.reshape(len(images), -1).astype(np.float32) / 255
        for weight, bias in self._layers[:-1]:
            values = np.maximum(values @ weight + bias, 0)
        weight, bias = self._layers[-1]
        return _softmax(values @ weight + bias)


def _softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _response(probabilities):
    label = probabilities.argmax(axis=1, keepdims=True).astype(np.int32)
    return pb.InferenceResponse([pb.Tensor("label", label), pb.Tensor("probabilities", probabilities)])
