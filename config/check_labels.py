"""Labels for versions: those that targets name are there for the models that come along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from config.findings import Finding
from config.forms import LATEST
from config.hole import HOLE
from config.match import compile_patterns, is_exact
from config.problems import Path, did_you_mean, listed, quote
from config.schema import Config, Route, Rule, Target, Variant

_Patterns = tuple[str, ...]


def check_label(
    config: Config, path: Path, target: Target | Variant, route: Route | None, rule: Rule | None
) -> Iterator[Finding]:
    """A mistake for each model that comes to `target` and lacks the label named there. Of models that only globs take,
    one with the label is enough."""
    label = target.version
    if not label or label == LATEST or label.isdecimal() or config.labels is HOLE or target.model is HOLE:
        return
    groups = _model_patterns(route, rule)
    if target.model is not None:
        groups = [(target.model,)]
    if any(pattern is HOLE for group in groups for pattern in group):
        return
    names = dict.fromkeys(_matching(filter(is_exact, (pattern for group in groups for pattern in group)), groups))
    for name in names:
        if label not in config.labels.get(name, ()):
            yield path, _lacks(label, f"of {quote(name)}", config.labels.get(name, ()))
    labelled = (model for model, labels in config.labels.items() if label in labels)
    if not names and not any(_matching(labelled, groups)):
        known = {each for model in _matching(config.labels, groups) for each in config.labels[model]}
        yield path, _lacks(label, "of a model that comes here", sorted(known))


def _model_patterns(route: Route | None, rule: Rule | None) -> list[_Patterns]:
    """Sets of patterns of which a model matches one each."""
    groups = [route.match.model] if route else []
    return groups + [condition.model for condition in (rule.when if rule else ()) if condition.model]


def _matching(models: Iterable[str], groups: list[_Patterns]) -> Iterator[str]:
    """Those of `models` that match one pattern of each group."""
    compiled = [compile_patterns(group) for group in groups]
    for model in models:
        if all(patterns.matches(model) for patterns in compiled):
            yield model


def _lacks(label: str, whose: str, known: Iterable[str]) -> str:
    some = f" (one of: {listed(known)})" if known else ""
    return f"expected a version, latest or a label {whose}{some}, got {quote(label)}{did_you_mean(label, known)}"
