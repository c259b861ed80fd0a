"""Ten minutes in which everything goes wrong that can, under load: what the gateway promises then, checked.

`python -m loadtests.chaos --minutes 10 --seed 1`, or `make chaos`. A gateway with two workers stands before four real
Tritons, two of which it runs itself; clients of all kinds ask; processes are killed and stopped, models come, go and
slow down. Now and then all is healed, and then each promise must hold: whoever asks is served, every answer was
counted, nothing is held, nobody is overrun, and nothing grows.
"""
