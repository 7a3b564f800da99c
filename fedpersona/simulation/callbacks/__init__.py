"""Who follows a run: one small protocol, and an implementation a file. None of them is needed by any other."""

from fedpersona.simulation.callbacks.callback import Callback, Callbacks, facts, round_figures
from fedpersona.simulation.callbacks.naming import LOGS, make_callback

__all__ = ["LOGS", "Callback", "Callbacks", "facts", "make_callback", "round_figures"]
