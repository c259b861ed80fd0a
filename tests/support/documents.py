"""Bodies of REST inference for model `m` of `model_server`."""

from __future__ import annotations

import json
import struct

LENGTH = "Inference-Header-Content-Length"
BYTES = struct.pack("<3i", 1, 2, 3)
DOCUMENT = {"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [3], "data": [1, 2, 3]}]}
BINARY = {
    "inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [3], "parameters": {"binary_data_size": 12}}],
    "outputs": [{"name": "INPUT0", "parameters": {"binary_data": True}}],
}
INFER = "/v2/models/m/infer"
TEXT = json.dumps(DOCUMENT).encode()
