"""The generic cell rate algorithm, for several windows at once: as a function, and as a script that the store runs.

ITU-T I.371, Annex A, in its virtual scheduling form. Of each window a cell remembers its *theoretical arrival time*
`tat`: the moment at which the window would be whole again if nothing came. A unit moves it by the `interval` between
two units at the rate, and units conform while it is no further away than `burst` intervals:

    tat' = max(now, tat) + units × interval;  conforms if tat' − now ≤ burst × interval

So in any time of w seconds no more than w / interval + burst units conform. Nothing runs in the background, and one
number is all that is kept. All windows are looked at before any is charged.

What was reserved can be settled when the cost is known. Giving back too much would let more through, so beside `tat`
a cell adds up in `idle` the time in which its window was whole: what was reserved is worth less by what has passed of
it since then, as it would have come back by itself.

A clock that steps cannot multiply a limit: a step forward makes windows whole once, and after a step back `tat`, which
would lie far ahead, is taken for no further away than a whole burst and a debt of another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

MAX_WINDOWS: Final = 4
DEBT: Final = 2.0
"""How far ahead `tat` may lie, in bursts: charging what was not reserved may make a debt of one burst."""
_EPSILON: Final = 1e-6
"""Units that rounding may take or give."""


class Window(NamedTuple):
    """A rate and what may come at once: `interval` seconds for each unit, and `burst` units."""

    interval: float
    burst: float


Windows = tuple[Window, ...]


class Taken(NamedTuple):
    """What became of a wish for units: how many were `granted`, 0 for a refusal; then `wait` is in how many seconds
    what was wanted at least may be had, infinity for never. `leads` are how far ahead each `tat` is of now, in seconds,
    `idles` the marks for `settle`."""

    granted: int
    wait: float
    leads: tuple[float, ...]
    idles: tuple[float, ...]


def take(cells: list[float], windows: Windows, now: float, wanted: int, least: int) -> Taken:
    """Charge up to `wanted` units, `least` or none. `cells` are `tat` and `idle` of each window, and are changed.

    Of a new cell both are `now`: the window is whole.
    """
    leads = _leads(cells, windows, now)
    granted = wanted
    for lead, (interval, burst) in zip(leads, windows, strict=True):
        room = burst - lead / interval + _EPSILON
        if room < granted:
            granted = int(room) if room > 0.0 else 0
    if granted < least:
        return Taken(0, wait_for(leads, windows, least), tuple(leads), tuple(cells[1::2]))
    for place, (lead, window) in enumerate(zip(leads, windows, strict=True)):
        if lead <= 0.0:
            cells[2 * place + 1] += max(0.0, now - cells[2 * place])
        leads[place] = lead = lead + granted * window.interval
        cells[2 * place] = now + lead
    return tuple.__new__(Taken, (granted, 0.0, tuple(leads), tuple(cells[1::2])))  # as `state.keys.parts` does


def settle(cells: list[float], windows: Windows, now: float, delta: int, idles: Sequence[float]) -> tuple[float, ...]:
    """Charge `delta` units more than were taken when the marks were `idles`, or give back if it is negative. The answer
    are the leads."""
    leads = _leads(cells, windows, now)
    for place, (lead, window) in enumerate(zip(leads, windows, strict=True)):
        tat, idle = cells[2 * place], cells[2 * place + 1]
        whole = max(0.0, now - tat)
        if delta >= 0:
            cells[2 * place + 1] = idle + whole
            cells[2 * place] = now + min(lead + delta * window.interval, DEBT * window.burst * window.interval)
        elif idle >= idles[place]:
            cells[2 * place] = now + lead - whole
            cells[2 * place] -= max(0.0, -delta * window.interval - (idle - idles[place]) - whole)
        leads[place] = max(0.0, cells[2 * place] - now)
    return tuple(leads)


def _leads(cells: list[float], windows: Windows, now: float) -> list[float]:
    """How far ahead each `tat` is, which is brought to where it may be at most."""
    leads = []
    for place, (interval, burst) in enumerate(windows):
        lead = cells[2 * place] - now
        if lead <= 0.0:
            lead = 0.0
        elif lead > (most := DEBT * burst * interval):
            cells[2 * place], lead = now + most, most
        leads.append(lead)
    return leads


def wait_for(leads: Sequence[float], windows: Windows, units: float) -> float:
    """In how many seconds so many units conform, from these leads; infinity if they never do."""
    wait = 0.0
    for lead, (interval, burst) in zip(leads, windows, strict=True):
        if units > burst + _EPSILON:
            return math.inf
        wait = max(wait, lead + (units - burst) * interval)
    return wait


NOW: Final = """local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
"""
"""The store's own clock, in microseconds: the one clock that all gateways share."""

