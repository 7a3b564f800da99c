"""Fuzzes every reader, and ``sources.read``, with atheris, from the golden exports on.

    python tests/sources/fuzz_parsers.py            # a minute
    python tests/sources/fuzz_parsers.py --seconds 5

Ends with 0 when nothing but listens, problems and the package's own errors came of it. A finding is printed with the
bytes that led to it, and nothing is left on the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fedpersona.sources"]):
    from fedpersona import sources
    from fedpersona.errors import DataError
    from fedpersona.sources.detect import FORMATS, recognise
    from fedpersona.sources.format import Skipped
    from fedpersona.sources.listen import Listen

GOLDEN = Path(__file__).parents[1] / "golden"
LONGEST = 4096


def one_input(data: bytes) -> None:
    """Read the bytes as each format, after a first byte that chooses it, and as an upload."""
    if not data:
        return
    choice, data = data[0] % (len(FORMATS) + 1), data[1:]
    recognise(data)
    if choice < len(FORMATS):
        for record in FORMATS[choice].read(io.BytesIO(data)):
            if not isinstance(record, Listen | Skipped):
                raise TypeError(type(record))
        return
    with contextlib.suppress(DataError):
        list(sources.read(io.BytesIO(data), name="upload"))


def seeds(folder: Path) -> None:
    """Lay the beginning of every golden export out, once for each format, and once as an upload."""
    exports = [path for path in sorted(GOLDEN.rglob("*")) if path.is_file() and ".expected." not in path.name]
    for number, path in enumerate(exports):
        data = path.read_bytes()[: LONGEST - 1]
        for choice in range(len(FORMATS) + 1):
            (folder / f"{number}-{choice}").write_bytes(bytes([choice]) + data)


def fuzz(folder: str, seconds: int) -> None:
    """Fuzz from the inputs in a folder on; the fuzzer ends this process itself, without cleaning up."""
    settings = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=5", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], *settings, f"-artifact_prefix={folder}/", folder], one_input)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        fuzz(options.folder, options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        seeds(Path(folder))
        command = [sys.executable, __file__, "--seconds", str(options.seconds), "--folder", folder]
        sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
