"""Noise on one core: seconds and memory of drawing it, and of mixing it over rounds, beside the limits.

    python simulations/benchmarks/noise.py
    python simulations/benchmarks/noise.py --quick

Half a minute or so; ``--quick`` draws a hundredth, which shows that everything runs, its figures say little. Seconds
are those of the processor, all on one core, so that other work on the machine counts little; short measurements are the
least of several. Memory is the most that the process ever had, everything imported among it.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from threadpoolctl import threadpool_limits

from fedpersona.privacy.banded import BandedNoise, banded_sensitivity, column_norm, prefix_error
from fedpersona.privacy.gaussian import gaussian_mu
from fedpersona.privacy.noise import WIDE, add_gaussian, gaussian_integers

NUMBERS, SECONDS = 10_000_000, 1.0
SIZE, ROUNDS, BAND, MEGABYTES = 100_000, 1000, 50, 1000.0
DEVIATION = 1000.0
REFERENCE = {2.0: 10.72, 4.0: 5.736, 8.0: 3.138}
"""Deviations by epsilon: 10,000 devices, 200 a round, 500 rounds, delta 1e-6."""


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the least processor time that it took."""
    least = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        work()
        least = min(least, time.process_time() - started)
    return least


def peak_megabytes() -> float:
    """Return the most memory that this process ever had; what its parent had is not in it."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) / 1e3 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def row(what: str, measured: str, limit: str = "", note: str = "") -> None:
    print(f"  {what:64} {measured:>10} {limit:>9}  {note}".rstrip(), flush=True)


def verdict(measured: float, limit: float) -> str:
    return "" if measured <= limit else "ABOVE THE LIMIT"


def measure_banded(size: int, rounds: int) -> None:
    """Come first: no array that another measurement needed is in its memory."""
    print(f"\n(a) mixed over {BAND} rounds {'measured':>50} {'limit':>9}")
    before = peak_megabytes()
    stream = BandedNoise(size, DEVIATION, band=BAND, rounds=rounds, separation=BAND)
    started = time.process_time()
    for number in range(1, rounds + 1):
        stream.draw(number)
    took, peak = time.process_time() - started, peak_megabytes()
    name = f"{rounds:,} rounds of {size:,} numbers"
    row(f"{name}: seconds", f"{took:.2f} s")
    row(f"{name}: peak memory", f"{peak:.0f} MB", f"{MEGABYTES:.0f} MB", verdict(peak, MEGABYTES))
    row("  of which without any noise", f"{before:.0f} MB")
    row("  of which one band in float64", f"{(BAND - 1) * size * 8 / 1e6:.0f} MB")


def measure_numbers(numbers: int) -> None:
    print(f"\n(b) independent {'measured':>59} {'limit':>9}")
    row(f"bare AES-256-CTR, 12 bytes for each of {numbers:,} numbers", f"{bare_cipher(12 * numbers):.3f} s")
    generator = np.random.default_rng()
    row(
        "for comparison: numpy's Gaussian, not fit to protect anyone",
        f"{seconds(lambda: generator.standard_normal(numbers)):.3f} s",
    )
    for deviation, what in ((DEVIATION, "of 1,000 steps"), (4 * WIDE, "of 2^18 steps, so in two parts")):
        took = seconds(lambda deviation=deviation: gaussian_integers(numbers, deviation))
        row(f"{numbers:,} integers {what}", f"{took:.3f} s", f"{SECONDS:.0f} s", verdict(took, SECONDS))
    words = np.zeros(numbers, "<u4")
    took = seconds(lambda: add_gaussian(words, DEVIATION))
    row(f"added to {numbers:,} words of 32 bits", f"{took:.3f} s", f"{SECONDS:.0f} s", verdict(took, SECONDS))


def bare_cipher(size: int) -> float:
    zeros, room = bytes(size), bytearray(size + 15)
    cipher = Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor()
    return seconds(lambda: cipher.update_into(zeros, room))


def show_reference() -> None:
    print(f"\n(c) 10,000 devices, 200 a round, 500 rounds, delta 1e-6 {'found':>19} {'reference':>9}")
    row("column norm at band 50", f"{column_norm(50, 500):.4f}", "1.5198")
    sensitivity, alone = banded_sensitivity(50, 500, 50), banded_sensitivity(1, 500, 50)
    for epsilon, reference in REFERENCE.items():
        mu = gaussian_mu(epsilon, 1e-6)
        row(f"deviation over clip at epsilon {epsilon:g}", f"{sensitivity / mu:.3f}", f"{reference:g}")
        mixed, independent = prefix_error(50, 500), prefix_error(1, 500)
        row("  error of the model over clip, mean of rounds", f"{sensitivity / mu * mixed.rms:.1f}")
        row("  the same with independent noise", f"{alone / mu * independent.rms:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="draw a hundredth")
    part = 100 if parser.parse_args().quick else 1
    with threadpool_limits(1):
        measure_banded(SIZE // part, ROUNDS)
        measure_numbers(NUMBERS // part)
    show_reference()


if __name__ == "__main__":
    main()