_CELLS: Final = """local windows, tat, idle, lead, whole = (#ARGV - fixed) / each, {}, {}, {}, {}
local kept, keep = redis.call('GET', KEYS[1]), false
for i = 1, windows do
  local at = fixed + each * (i - 1)
  local interval, burst = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  tat[i], idle[i] = now, now
  if kept and #kept >= 16 * i then tat[i], idle[i] = struct.unpack('<dd', kept, 16 * i - 15) end
  local most = 2 * burst * interval
  if not (tat[i] - now <= most) then tat[i], keep = now + most, true end
  if idle[i] ~= idle[i] then idle[i] = now end
  lead[i] = math.max(0, tat[i] - now)
  whole[i] = math.max(0, now - tat[i])
end
"""

_KEEP: Final = """if keep then
  local packed, most = {}, 0
  for i = 1, windows do
    packed[i] = struct.pack('<dd', tat[i], idle[i])
    most = math.max(most, tat[i] - now)
  end
  redis.call('SET', KEYS[1], table.concat(packed), 'PX', string.format('%.0f', math.ceil(most / 1000) + 1000))
end
"""

_ANSWER: Final = """local answer = {granted, string.format('%.0f', math.ceil(wait))}
for i = 1, windows do
  answer[2 * i + 1] = string.format('%.0f', math.ceil(lead[i]))
  answer[2 * i + 2] = string.format('%.17g', idle[i])
end
return answer
"""


def take_script(now: str = NOW) -> str:
    """`take` as a script: KEYS[1] holds the cells; ARGV are wanted, least, then interval in microseconds and burst of
    each window. It answers granted, wait in microseconds (-1: never), then lead and mark of each window."""
    return (
        "local fixed, each = 2, 2\n"
        + now
        + _CELLS
        + """local granted, least, wait = tonumber(ARGV[1]), tonumber(ARGV[2]), 0
for i = 1, windows do
  local interval, burst = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  granted = math.max(0, math.min(granted, math.floor(burst - lead[i] / interval + 1e-6)))
end
if granted < least then
  granted = 0
  for i = 1, windows do
    local interval, burst = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
    if least > burst then wait = -1 end
    if wait >= 0 then wait = math.max(wait, lead[i] + (least - burst) * interval) end
  end
else
  keep = true
  for i = 1, windows do
    idle[i] = idle[i] + whole[i]
    lead[i] = lead[i] + granted * tonumber(ARGV[2 * i + 1])
    tat[i] = now + lead[i]
  end
"""
        + "end\n"
        + _KEEP
        + _ANSWER
    )


def settle_script(now: str = NOW) -> str:
    """`settle` as a script: ARGV are the units to charge, then interval, burst and mark of each window. A key that is
    gone stood for whole windows, so nothing is given back to it."""
    return (
        "local fixed, each = 1, 3\n"
        + now
        + _CELLS
        + """local delta, granted, wait = tonumber(ARGV[1]), 0, 0
if delta < 0 and not kept then return {0, '0'} end
keep = true
for i = 1, windows do
  local interval, burst = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local mark = tonumber(ARGV[3 * i + 1])
  if delta >= 0 then
    idle[i] = idle[i] + whole[i]
    tat[i] = now + math.min(lead[i] + delta * interval, 2 * burst * interval)
  elseif idle[i] >= mark then
    tat[i] = now + lead[i] - whole[i]
    tat[i] = tat[i] - math.max(0, -delta * interval - (idle[i] - mark) - whole[i])
  end
  lead[i] = math.max(0, tat[i] - now)
end
"""
        + _KEEP
        + _ANSWER
    )
