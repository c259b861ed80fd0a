"""How well a proxy chooses among Tritons that are not equally free, beside Envoy: `python -m loadtests.routing`."""
