"""The demo's three calls, each shown as a user would type it, with its answer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.demo.curl import TIMEOUT_S, direct, post
from deploy.demo.picture import bars, beside, draw, read_png
from deploy.demo.stack import DemoError
from deploy.progress import Say
from deploy.triton.environment import PROJECT

DEMO = Path(__file__).resolve().parent
ASK_GRPC = DEMO / "ask_grpc.py"
ACCURACY = {1: (0.86, 0.92), 2: (0.98, 1.0)}  # of the held-out digits
PROMPT, TOKENS, DELAY_MS = "The water", 24, 60


@dataclass(frozen=True)
class Verdict:
    """What one version says about an image."""

    label: int
    probabilities: list[float]


@dataclass(frozen=True)
class Streamed:
    """A streamed answer: its tokens, and the seconds at which the first and the last arrived."""

    tokens: list[str]
    first_s: float
    last_s: float


def picture() -> tuple[Path, int]:
    """The PNG that is shipped, and the digit it shows, which its name says."""
    (path,) = DEMO.glob("digit_*.png")
    return path, int(path.stem.removeprefix("digit_"))


def classify(address: str, say: Say) -> dict[int, Verdict]:
    """REST: both versions of the digit model about the shipped PNG; draws it beside their answers."""
    path, digit = picture()
    image = read_png(path)
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, *image.shape], "data": image.flatten().tolist()}
    body = json.dumps({"inputs": [tensor]}, separators=(",", ":"))
    verdicts = {}
    for version in (1, 2):
        url = f"http://{address}/v2/models/digits/versions/{version}/infer"
        answer = "\n".join(post(url, body, say))
        say(f"{answer}\n")
        verdicts[version] = _verdict(answer)
    say("\n".join(_explain(digit, draw(image), verdicts)))
    return verdicts


def compare(address: str, say: Say) -> dict[int, tuple[int, int]]:
    """gRPC: runs `ask_grpc.py`, which is shown; version to (right, asked)."""
    command = [sys.executable, str(ASK_GRPC), address]
    say(ASK_GRPC.read_text().split("\n# mypy")[0])
    say(f"$ python {ASK_GRPC.relative_to(PROJECT)} {address}")
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=direct())
    if result.returncode:
        raise DemoError(f"the gRPC call failed:\n{result.stderr}")
    say(result.stdout.rstrip())
    found = re.findall(r"version (\d+): (\d+) of (\d+) right", result.stdout)
    return {int(version): (int(right), int(asked)) for version, right, asked in found}


def stream(address: str, say: Say, write: Callable[[str], None]) -> Streamed:
    """generate_stream: tokens are written as they arrive."""
    body = json.dumps({"text_input": PROMPT, "max_tokens": TOKENS, "delay_ms": DELAY_MS})
    began = time.monotonic()
    times: list[float] = []
    tokens: list[str] = []
    for line in post(f"http://{address}/v2/models/tokens/generate_stream", body, say, live=True):
        if not line.startswith("data: "):
            continue
        event = json.loads(line.removeprefix("data: "))
        if "text_output" not in event:
            raise DemoError(f"the stream says: {line}")
        write((PROMPT if not tokens else "") + event["text_output"])
        times.append(time.monotonic() - began)
        tokens.append(event["text_output"])
    write("\n")
    if not tokens:
        raise DemoError("the stream ended without a token")
    say(f"{len(tokens)} tokens, the first after {times[0]:.2f} s, the last after {times[-1]:.2f} s")
    return Streamed(tokens, times[0], times[-1])


def served(metrics_address: str) -> int:
    """How many requests this Triton has answered, by its own count."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{metrics_address}/metrics", timeout=TIMEOUT_S) as answer:
        counts = re.findall(r"^nv_inference_request_success\{.*\} (\d+)$", answer.read().decode(), re.MULTILINE)
    return sum(map(int, counts))


def problems(verdicts: dict[int, Verdict], scores: dict[int, tuple[int, int]], streamed: Streamed) -> Iterator[str]:
    """What is wrong with the answers, in words; nothing when all is right."""
    digit = picture()[1]
    if verdicts[2].label != digit or verdicts[1].label == digit:
        labels = verdicts[1].label, verdicts[2].label
        yield f"expected version 2 and not version 1 to see a {digit}, they say {labels[0]} and {labels[1]}"
    for version, verdict in verdicts.items():
        if len(verdict.probabilities) != 10 or abs(sum(verdict.probabilities) - 1) > 1e-3:
            yield f"expected 10 probabilities of sum 1 from version {version}, got {verdict.probabilities}"
    for version, (least, most) in ACCURACY.items():
        right, asked = scores.get(version, (0, 1))
        if not least <= right / asked <= most:
            yield f"expected version {version} to have {least:.0%} to {most:.0%} right, got {right} of {asked}"
    if len(streamed.tokens) != TOKENS:
        yield f"expected {TOKENS} tokens, got {len(streamed.tokens)}"
    if streamed.last_s - streamed.first_s < TOKENS * DELAY_MS / 1000 / 2:
        yield f"expected tokens one by one, they came within {streamed.last_s - streamed.first_s:.2f} s"


def _verdict(answer: str) -> Verdict:
    try:
        outputs: dict[str, Any] = {output["name"]: output["data"] for output in json.loads(answer)["outputs"]}
        return Verdict(int(outputs["label"][0]), [float(value) for value in outputs["probabilities"]])
    except (ValueError, KeyError, IndexError) as error:
        raise DemoError(f"expected an answer of the digit model, got: {answer}") from error


def _explain(digit: int, drawing: list[str], verdicts: dict[int, Verdict]) -> Iterator[str]:
    columns = [
        [f"version {version} says {verdict.label}", "", *bars(np.array(verdict.probabilities, np.float32))]
        for version, verdict in verdicts.items()
    ]
    yield from beside([f"a handwritten {digit}", "", *drawing], *columns)
