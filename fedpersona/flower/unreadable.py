"""A reply that cannot be put together from its pieces is one bad reply, not the end of the run.

Flower's grid hands out replies in batches. It checks that each piece is what it is called by, but not that the pieces
make a message: one device that sends a message of which a piece is garbage makes ``pull_messages`` raise, after the
whole batch was taken off the SuperLink. So the pieces of a reply are tried first, here, and where they do not fit
Flower is told what it knows how to handle: that this one reply could not be pulled. So it is where they would make
more bytes than a reply has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flwr.app import Message
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, inflate_object_from_contents
from flwr.superlink.grid import http_grid

from fedpersona.flower.inflation import check_inflation

__all__ = ["UNREADABLE", "guard_replies"]

UNREADABLE = "its pieces make no message"
"""Stands in the reason of the error that takes the place of such a reply."""


def guard_replies(most: int) -> None:
    """Make Flower's grid of this process survive replies that cannot be read; again, with another limit.

    Args:
        most: bytes of a reply, at most, once it is put together.
    """
    pull = vars(http_grid)["pull_objects"]
    vars(http_grid)["pull_objects"] = _guarded(getattr(pull, "guarded", pull), most)


def _guarded(pull: Callable[..., dict[str, bytes]], most: int) -> Callable[..., dict[str, bytes]]:
    def guarded(object_ids: list[str], *arguments: Any, **settings: Any) -> dict[str, bytes]:
        pieces = pull(object_ids, *arguments, **settings)
        root = object_ids[-1]  # children come before their parents
        try:
            check_inflation(pieces, most)
            found = inflate_object_from_contents(root, dict(pieces), keep_object_contents=True)
            whole = isinstance(found, Message) and (found.has_error() or found.has_content())
        except Exception:  # whatever a device made of it
            whole = False
        if not whole:
            raise ObjectPullError(root, UNREADABLE)
        return pieces

    guarded.guarded = pull  # type: ignore[attr-defined]
    return guarded
