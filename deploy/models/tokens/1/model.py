"""Continues a text: after each word comes one that followed it in `CORPUS`, chosen by a generator seeded with the text.

The same input gives the same tokens. Requests run side by side, and one that is cancelled stops at its next token.
"""

import random
import re
import threading
import time
import zlib

import numpy as np
import triton_python_backend_utils as pb

CORPUS = """
A penstock is the gated channel that feeds water to turbines. The gate opens and the water runs down the channel to the
turbines. The turbines turn and the water runs on to the river. When the river is high the gate closes and the water
waits behind the dam. A gateway is the channel that feeds requests to models. The gateway opens and each request runs to
the model that waits for it. When a model is busy the gateway finds the model that is free. The answer runs back to the
one that waits.
"""
MAX_TOKENS = 24
DELAY_MS = 40


class TritonPythonModel:
    def initialize(self, arguments):
        words = re.findall(r"\w+|\.", CORPUS)
        self._after = {}
        for word, following in zip(words, words[1:]):
            self._after.setdefault(word.lower(), []).append(following)

    def execute(self, requests):
        for request in requests:
            text = pb.get_input_tensor_by_name(request, "text_input").as_numpy()[0].decode("utf-8", "replace")
            tokens = self._continue(text, _number(request, "max_tokens", MAX_TOKENS))
            delay = _number(request, "delay_ms", DELAY_MS) / 1000
            threading.Thread(target=_send, args=(request.get_response_sender(), tokens, delay), daemon=True).start()

    def _continue(self, text, count):
        choose = random.Random(zlib.crc32(text.encode()))
        word = (re.findall(r"\w+", text.lower()) or ["the"])[-1]
        for _ in range(count):
            word = choose.choice(self._after.get(word.lower()) or self._after["the"])
            yield word if word == "." else f" {word}"


def _send(sender, tokens, delay):
    for token in tokens:
        time.sleep(delay)
        if sender.is_cancelled():
            break
        sender.send(pb.InferenceResponse([pb.Tensor("text_output", np.array([token.encode()], np.object_))]))
    sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _number(request, name, default):
    tensor = pb.get_input_tensor_by_name(request, name)
    return int(tensor.as_numpy().flat[0]) if tensor is not None else default
