"""How good are the two versions? Asks both about every held-out digit, over gRPC, with the unchanged Triton client."""

import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

held_out = np.load(Path(__file__).with_name("held_out.npz"))
client = triton.InferenceServerClient(sys.argv[1])

for version in ("1", "2"):
    right = 0
    for start in range(0, len(held_out["images"]), 60):
        images = held_out["images"][start : start + 60]
        image = triton.InferInput("image", images.shape, "UINT8").set_data_from_numpy(images)
        labels = client.infer("digits", [image], model_version=version).as_numpy("label")[:, 0]
        right += int((labels == held_out["labels"][start : start + 60]).sum())
    print(f"version {version}: {right} of {len(held_out['images'])} right")

# mypy: disallow-untyped-calls=False
