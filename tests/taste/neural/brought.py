"""A taste model of a module of the tests, as loading one from a file makes it."""

from __future__ import annotations

from fedpersona.taste.neural import TorchTaste


def taste(module, **settings) -> TorchTaste:
    """Return the model; ``dim`` and the like stay the constructor's own."""

    class Taste(TorchTaste):
        name = "torch:test"
        summary = "of a test"
        remembers = bool(getattr(module, "private", ()))

        @classmethod
        def module_class(cls):
            return module

    return Taste(**settings)
