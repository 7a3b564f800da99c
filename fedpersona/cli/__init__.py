"""The command line. Results go to stdout, everything else to stderr."""

from fedpersona.cli.ending import one_sentence
from fedpersona.cli.main import app, main

__all__ = ["app", "main", "one_sentence"]
