# The demo. Included by the Makefile, which makes the two environments with `install` and `triton`.
.PHONY: demo demo-check

demo: install triton ## Two real Tritons behind the gateway: calls, keys, limits, a cache; up until Ctrl-C
	@$(BIN)/python -m deploy.demo

demo-check: install triton ## The demo, its answers verified, then stopped
	@$(BIN)/python -m deploy.demo --check
