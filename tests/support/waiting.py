"""Waiting for real things without sleeping for a guessed time.

`eventually` returns as soon as a check holds, `consistently` fails as soon as it does not. A check is a function
without arguments; it holds when it returns anything but False or None and raises no AssertionError. What it last
said is shown when time is up.

The `a`-variants take a function that returns an awaitable.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

T = TypeVar("T")
Errors = type[Exception] | tuple[type[Exception], ...]
PATIENCE = 60.0
"""Seconds. Waiting ends early where things are well: it is short only where the time itself is what is promised."""


def eventually(
    check: Callable[[], T | Literal[False] | None],
    timeout: float = PATIENCE,
    interval: float = 0.05,
    *,
    retry: Errors = AssertionError,
) -> T:
    """Call `check` every `interval` seconds until it holds; return what it returned.

    Exceptions of the types in `retry` mean "not yet"; any other ends the wait at once.
    """
    deadline = time.monotonic() + timeout
    while True:
        value, error = None, None
        try:
            value = check()
        except retry as caught:
            error = caught
        if error is None and _holds(value):
            return value  # type: ignore[return-value]  # `value` is the check's own T here
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout:g} s: {_said(value, error)}") from error
        time.sleep(interval)


def consistently(check: Callable[[], object], duration: float = 2.0, interval: float = 0.05) -> None:
    """Fail as soon as `check` does not hold at some moment of the next `duration` seconds."""
    start = time.monotonic()
    while (passed := time.monotonic() - start) < duration:
        value, error = None, None
        try:
            value = check()
        except AssertionError as caught:
            error = caught
        if error is not None or not _holds(value):
            raise AssertionError(f"held for {passed:.2f} s of {duration:g} s: {_said(value, error)}") from error
        time.sleep(interval)


async def aeventually(
    check: Callable[[], Awaitable[T | Literal[False] | None]],
    timeout: float = PATIENCE,  # noqa: ASYNC109 - the same words as `eventually`
    interval: float = 0.05,
    *,
    retry: Errors = AssertionError,
) -> T:
    """`eventually` for a function that returns an awaitable."""
    deadline = time.monotonic() + timeout
    while True:
        value, error = None, None
        try:
            value = await check()
        except retry as caught:
            error = caught
        if error is None and _holds(value):
            return value  # type: ignore[return-value]
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout:g} s: {_said(value, error)}") from error
        await asyncio.sleep(interval)


async def aconsistently(check: Callable[[], Awaitable[object]], duration: float = 2.0, interval: float = 0.05) -> None:
    """`consistently` for a function that returns an awaitable."""
    start = time.monotonic()
    while (passed := time.monotonic() - start) < duration:
        value, error = None, None
        try:
            value = await check()
        except AssertionError as caught:
            error = caught
        if error is not None or not _holds(value):
            raise AssertionError(f"held for {passed:.2f} s of {duration:g} s: {_said(value, error)}") from error
        await asyncio.sleep(interval)


def _holds(value: object) -> bool:
    return value is not None and value is not False


def _said(value: object, error: Exception | None) -> str:
    return f"{type(error).__name__}: {error}" if error is not None else f"the check returned {value!r}"
