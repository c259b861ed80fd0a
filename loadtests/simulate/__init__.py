"""Choices on paper: the real picker code, with an injected clock and chance, before modelled Tritons.

A discrete-event simulation. Gateways are the real `Endpoint`, `LoadBoard`, `Aperture` and pickers; requests, workers
and scrapes are modelled. What is compared is the time from a request's arrival at its gateway to its answer.
"""
