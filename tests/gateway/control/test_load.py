"""Pages to load: what a request costs and whose work waits, on simulated servers with an injected clock."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.control.load import LOAD_FADE, RESTING, UNMEASURED, EndpointLoad, Load, ModelLoad, Shape
from gateway.control.metrics_page import Counts, Key, Page
from gateway.control.typical import Typical, Typicals
from routing.fleet import FADE_REQUESTS, FADE_SECONDS

INTERVAL = 0.15


class Server:
    """One model on one instance, first come, first served: what Triton would show on its page."""

    def __init__(self, service: float, batch: int = 1) -> None:
        self.service = service
        self.batch = batch
        self.queue: deque[str] = deque()
        self.executing: list[str] = []
        self.ends = 0.0
        self.success = self.executions = 0
        self.compute = 0.0

    def advance(self, now: float, arrivals: list[tuple[float, str]]) -> None:
        """Let requests arrive, at times up to `now`, of whoever is named, and be served."""
        for at, owner in [*arrivals, (now, "")]:
            while self.executing and self.ends <= at:
                self._finish()
            if owner:
                self.queue.append(owner)
                if not self.executing:
                    self._start(at)

    def _finish(self) -> None:
        self.success += len(self.executing)
        self.executions += 1
        self.compute += self.service * len(self.executing)
        self.executing = []
        self._start(self.ends)

    def _start(self, at: float) -> None:
        if self.queue:
            self.executing = [self.queue.popleft() for _ in range(min(self.batch, len(self.queue)))]
            self.ends = at + self.service

    def counts(self) -> Counts:
        return Counts(len(self.queue), self.success, self.executions, 0, self.compute)

    def of(self, owner: str) -> int:
        return sum(each == owner for each in (*self.queue, *self.executing))


def play(server: Server, seconds: float, ours: float, others: float, seed: int = 1) -> list[tuple[Load, int]]:
    """Poisson arrivals at these rates; after each interval the load, and how many requests others truly had there."""
    rng = random.Random(seed)
    model, seen = ModelLoad(), []
    model.shape = Shape()
    now = 0.0
    model.update(server.counts(), 0, now)
    while now < seconds:
        arrivals = [
            (now + rng.random() * INTERVAL, owner)
            for owner, rate in (("us", ours), ("them", others))
            for _ in range(poisson(rng, rate * INTERVAL))
        ]
        now += INTERVAL
        server.advance(now, sorted(arrivals))
        model.update(server.counts(), server.of("us"), now)
        seen.append((model.load, server.of("them")))
    return seen


def poisson(rng: random.Random, mean: float) -> int:
    count, time = 0, rng.expovariate(mean) if mean else 2.0
    while time < 1:
        count, time = count + 1, time + rng.expovariate(mean)
    return count


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def test_service_time_is_that_of_the_server() -> None:
    assert play(Server(0.02), 10, ours=20, others=0)[-1][0].service == pytest.approx(0.02)


def test_a_batch_is_shared_by_its_requests() -> None:
    load = play(Server(0.08, batch=8), 20, ours=60, others=0)[-1][0]
    assert 0.01 <= load.service <= 0.025  # 80 ms for four to eight requests at once


def test_instances_work_side_by_side() -> None:
    model = ModelLoad()
    model.update(Counts(), 0, 0)
    model.shape = Shape(instances=4)
    model.update(Counts(success=10, executions=10, compute=1.0), 0, 1)
    assert model.load.service == pytest.approx(0.025)


def test_cache_hits_are_no_executions() -> None:
    model = ModelLoad()
    model.update(Counts(), 0, 0)
    model.update(Counts(success=100, executions=10, hits=90, compute=1.0), 0, 1)
    assert model.load.service == pytest.approx(0.1)


def test_without_traffic_the_service_time_stays() -> None:
    model = ModelLoad()
    model.update(Counts(), 0, 0)
    counts = Counts(success=10, executions=10, compute=1.0)
    for second in range(1, 600):
        model.update(counts, 0, second)
    assert model.load.service == pytest.approx(0.1)
    assert model.load.executing == pytest.approx(0.0, abs=1e-9)
    assert not model.warm


def test_a_change_of_speed_is_seen_within_seconds() -> None:
    server = Server(0.01)
    model = ModelLoad()
    now = 0.0
    for step in range(100):
        server.service = 0.01 if step < 50 else 0.04
        now += INTERVAL
        server.advance(now, [(now - 0.1, "us"), (now - 0.05, "us")])
        model.update(server.counts(), 0, now)
        if step == 49 + round(4 / INTERVAL):
            assert model.load.service > 0.035


def test_the_first_page_tells_the_mean_since_the_load() -> None:
    model = ModelLoad()
    model.update(Counts(success=1000, executions=500, compute=20.0), 0, 0)
    assert model.load.service == pytest.approx(0.01)
    assert model.load.executing == 0.0


def test_counters_begin_anew_after_a_reload() -> None:
    model = ModelLoad()
    model.update(Counts(), 0, 0)
    model.update(Counts(success=1000, executions=1000, compute=10.0), 0, 1)
    model.shape = Shape(2)
    model.update(Counts(success=4, executions=4, compute=0.4), 0, 60)
    assert model.load.service == pytest.approx(0.1)
    assert model.shape is None
    assert model.load.executing >= 0


def test_a_decoupled_model_does_not_tell_its_service_time() -> None:
    model = ModelLoad()
    model.shape = Shape(decoupled=True)
    model.update(Counts(), 0, 0)
    model.update(Counts(success=4, executions=4, compute=0.004), 0, 1)
    assert model.load.service == 0


def test_our_own_load_is_no_one_elses() -> None:
    seen = play(Server(0.05), 60, ours=15, others=0)  # three quarters of what it can do
    assert max(load.pending for load, _ in seen) >= 3
    wrong = [load.foreign_requests for load, _ in seen]
    assert mean(wrong) < 0.1
    assert max(wrong) < 1.5


def test_others_load_is_seen_when_we_send_nothing() -> None:
    seen = play(Server(0.05), 60, ours=0, others=15)[20:]
    told, true = mean([load.foreign_requests for load, _ in seen]), mean([float(count) for _, count in seen])
    assert told == pytest.approx(true, rel=0.15)
    assert mean([load.foreign for load, _ in seen]) == pytest.approx(0.05 * told, rel=0.05)


def test_both_are_told_apart() -> None:
    seen = play(Server(0.05), 120, ours=8, others=8)[20:]
    told, true = mean([load.foreign_requests for load, _ in seen]), mean([float(count) for _, count in seen])
    assert 0.5 * true < told < 1.1 * true  # rather too few than too many


def test_a_burst_of_our_own_is_not_foreign() -> None:
    model = ModelLoad()
    model.update(Counts(), 0, 0)
    model.update(Counts(pending=9), 10, INTERVAL)
    assert model.load == Load(pending=9, own=10)


def test_others_queue_counts_at_once_also_while_nothing_is_known_of_the_model() -> None:
    model = ModelLoad()
    model.update(Counts(pending=5), 2, 0)
    assert model.load.foreign_requests == 3
    assert model.load.foreign == pytest.approx(3 * UNMEASURED)


def test_the_end_of_one_long_request_is_no_peak() -> None:
    model = ModelLoad()
    model.update(Counts(), 0, 0)
    for step in range(1, 200):
        now = step * INTERVAL
        ended = int(now / 10)
        model.update(Counts(success=ended, executions=ended, compute=10.0 * ended), 1, now)
        assert model.load.executing < 1.5
        assert model.load.foreign_requests < 0.1


def test_an_engine_is_measured_by_what_it_gets_done() -> None:
    model = ModelLoad()
    model.update(Counts(waiting=0, running=0), 0, 0)
    for step in range(1, 100):  # eight requests at once, each two seconds: four a second
        counts = Counts(success=4 * step, executions=4 * step, compute=0.001 * step, waiting=2, running=8)
        model.update(counts, 3, float(step))
    assert model.load.service == pytest.approx(0.25)
    assert model.load.pending == 2
    assert model.load.foreign_requests == 7
    for step in range(100, 200):
        model.update(Counts(success=400, executions=400, waiting=0, running=0), 0, float(step))
    assert model.load.service == pytest.approx(0.25)


def rest(model: ModelLoad, counts: Counts, seconds: float, rate: float = 1000.0) -> None:
    """Nobody sends there for so long; elsewhere a request takes 20 ms, `rate` of them in a second."""
    for step in range(round(seconds / 0.5)):
        model.typical.learn(0.02, 0.5 * rate, model._at + 0.5)
        model.update(counts, 0, model._at + 0.5)
        assert step < 2 or model.load.service > 0


def a_slow_start(seconds: float = 5.0) -> tuple[ModelLoad, Counts]:
    model = ModelLoad(Typical())
    model.typical.places = 4
    model.update(Counts(), 0, 0.0)
    counts = Counts(success=1, executions=1, compute=seconds)
    model.update(counts, 0, 6.0)
    return model, counts


def test_where_nobody_sends_any_more_a_slow_first_inference_fades() -> None:
    model, counts = a_slow_start()
    seen = []
    for _ in range(16):
        rest(model, counts, 4.0)
        seen.append(model.load.service)
    assert seen == sorted(seen, reverse=True)
    assert 0.019 < seen[-1] < 0.02, "just below the others, or it would not be tried while they are idle"
    assert next(step for step, each in enumerate(seen) if each < 0.04) * 4.0 < 3 * FADE_SECONDS


def test_the_first_request_after_that_tells() -> None:
    for truth in (0.02, 0.08):
        model, counts = a_slow_start()
        rest(model, counts, 30.0)
        model.update(Counts(success=2, executions=2, compute=counts.compute + truth), 0, model._at + INTERVAL)
        assert model.load.service == pytest.approx(truth, rel=0.1)


def test_nothing_fades_while_others_have_no_requests_or_somebody_is_here() -> None:
    model, counts = a_slow_start()
    rest(model, counts, 60.0, rate=0.0)
    assert model.load.service == pytest.approx(5.0)
    for _ in range(100):
        model.typical.learn(0.02, 500.0, model._at + 0.5)
        model.update(counts, 1, model._at + 0.5)
    assert model.load.service == pytest.approx(5.0), "one request of ours waits there"


def test_few_requests_elsewhere_fade_it_slowly() -> None:
    model, counts = a_slow_start()
    rest(model, counts, FADE_SECONDS, rate=0.1 * 4 * FADE_REQUESTS / FADE_SECONDS)
    assert model.load.service > 2.5


def test_who_is_faster_than_others_stays_so() -> None:
    model, counts = a_slow_start(0.005)
    rest(model, counts, 60.0)
    assert model.load.service == pytest.approx(0.005)


def test_an_endpoint_of_a_fleet_forgets_what_is_not_so_elsewhere() -> None:
    typicals = Typicals()
    slow, usual = EndpointLoad(typicals), EndpointLoad(typicals)
    keys = [(f"m{number}", "1") for number in range(3 * RESTING)]
    slow.update(a_page(dict.fromkeys(keys, Counts())), {}, 0)
    usual.update(a_page(dict.fromkeys(keys, Counts())), {}, 0)
    seen = {key: Counts(success=1, executions=1, compute=1.0) for key in keys}
    slow.update(a_page(seen), {}, 2)
    assert typicals.of(keys[0]).places == 2
    for step in range(4, 200):
        requests = 1000 * step
        busy = {key: Counts(success=requests, executions=requests, compute=0.01 * requests) for key in keys}
        usual.update(a_page(busy), {}, 0.5 * step)
        slow.update(a_page(seen, set()), {}, 0.5 * step)
    assert all(model.load.service == pytest.approx(0.01, rel=0.02) for model in slow.models.values())
    assert slow.update(a_page(seen, set()), {}, 200) == set(), "what is as elsewhere is left alone"
    usual.clear()
    assert (usual.models, typicals.of(keys[0]).places) == ({}, 1)


def a_page(models: dict[Key, Counts], changed: set[Key] | None = None) -> Page:
    return Page(models, (), frozenset(models if changed is None else changed))


def test_an_endpoint_is_the_sum_of_its_models() -> None:
    load = EndpointLoad()
    a, b = ("a", "1"), ("b", "1")
    load.update(a_page({a: Counts(), b: Counts()}), {}, 0)
    busy = {a: Counts(pending=2, success=1, executions=1, compute=0.1), b: Counts(pending=3)}
    assert load.update(a_page(busy), {b: 1}, 1) == {a, b}
    assert load.total().pending == 5
    assert load.total().own == 1
    assert load.total().foreign == pytest.approx(sum(each.load.foreign for each in load.models.values()))
    assert set(load.shapeless()) == {a, b}


def test_a_model_that_rests_is_not_looked_at() -> None:
    load = EndpointLoad()
    models = {(f"m{index}", "1"): Counts() for index in range(50)}
    load.update(a_page(models), {}, 0)
    assert load.update(a_page(models, set()), {}, 1) == set()
    assert not load.warm
    assert load.update(a_page(models, set()), {("m3", "1"): 1}, 2) == {("m3", "1")}
    assert load.warm
    for step in range(3, 30):
        load.update(a_page(models, set()), {}, step * LOAD_FADE)
    assert not load.warm


def test_a_model_that_goes_takes_its_load_along() -> None:
    load = EndpointLoad()
    load.update(a_page({("a", "1"): Counts(pending=2)}), {}, 0)
    assert load.update(Page({}, (), frozenset({("a", "1")})), {}, 1) == {("a", "1")}
    assert (load.models, load.total(), load.warm) == ({}, Load(), False)


counts = st.builds(Counts, *[st.floats(-10, 1e9) for _ in range(5)], *[st.floats(-1, 1e6) for _ in range(2)])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(counts, st.integers(0, 1000), st.floats(0, 1e5)), max_size=8))
def test_no_page_makes_a_load_that_is_no_load(row: list[tuple[Counts, int, float]]) -> None:
    model, now = ModelLoad(), 0.0
    for each, own, seconds in row:
        now += seconds
        model.update(each, own, now)
        assert all(0 <= value < float("inf") for value in model.load)
