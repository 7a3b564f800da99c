"""What neighbours and threshold of secure aggregation are worth: the tables of ``docs/secure-aggregation.md``.

    python simulations/recipes/secure_parameters.py

Chances are over all devices of one round, as powers of two: -41 is 2^-41, "sure" is a bound of 1, "never" is
impossible. They come from :func:`fedpersona.privacy.secagg.chances`. Bytes are those of all fields and signatures for a
device among 1,000 of which none leaves: up without the vector itself, down without the model.
"""

from __future__ import annotations

from fedpersona.privacy.secagg import Parameters, chances
from fedpersona.privacy.secagg.graph import neighbours_of
from fedpersona.privacy.secagg.messages import encode_view
from fedpersona.privacy.secagg.roster import HEAD, Entry, Roster
from fedpersona.wire.plan import Plan

COLLUDING, LEAVING = (0.05, 0.1, 0.2, 0.33), (0.05, 0.1, 0.2)
SIGNATURE, PLAN_HASH, SEALED, SHARE = 64, 64, 80, 32


def cells(size: int, parameters: Parameters) -> list[str]:
    colluding = [chances(size, parameters, colluding=share, leaving=0.0) for share in COLLUDING]
    leaving = [chances(size, parameters, colluding=0.0, leaving=share) for share in LEAVING]
    return [
        " / ".join(in_words(getattr(found, event)) for found in row)
        for event, row in (("alone", colluding), ("split", colluding), ("failed", leaving))
    ]


def in_words(power: float) -> str:
    if power == float("-inf"):
        return "never"
    return "sure" if power > -0.5 else "< -100" if power < -100 else f"{power:.0f}"


def message_bytes(size: int, parameters: Parameters) -> tuple[int, int]:
    """Return the bytes of one device's five answers, and of the five questions to it."""
    tree = Roster(tuple(Entry(place.to_bytes(32, "little"), bytes(64), bytes(64)) for place in range(size)))
    others = neighbours_of(bytes(32), size, parameters.neighbours, 0)
    view = encode_view(0, [tree.entries[other] for other in others], tree.proof({0, *others}))
    degree, bits = len(others), -(-len(others) // 8)
    plan = len(Plan("subspace", 1, size, 50, 32, 0, catalogue="0" * 64, shared_hash="0" * 64).encode())
    entering, sharing, unmasking = 64, 32 + SEALED * degree, bits + SHARE * degree
    up = entering + sharing + unmasking + 5 * SIGNATURE
    asked = plan + SIGNATURE + 4 * PLAN_HASH + HEAD + SIGNATURE
    shown = len(view) + bits + SEALED * degree + -(-size // 8) + (4 + SIGNATURE) * parameters.needed(degree)
    return up, asked + shown


def table(heads: list[str], rows: list[list[object]]) -> None:
    print("| " + " | ".join(heads) + " |")
    print("|" + "---:|" * len(heads))
    for row in rows:
        print("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) + " |")
    print()


def main() -> None:
    collude = ", ".join(f"{share:.0%}" for share in COLLUDING)
    events = [f"{event} at {collude}" for event in ("alone", "split")]
    events.append("failed at " + ", ".join(f"{share:.0%}" for share in LEAVING))
    rows: list[list[object]] = [[size, *cells(size, Parameters())] for size in (50, 100, 300, 1000, 10_000)]
    table(["n", *events], rows)
    rows = []
    for neighbours in (48, 64, 76, 100):
        for share in (0.6, 0.67, 0.74):
            parameters = Parameters(neighbours, round(share * neighbours))
            up, down = message_bytes(1000, parameters)
            rows.append([neighbours, parameters.threshold, *cells(1000, parameters), up, down])
    table(["k", "t", *events, "bytes up", "bytes down"], rows)


if __name__ == "__main__":
    main()
