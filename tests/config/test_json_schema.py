"""The schema for editors agrees with the loader."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from config.forms import FORMS
from config.json_schema import _FORMS as EDITORS_FORMS
from config.json_schema import json_schema, written_default
from tests.support.configuration_page import EXAMPLES
from tests.support.configurations import mistakes_with, text_with
from tests.support.json_schema import fits
from tests.support.schema_walk import fields

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "penstock.schema.json"
GOOD = [file.read_text() for file in sorted((ROOT / "deploy" / "examples").glob("*.yaml"))]
GOOD += EXAMPLES


def accepted(text: str) -> bool:
    return fits(yaml.safe_load(text), json_schema(), json_schema())


def test_the_published_schema_is_current() -> None:
    command = [sys.executable, "-m", "config.json_schema"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    assert PUBLISHED.read_text() == printed
    assert json.loads(printed) == json_schema()


@pytest.mark.parametrize("text", GOOD)
def test_what_loads_fits(text: str) -> None:
    assert accepted(text)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("wrkers", "2"),
        ("workers", "many"),
        ("workers", "-1"),
        ("admin", "9901"),
        ("admin", "{adress: a:1}"),
        ("listen", "[]"),
        ("listen", "[{address: ':8080'}]"),
        ("listen", "[{address: a:1, apis: [infernce]}]"),
        ("listen", "[{address: a:1, limits: {body_bytes: 32k}}]"),
        ("listen", "[{address: a:1, limits: {headers: 1e9}}]"),
        ("listen", "[{address: a:1, deadlines: {body: 2 days}}]"),
        ("listen", "[{address: a:1, tls: {certificate: a.pem}}]"),
        ("listen", "[{address: a:1, tls: {certificate: a, key: b, min_version: 1.1}}]"),
        ("pools", "{}"),
        ("pools", "{-x: {endpoints: [a:1]}}"),
        ("pools", "{x: {endpoints: [gpu-0]}}"),
        ("pools", "{x: {endpoints: [a:1], pick: least_inflght}}"),
        ("pools", "{x: {pick: round_robin}}"),
        ("pools", "{x: {endpoints: []}}"),
        ("pools", "{x: {discover: {}}}"),
        ("pools", "{x: {endpoints: [{address: a:1, weight: half}]}}"),
        ("pools", "{x: {managed: {replicas: 2}}}"),
        ("pools", "{x: {managed: {repository: a, environment: {A-B: 1}}}}"),
        ("pools", "{x: {endpoints: [a:1], pick: {kind: hash_ring, by: x-user}}}"),
        ("pools", "{x: {endpoints: [a:1], models: {mode: eager}}}"),
        ("routes", "[{match: {model: a}, to: main, rules: [{when: {in_: [a]}, to: main}]}]"),
        ("routes", "[{match: {model: a}, to: main, rules: [{when: [], to: main}]}]"),
        ("routes", "[{match: {model: a}, to: main, rules: [{when: {header: x-a, present: 1}, to: main}]}]"),
        ("routes", "[{match: {model: a}, split: {variants: {}}}]"),
        ("routes", "[{match: {model: a}, split: {variants: {a: {pool: main}}, sticky: {}}}]"),
        ("routes", "[{match: {model: a}, to: main, policies: [{kind: rettry}]}]"),
        ("policies", "{a: retry}"),
        ("labels", "{a: {1st: 1}}"),
        ("routes", "[{match: {model: []}, to: main}]"),
        ("routes", "[{match: {model: a}}]"),
        ("routes", "[{match: {model: a}, to: {pool: main, version: 0}}]"),
    ],
)
def test_what_is_refused_does_not_fit(part: str, value: str) -> None:
    assert mistakes_with(**{part: value})
    assert not accepted(text_with(**{part: value}))


def test_every_form_of_the_schema_has_one_for_editors() -> None:
    assert set(EDITORS_FORMS) == set(FORMS)
    assert json_schema()["definitions"]["Deadlines"]["properties"]["idle"]["default"] == "5m"


def test_defaults_fit_what_they_are_the_default_of() -> None:
    defaults = {path: written_default(field) for path, field in fields()}
    assert defaults["listen[].limits.body_bytes"] == "64MiB"
    assert defaults["listen[].apis"] == ["inference", "metadata", "statistics"]
    assert defaults["workers"] == "auto"
    assert defaults["listen[].limits"] is None
