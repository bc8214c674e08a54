"""The states of a phone that cannot be used: what each means, and what to do."""

from __future__ import annotations

from imp_deploy.bench.usb import NO_RIGHTS

_UNPLUG = "Take the cable out and in, unlock the phone, or run `adb kill-server`."

_STATES: dict[str, tuple[str, str]] = {
    "unauthorized": (
        "The phone has not authorised this computer.",
        'Unlock it and accept the dialog "Allow USB debugging?"; without a dialog, take the cable '
        "out and in, or revoke USB debugging authorisations in the developer options.",
    ),
    "authorizing": (
        "The phone is about to authorise this computer.",
        'Unlock it and accept the dialog "Allow USB debugging?".',
    ),
    "offline": ("The phone does not answer the adb server.", _UNPLUG),
    "connecting": ("The adb server is still connecting.", "Wait a moment and try again."),
    "no permissions": (
        "This user may not use the phone's USB port.",
        NO_RIGHTS[0].upper() + NO_RIGHTS[1:],
    ),
    "recovery": ("The phone is in recovery.", "Restart it: `adb reboot`."),
    "rescue": ("The phone is in rescue mode.", "Restart it: `adb reboot`."),
    "sideload": ("The phone waits for an update to be sideloaded.", "Restart it."),
    "bootloader": ("The phone is in its bootloader.", "Restart it: `fastboot reboot`."),
}


def explained(state: str) -> tuple[str, str]:
    """Reason and cure, each a sentence."""
    return _STATES.get(state, (f'The adb server says "{state}" of it.', _UNPLUG))


def refusal(name: str, state: str) -> str:
    """Why a phone in that state cannot be connected to, and the cure."""
    return f"{name} cannot be used. {' '.join(explained(state))}"
