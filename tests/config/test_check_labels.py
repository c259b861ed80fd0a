"""Labels for versions, and the models that they are used with."""

from __future__ import annotations

import pytest

from tests.support.configurations import mistakes_with

LABELS = "{resnet50: {stable: 1, canary: 2}, resnet101: {stable: 3}, bert: {old: 1}}"


def with_version(models: str, target: str, conditions: str = "{api: grpc}") -> list[str]:
    """The mistakes of `target`, once as that of a route and once as that of a rule."""
    rules = f"[{{when: {conditions}, to: {target}}}]"
    found = mistakes_with(routes=f"[{{match: {{model: {models}}}, to: main, rules: {rules}}}]", labels=LABELS)
    if conditions == "{api: grpc}":
        plain = mistakes_with(routes=f"[{{match: {{model: {models}}}, to: {target}}}]", labels=LABELS)
        assert [line.replace("rules[0].", "") for line in found] == plain
    assert all(line.startswith("routes[0].rules[0].to.version: ") for line in found)
    return [line.split(": ", 1)[1] for line in found]


EXPECTED = "expected a version, latest or a label of"


@pytest.mark.parametrize(
    ("models", "version", "found"),
    [
        ("resnet50", "2", []),
        ("anything", "latest", []),
        ("resnet50", "stable", []),
        ("[resnet50, resnet101]", "stable", []),
        ("'resnet*'", "canary", []),
        ("'*'", "old", []),
        ("[resnet50, 'vgg*']", "stable", []),
        (
            "resnet50",
            "stabel",
            [f"{EXPECTED} 'resnet50' (one of: stable, canary), got 'stabel'; did you mean 'stable'?"],
        ),
        ("[resnet50, resnet101]", "canary", [f"{EXPECTED} 'resnet101' (one of: stable), got 'canary'"]),
        ("other", "stable", [f"{EXPECTED} 'other', got 'stable'"]),
        ("'vgg*'", "stable", [f"{EXPECTED} a model that comes here, got 'stable'"]),
        ("'resnet*'", "old", [f"{EXPECTED} a model that comes here (one of: canary, stable), got 'old'"]),
    ],
)
def test_labels_of_the_models_of_a_route(models: str, version: str, found: list[str]) -> None:
    assert with_version(models, f"{{pool: main, version: {version}}}") == found


def test_the_label_is_one_of_the_model_that_is_asked_for_instead() -> None:
    assert with_version("'*'", "{pool: main, model: bert, version: old}") == []
    assert with_version("bert", "{pool: main, model: resnet50, version: old}") == [
        f"{EXPECTED} 'resnet50' (one of: stable, canary), got 'old'"
    ]


@pytest.mark.parametrize(
    ("models", "conditions", "found"),
    [
        ("'*'", "{model: resnet101}", [f"{EXPECTED} 'resnet101' (one of: stable), got 'canary'"]),
        ("'*'", "{model: resnet50}", []),
        ("[resnet50, resnet101]", "{model: '*50'}", []),
        (
            "'*'",
            "[{model: 'resnet*'}, {model: '*1'}]",
            [f"{EXPECTED} a model that comes here (one of: stable), got 'canary'"],
        ),
    ],
)
def test_a_rule_narrows_the_models_that_come(models: str, conditions: str, found: list[str]) -> None:
    assert with_version(models, "{pool: main, version: canary}", conditions) == found


def test_variants_may_have_labels() -> None:
    split = "{variants: {a: {pool: main, version: stable}, b: {pool: main, version: sable}}}"
    assert mistakes_with(routes=f"[{{match: {{model: resnet50}}, split: {split}}}]", labels=LABELS) == [
        f"routes[0].split.variants.b.version: {EXPECTED} 'resnet50' (one of: stable, canary), got 'sable'; "
        "did you mean 'stable'?"
    ]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ("{a: {latest: 1}}", "labels.a: expected a label other than 'latest', which always is the highest version "),
        ("{a: {1: 1}}", "labels.a: expected a label of at most 63 letters, digits, '.', '_' and '-', "),
        ("{a: {stable: latest}}", "labels.a.stable: expected a model version: a whole number ≥ 1, got 'latest'"),
        ("{a/b: {stable: 1}}", "labels: expected a model's name of at most 255 characters, without '/', got 'a/b'"),
        ("[]", "labels: expected a mapping from names, got a list"),
    ],
)
def test_what_labels_are(labels: str, found: str) -> None:
    (line,) = mistakes_with(labels=labels)
    assert line.startswith(found)
