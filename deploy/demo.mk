# The real Triton and the demo. Included by the Makefile, which says what PYTHON is and has the target `venv` that makes it.

.PHONY: triton demo demo-check

triton: venv ## install a real Triton into .triton-venv
	$(PYTHON) -m deploy.triton install

demo: triton ## two Tritons behind the gateway, three calls, up until Ctrl-C
	$(PYTHON) -m deploy.demo

demo-check: triton ## the demo, verified, then stopped
	$(PYTHON) -m deploy.demo --check
