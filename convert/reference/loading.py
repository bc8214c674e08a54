"""Filling torch modules with a checkpoint's tensors, and saying what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from imp_deploy.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

    State = dict[str, Tensor]

M = TypeVar("M", bound="nn.Module")
_LONGEST = 600  # characters of a library's complaint: a wrong model misses hundreds of tensors


def require_torch() -> None:
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"comparing with PyTorch needs torch and transformers ({error}): "
            "pip install 'imp-deploy[torch]'"
        ) from error


def fill(module: M, state: State) -> M:
    """`module` (made on torch's meta device) with `state` as float32, ready for inference. Raises
    torch's RuntimeError, which lists missing, unexpected and wrongly shaped tensors."""
    import torch

    module.load_state_dict({k: v.to(torch.float32) for k, v in state.items()}, assign=True)
    return module.eval().requires_grad_(False)


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turns whatever the libraries say of sizes that do not fit together into `BadInput`."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        if len(said) > _LONGEST:
            said = f"{said[:_LONGEST]}…"
        raise BadInput(
            f"{what} does not fit its configuration ({said}); download the checkpoint again, or "
            "check that all its files belong together."
        ) from error
