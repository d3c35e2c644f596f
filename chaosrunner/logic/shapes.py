"""The area under a shape, and the instant at which the area reaches a value: one stage or one wave at a time."""

from __future__ import annotations

from math import inf, isfinite, pi, sin, sqrt

from chaosrunner.model.load import Shape, Stage, Wave

NEAR_S = 1e-10
"""How near the root of a wave's integral is found: a tenth of a nanosecond."""

EPSILON = 2.0**-51
"""Nearer than this share of an instant there may be no float between two others."""

NEWTONS = 8


def length_s(shape: Shape) -> float:
    """How long a shape lasts, in seconds; `inf` for an open end."""
    return inf if shape.lasts_s is None else shape.lasts_s


def area(shape: Shape, seconds: float) -> float:
    """The integral of a shape over its first `seconds`."""
    if isinstance(shape, Wave):
        return _wave_area(shape, seconds) if seconds < inf else inf
    if not shape.start and not shape.end:
        return 0.0
    if shape.lasts_s is None:
        return shape.start * seconds
    return seconds * (shape.start + (shape.end - shape.start) * seconds / shape.lasts_s / 2)


def value(shape: Shape, seconds: float) -> float:
    """What a shape asks for so long after it began."""
    if isinstance(shape, Wave):
        return shape.mean + shape.swing * sin(2 * pi * seconds / shape.period_s)
    return shape.start if shape.lasts_s is None else shape.start + _slope(shape) * seconds


def reaches(shape: Shape, wanted: float) -> float:
    """After how many seconds the integral of a shape reaches an area that it does reach."""
    if isinstance(shape, Wave):
        periods = wanted // (shape.mean * shape.period_s)
        rest = max(0.0, wanted - periods * shape.mean * shape.period_s)
        return min(periods * shape.period_s + _in_wave(shape, rest), length_s(shape))
    # The root of start·t + slope·t²/2 = area in the form that neither cancels nor divides by a slope of zero.
    below = max(0.0, shape.start * shape.start + 2 * _slope(shape) * wanted)
    offset = 2 * wanted / (shape.start + sqrt(below)) if wanted else 0.0
    return min(offset, length_s(shape))


def check(shape: Shape) -> None:
    """Raise ValueError for a shape that means nothing: a negative or infinite value, no length, a crooked open end."""
    if isinstance(shape, Wave):
        _check_wave(shape)
    elif not (isfinite(shape.start) and isfinite(shape.end) and shape.start >= 0 and shape.end >= 0):
        raise ValueError(f"a rate must be a number from 0 up: {shape}")
    elif shape.lasts_s is None and shape.start != shape.end:
        raise ValueError(f"an open-ended stage must be flat: {shape}")
    if shape.lasts_s is not None and not 0 < shape.lasts_s < inf:
        raise ValueError(f"a stage must last a positive time: {shape}")


def _check_wave(wave: Wave) -> None:
    if not (0 <= wave.low <= wave.high < inf and wave.high > 0 and 0 < wave.period_s < inf):
        raise ValueError(f"the rate of a wave must stay from 0 up, and its period above 0: {wave}")


def _slope(stage: Stage) -> float:
    return (stage.end - stage.start) / length_s(stage)


def _wave_area(wave: Wave, seconds: float) -> float:
    half_turn = sin(pi * seconds / wave.period_s)
    # 1 − cos φ as 2 sin²(φ/2), which does not cancel near whole periods.
    return wave.mean * seconds + wave.swing * wave.period_s / pi * half_turn * half_turn


def _in_wave(wave: Wave, wanted: float) -> float:
    """The instant within one period at which the area reaches `wanted`.

    Newton's method inside a bracket; a step that would leave it, or comes after eight that did not do, halves the
    bracket instead. So it ends for every wave, also where the rate touches zero.
    """
    low, high, at, tries = 0.0, wave.period_s, min(wanted / wave.mean, wave.period_s), 0
    while True:
        excess = _wave_area(wave, at) - wanted
        low, high = (low, at) if excess > 0 else (at, high)
        rate = value(wave, at)
        step = excess / rate if rate > 0 else inf
        if abs(step) <= NEAR_S or high - low <= max(NEAR_S, high * EPSILON):
            return min(max(at - step, low), high)
        tries += 1
        at = at - step if tries <= NEWTONS and low < at - step < high else (low + high) / 2
