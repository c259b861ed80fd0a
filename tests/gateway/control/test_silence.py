"""How long nothing was heard."""

from __future__ import annotations

from gateway.control.silence import Silence


def test_silence_lasts_from_the_first_of_several_polls_without_an_answer() -> None:
    now = 100.0
    silence = Silence(lambda: now)
    assert silence.seconds == 0
    silence.poll(True)
    silence.poll(False)
    now += 50  # this process may have been stopped
    silence.poll(False)
    assert silence.seconds == 0
    now += 5
    silence.poll(False)
    assert silence.seconds == 55
    silence.poll(True)
    assert silence.seconds == 0
    silence.poll(False)
    now += 10
    assert silence.seconds == 0
