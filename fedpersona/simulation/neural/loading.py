"""A module that a researcher brings in a file: ``torch:my_model.py``, or ``torch:my_model.py:ClassName``.

The file is a program, and it runs. The convention that its module keeps to is told in
:mod:`fedpersona.taste.neural.blueprint`.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import create_model
from pydantic.fields import FieldInfo

from fedpersona.errors import ConfigError
from fedpersona.taste.neural import TorchTaste
from fedpersona.taste.registry import make

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PREFIX", "Brought", "brought"]

PREFIX = "torch:"
"""How the name of such a model begins."""


class Brought(TorchTaste):
    """A model whose module came in a file."""

    spec: ClassVar[str]
    """``torch:PATH:ClassName``, the path in full."""
    module: ClassVar[type[nn.Module]]
    code_hash: ClassVar[str]
    """SHA-256 of the file, as it was run."""

    @classmethod
    def module_class(cls) -> type[nn.Module]:
        """Return the class that was in the file."""
        return cls.module

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it as the file and the settings: another process reads the file itself."""
        return brought, (self.spec, self.model_dump())


def brought(spec: str, settings: Mapping[str, Any] | None = None) -> Brought:
    """Make a model from a file and settings.

    Args:
        spec: ``torch:PATH`` or ``torch:PATH:ClassName``.
        settings: of training, and arguments of the module's constructor.

    Raises:
        ConfigError: there is no such file, it cannot be run, holds no module of the convention, or torch is not there.
    """
    if importlib.util.find_spec("torch") is None:
        raise ConfigError(f"{spec} needs PyTorch: pip install 'fedpersona[torch]'")
    place = spec.removeprefix(PREFIX)
    path, colon, name = place.rpartition(":")
    if not colon or not name.isidentifier():
        path, name = place, ""
    kind = _kind(Path(path).resolve(), name)
    model = make(kind, kind.name, settings)
    assert isinstance(model, Brought)  # noqa: S101 - for the type
    _ = model.blueprint  # what is wrong with the module shows before any data is read
    return model


@lru_cache(maxsize=8)
def _kind(path: Path, name: str) -> type[Brought]:
    """Return the model's class, with the constructor's arguments as fields."""
    file, code_hash = _run(path)
    module = _module(file, path, name)
    base = TorchTaste.model_fields
    fields: dict[str, Any] = {}
    for argument in list(inspect.signature(module).parameters.values())[1:]:
        if argument.name in base:
            raise ConfigError(f"{path.name}: {module.__name__}(..., {argument.name}) is a setting of every model")
        if not isinstance(argument.default, bool | int | float | str):
            raise ConfigError(
                f"{path.name}: {module.__name__}(..., {argument.name}) needs a default: a number, a text, True or False"
            )
        fields[argument.name] = (type(argument.default), argument.default)
    for setting, value in getattr(module, "defaults", {}).items():
        if setting not in base:
            raise ConfigError(f"{path.name}: {module.__name__}.defaults names '{setting}', which is no setting")
        field: FieldInfo = copy.copy(base[setting])
        field.default = value
        fields[setting] = (field.annotation, field)
    kind = create_model(module.__name__, __base__=Brought, __module__=__name__, **fields)
    kind.name = f"{PREFIX}{module.__name__}"
    kind.summary = (inspect.getdoc(module) or "a module brought in a file").splitlines()[0]
    kind.spec = f"{PREFIX}{path}:{module.__name__}"
    kind.module = module
    kind.code_hash = code_hash
    kind.remembers = bool(getattr(module, "private", ()))
    return kind


def _run(path: Path) -> tuple[ModuleType, str]:
    """Run a file; return its module and the SHA-256 of what was run."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file: give torch:PATH of a file with a torch.nn.Module in it")
    name = f"fedpersona_brought_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: no file of Python: its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        code = path.read_bytes()
        # Not by the loader: that takes a compiled form of the file which may be of an earlier state of it.
        exec(compile(code, str(path), "exec", dont_inherit=True), vars(module))  # noqa: S102 - the file is a program, and it is to run
    except Exception as error:
        place = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        del sys.modules[name]
        raise ConfigError(f"{path}{place}: cannot be run ({type(error).__name__}: {error})") from error
    return module, hashlib.sha256(code).hexdigest()


def _module(file: ModuleType, path: Path, name: str) -> type[nn.Module]:
    from torch import nn

    found = {
        key: value
        for key, value in vars(file).items()
        if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == file.__name__
    }
    if name:
        if name not in found:
            raise ConfigError(f"{path}: has no torch.nn.Module '{name}': {', '.join(found) or 'none at all'}")
        return found[name]
    able = {key: value for key, value in found.items() if hasattr(value, "tables")} or found
    if len(able) != 1:
        held = (
            f"{len(able)} modules, {', '.join(able)}: say which, torch:{path.name}:ClassName"
            if able
            else "no torch.nn.Module"
        )
        raise ConfigError(f"{path}: has {held}")
    return next(iter(able.values()))
