"""The secrets of a round, recovered from what devices answered, and whom to suspect where shares do not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

from fedpersona.privacy.secagg.shamir import recover_robust

__all__ = ["recover_secrets"]


def recover_secrets(
    shares: Mapping[int, Mapping[int, int]], needed: Callable[[int], int], right: Callable[[int, int], bool]
) -> tuple[dict[int, int | None], set[int]]:
    """Recover the secrets of some devices, though some shares may be wrong.

    Args:
        shares: by place of the device whose secret it is, and point: the place of the one that answered, and one.
        needed: gives t of a device.
        right: tells whether a device's secret is the one that it committed to.

    Returns:
        The secrets by place, None where one cannot be recovered; and the devices whose shares of those that were
        recovered did not fit. Of one that was not nobody is named: its device may have dealt wrong shares, and as well
        so many of its neighbours may have lied together.
    """

    def secret_of(place: int, liars: Collection[int]) -> tuple[int | None, list[tuple[int, int]]]:
        """Return a device's secret, and what shares of it were wrong; leave out what some devices said."""
        said = {point: share for point, share in shares[place].items() if point - 1 not in liars}
        secret, wrong = recover_robust(said, needed(place), lambda one: right(place, one)) or (None, frozenset())
        return secret, [(place, point - 1) for point in wrong]

    secrets: dict[int, int | None] = {}
    misfits: list[tuple[int, int]] = []
    for place in sorted(shares):
        secrets[place], wrong = secret_of(place, ())
        misfits += wrong
    liars = frozenset(answered for _, answered in misfits)
    for place, secret in secrets.items():
        if secret is None:  # an error at a known place costs one share, at an unknown one two
            secrets[place], wrong = secret_of(place, liars)
            misfits += wrong
    return secrets, _suspects(misfits)


def _suspects(misfits: Collection[tuple[int, int]]) -> set[int]:
    """Return whom to suspect, by whose secret a wrong share is of, and who answered it: either may have made it.

    The one of the two with more such shares; both where neither has. Otherwise a device could have honest ones blamed.
    """
    count = Counter(device for pair in misfits for device in pair)
    return {device for pair in misfits for device in pair if count[device] == max(count[other] for other in pair)}
