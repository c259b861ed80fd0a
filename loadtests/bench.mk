# Benchmarks: `make bench` takes minutes, `make bench-quick` less than 90 s. PYTHON is the environment with the extra
# `bench`; h2load and nginx come from the system (apt-get install nghttp2-client nginx-light) and are optional.
# More choices: BENCH="--only small_json --rounds 5".

.PHONY: bench bench-quick

bench:
	$(PYTHON) -m loadtests.bench $(BENCH)

bench-quick:
	$(PYTHON) -m loadtests.bench --quick $(BENCH)
