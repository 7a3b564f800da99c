"""What neighbours and threshold of secure aggregation are worth: the tables of ``docs/secure-aggregation.md``.

    python simulations/recipes/secure_parameters.py

Chances are over all devices of one round, as powers of two, by :func:`fedpersona.privacy.secagg.chances`: -41 is
2^-41, "never" is impossible, "sure" is a bound of 1. Bytes are those of all fields and signatures for a device among
1,000 of which none leaves: up without the vector itself, down without the model.
"""

from __future__ import annotations

from fedpersona.privacy.secagg import Parameters, chances
from fedpersona.privacy.secagg.graph import everyone, neighbours_of
from fedpersona.privacy.secagg.messages import encode_view
from fedpersona.privacy.secagg.roster import HEAD, Entry, Roster
from fedpersona.wire.plan import Plan

COLLUDING, LEAVING = (0.05, 0.1, 0.2, 0.33), (0.05, 0.1, 0.2)
SIGNATURE, PLAN_HASH, SEALED, SHARE = 64, 64, 80, 32


def exponents(size: int, parameters: Parameters) -> list[float]:
    bad = [chances(size, parameters, colluding=share, leaving=0.0) for share in COLLUDING]
    gone = [chances(size, parameters, colluding=0.0, leaving=share) for share in LEAVING]
    return [*(one.alone for one in bad), *(one.split for one in bad), *(one.failed for one in gone)]


def in_words(exponent: float) -> str:
    return "never" if exponent == float("-inf") else "sure" if exponent == 0 else f"{exponent:.0f}"


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
    events = [f"{what} {share:.0%}" for what in ("alone", "split") for share in COLLUDING]
    events += [f"failed {share:.0%}" for share in LEAVING]
    rows: list[list[object]] = []
    for size in (50, 100, 300, 1000, 10_000):
        degrees = [len(others) for others in everyone(bytes(32), size, Parameters().neighbours)]
        rows.append([size, round(sum(degrees) / size), *map(in_words, exponents(size, Parameters()))])
    table(["n", "neighbours", *events], rows)
    rows = []
    for neighbours in (48, 64, 80, 100):
        for share in (0.6, 0.67, 0.71, 0.75):
            parameters = Parameters(neighbours, round(share * neighbours))
            least = 2 * parameters.threshold - neighbours
            wanted = [neighbours, parameters.threshold, least, *map(in_words, exponents(1000, parameters))]
            rows.append([*wanted, *message_bytes(1000, parameters)])
    table(["k", "t", "2t-k", *events, "bytes up", "bytes down"], rows)


if __name__ == "__main__":
    main()
