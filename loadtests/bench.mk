# Benchmarks. h2load and nginx come from the system (apt-get install nghttp2-client nginx-light); without them a slower
# load generator and fewer peers serve. More choices: make bench BENCH="--only small_json --rounds 5".
BENCH_STAMP := $(VENV)/.bench-installed

.PHONY: bench bench-quick bench-policies bench-routing bench-overload bench-cache bench-on-demand simulate

$(BENCH_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

bench: triton $(BENCH_STAMP) compile-if-possible ## Penstock beside Triton, nginx, Envoy and others: some ten minutes
	$(BIN)/python -m loadtests.bench $(BENCH)

bench-quick: triton $(BENCH_STAMP) compile-if-possible ## The same in less than 90 s, to see that it works
	$(BIN)/python -m loadtests.bench --quick $(BENCH)

bench-policies: $(BENCH_STAMP) compile-if-possible ## What each policy costs a call, in nanoseconds: some two minutes
	$(BIN)/python -m loadtests.micro_policies --out loadtests/results/policies.md

bench-routing: triton $(BENCH_STAMP) compile-if-possible ## Which Triton is chosen, beside Envoy: some five minutes
	$(BIN)/python -m loadtests.routing $(BENCH)

bench-overload: triton compile-if-possible ## Three times what a Triton can do, by class and tenant: some two minutes
	$(BIN)/python -m loadtests.overload $(OVERLOAD)

bench-cache: triton $(BENCH_STAMP) compile-if-possible ## Cached answers beside forwarding and nginx, and a store in trouble
	$(BIN)/python -m loadtests.cache $(BENCH)

bench-on-demand: triton ## Twenty models in room for four, on one real Triton and on two: some three minutes
	$(BIN)/python -m loadtests.on_demand $(BENCH)

simulate: install ## Choices on paper: the pickers before modelled Tritons, some ten minutes
	$(BIN)/python -m loadtests.simulate $(SIMULATE)

.PHONY: chaos

chaos: triton ## Kill, stop and slow down everything under load for ten minutes: make chaos CHAOS="--minutes 2 --seed 7"
	$(BIN)/python -m loadtests.chaos $(CHAOS)
