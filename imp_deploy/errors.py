"""The errors that a user can cause, each with the exit code of the contract.

A message is one sentence: what is wrong, where, and what to do about it.
"""

from __future__ import annotations


class ImpError(Exception):
    """Base of the expected errors; `exit_code` is what the program ends with."""

    exit_code = 1


class BadInput(ImpError):
    """A checkpoint, image, bundle or configuration that cannot be used."""

    exit_code = 3


class DeviceError(ImpError):
    """A device or the way to it failed: the runner, its compiler, a transport."""

    exit_code = 4


class CheckFailed(ImpError):
    """A check ran and its answer is no: a regression, a lost parity."""

    exit_code = 5


class Undecided(ImpError):
    """A check could not decide: inconclusive or incomparable."""

    exit_code = 6


class Interrupted(BaseException):
    """Ctrl+C. Not KeyboardInterrupt, which typer turns into an exit without a word."""
