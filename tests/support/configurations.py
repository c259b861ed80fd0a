"""Configurations for tests: a good one with parts exchanged, and the mistakes in a bad one."""

from __future__ import annotations

from config.load import parse
from config.problems import ConfigError
from config.schema import Config

PARTS = {
    "listen": "[{address: 0.0.0.0:8080}]",
    "pools": "{main: {endpoints: [gpu-0:8001]}}",
    "routes": '[{match: {model: "*"}, to: main}]',
}


def text_with(**parts: str) -> str:
    """A configuration in which each of `parts` (YAML in flow style) replaces one of the usual parts or adds to them."""
    return "".join(f"{name}: {value}\n" for name, value in (PARTS | parts).items())


def config_with(**parts: str) -> Config:
    return parse(text_with(**parts), "test.yaml")


def mistakes(text: str) -> list[str]:
    """`line:column: path: message` of each problem in the text; none for a good one."""
    try:
        parse(text, "test.yaml")
    except ConfigError as error:
        return [str(problem).removeprefix("test.yaml:") for problem in error.problems]
    return []


def mistakes_with(**parts: str) -> list[str]:
    """`path: message` of each problem in `text_with(**parts)`."""
    return [line.split(": ", 1)[1] for line in mistakes(text_with(**parts))]
