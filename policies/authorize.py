"""Says who may do what: rules that allow, and nothing else is allowed.

A rule names callers (`principals`, `tenants`, `scopes`) and what they may do (`models`, `versions`, `apis`); each list
fits when one of its items does, a list that is not given fits everything, and a rule fits when all of its lists do.
Names are patterns. `apis` are those of a listener (`inference`, `metadata`, `statistics`, `repository`, `trace`,
`logging`, `shared_memory`); a rule without it allows `inference` and `metadata` only. Names of callers fit nobody who
is not known, be they `*`.

Models and versions are those that the request goes to, after rules, shares, labels and other names of models. A rule
with `versions` does not fit a request for which nobody chose one, as the endpoint would: let the route say `version:
latest`. What is about no model, such as the index of a repository, fits rules that take all models.

Who may do nothing at all with a model, or with a version of it, is told that there is none, in the words for one that
does not exist: 404. Who may do other things with it, and whoever asks for what is about no model, is told that this is
not allowed: 403.

With `mode: shadow` nothing is refused; what would have been is counted, and logged once for each caller and model, ten
lines a second at most.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple

from msgspec import Meta

from config.fields import if_given, items, text
from config.match import Patterns, compile_patterns
from config.node import Node
from policies import Services
from routing.call import Call, Handler, Reply
from routing.identity import Identity
from routing.order import IDENTITY, Unsound
from routing.pool import unknown_model
from transcoding.methods import ApiClass
from transcoding.status import Code, GatewayError

log = logging.getLogger(__name__)

ORDER = (Unsound("without", IDENTITY, "nobody is known to it, so only rules that name no caller ever fit"),)

REMEMBERED: Final = 16_384
LOG_SECONDS: Final = 0.1

Pattern = Annotated[str, text("A name or a glob", "pattern")]
Decision = Literal["allowed", "other_apis", "other_versions", "nothing"]
"""What a caller may do: this, or with this model other things, or the same with other versions, or nothing."""

DEFAULT_APIS: Final[tuple[ApiClass, ...]] = ("inference", "metadata")


class Rule(Node, frozen=True):
    """Who may do what. A list that is not given fits everything, but for `apis`."""

    principals: Annotated[tuple[Pattern, ...], if_given("Who calls", bare_item=True)] = ()
    tenants: Annotated[tuple[Pattern, ...], if_given("Whom the caller belongs to", bare_item=True)] = ()
    scopes: Annotated[tuple[Pattern, ...], if_given("Rights, of which the caller has one", bare_item=True)] = ()
    models: Annotated[tuple[Pattern, ...], if_given("Models that the request goes to", bare_item=True)] = ()
    versions: Annotated[tuple[Pattern, ...], if_given("Versions that the request goes to", bare_item=True)] = ()
    apis: Annotated[tuple[ApiClass, ...], if_given("What kind of request it is", bare_item=True)] = DEFAULT_APIS


class Spec(Node, frozen=True):
    """What is allowed."""

    allow: Annotated[tuple[Rule, ...], items("Rules, of which one must fit")] = ()
    mode: Annotated[Literal["enforce", "shadow"], Meta(description="Whether to refuse, or only to count")] = "enforce"


class Policy:
    """Compares a call with the rules, and remembers what came of it."""

    guards = True
    needs_body = True  # so that it stands behind the choice of model and version
    needs_view = True

    def __init__(self, spec: Spec, services: Services) -> None:
        self._rules = tuple(map(compiled, spec.allow))
        self._mode = spec.mode
        self._counters = services.counters
        self._clock = services.clock
        self._silent_until = 0.0
        self._decided: dict[tuple[str, str, frozenset[str], str, str, ApiClass], Decision] = {}

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next` what is allowed. Raises `GatewayError` NOT_FOUND or PERMISSION_DENIED."""
        self._allow(call, call.model, call.version)
        for model, version in call.also:
            self._allow(call, model, version)
        return await next(call)

    def _allow(self, call: Call, model: str, version: str) -> None:
        who = call.caller
        key = (who.principal, who.tenant, who.scopes, model, version, call.method.api)
        decision = self._decided.get(key)
        if decision is None:
            decision = self._decide(call, model, version)
            if len(self._decided) >= REMEMBERED:
                self._decided.clear()
            self._decided[key] = decision
        if decision != "allowed":
            self._counters("penstock_forbidden_total", (call.route, self._mode)).value += 1
            if self._mode == "enforce":
                raise refusal(call, decision, version)

    def _decide(self, call: Call, model: str, version: str) -> Decision:
        decision = decide(self._rules, call.caller, model, version, call.method.api)
        if decision != "allowed" and self._mode == "shadow" and self._clock() >= self._silent_until:
            self._silent_until = self._clock() + LOG_SECONDS
            words = (call.principal, call.method.api, model, version)
            log.warning("authorize would refuse %r: %s of model %r version %r", *words)
        return decision


class Compiled(NamedTuple):
    """A rule; None fits everything."""

    principals: Patterns | None
    tenants: Patterns | None
    scopes: Patterns | None
    models: Patterns | None
    versions: Patterns | None
    apis: frozenset[ApiClass]

    def fits(self, caller: Identity, model: str) -> bool:
        """Whether it is about this caller and this model, whatever is asked of it."""
        return (
            _named(self.principals, caller.principal)
            and _named(self.tenants, caller.tenant)
            and (self.scopes is None or any(map(self.scopes.matches, caller.scopes)))
            and (self.models is None or self.models.matches(model))
        )


def compiled(rule: Rule) -> Compiled:
    """The rule with its patterns compiled."""
    lists = (rule.principals, rule.tenants, rule.scopes, rule.models, rule.versions)
    principals, tenants, scopes, models, versions = (compile_patterns(each) if each else None for each in lists)
    return Compiled(principals, tenants, scopes, models, versions, frozenset(rule.apis))


def decide(rules: Sequence[Compiled], caller: Identity, model: str, version: str, api: ApiClass) -> Decision:
    """What these rules say of a request; `model` and `version` are "" where there is none."""
    fitting = [rule for rule in rules if rule.fits(caller, model)]
    if not fitting:
        return "nothing"
    for_api = [rule for rule in fitting if api in rule.apis]
    if not for_api:
        return "other_apis"
    return "allowed" if any(_named(rule.versions, version) for rule in for_api) else "other_versions"


def _named(patterns: Patterns | None, name: str) -> bool:
    """Whether a name fits; nobody's name, "", fits no pattern."""
    return patterns is None or (name != "" and patterns.matches(name))


def refusal(call: Call, decision: Decision, version: str) -> GatewayError:
    """The answer to a call that is not allowed for this version. It names the model as the client did."""
    model = call.view.model if call.view is not None else call.model
    if decision == "other_versions" and version:
        return unknown_model(model, version)
    if decision == "nothing" and model:
        return unknown_model(model)
    what = f" for model '{model}'" if model else ""
    hint = ", unless it names a version" if decision == "other_versions" else ""
    return GatewayError(Code.PERMISSION_DENIED, f"{call.method.api} is not allowed{what}{hint}")
