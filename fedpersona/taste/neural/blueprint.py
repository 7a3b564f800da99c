"""What a module tells about itself, and the two forms of it: as it is, and with tables that give looked-up rows.

The convention. A taste model is a ``torch.nn.Module`` whose constructor takes ``items``, the rows of the catalogue, and
any further arguments with a default that is a number, a text or a yes or no: these become settings of the model. It has

``tables``
    names of the ``nn.Embedding`` with one row an item, which are shared. They are looked up with the ids that
    ``forward`` is given, as they are given: ``self.item(items)[1:]``, not ``self.item(items[1:])``. Only the rows of
    these ids are in a device's hands while it trains.
``private``
    names of parameters, or of submodules, that never leave the device and go on from round to round; by default none.
    All others are shared.
``task``
    ``"pointwise"``, the default: ``forward(items)`` takes ids (n,) and returns logits (n,).
    ``"sequence"``: ``forward(history, candidates)`` takes ids (length,), earliest first, and ids (length, n), and
    returns logits (length, n): how likely each candidate is to come next at each place. It must not look ahead: the
    history is filled at its end.
``length``
    of the history that a sequence module takes, by default 50.
``defaults``
    settings of training that suit it, by name: ``{"lr": 0.1}``.
``loss``
    a method in place of binary cross-entropy. It takes what ``forward`` does, then for a pointwise module labels (n,),
    then weights, (n,) or (length,), which are 0 where an entry only fills the step and add up to 1 over the others; it
    returns one number, a sum so weighted.
``scores``
    a method for a sequence module in place of ``forward`` with every item as a candidate, which does for each place
    what is of use at one. It takes ids (length,) and the last place that is filled, a tensor of one number, and returns
    logits (items,). There tables can be used in any way.

Ids may be used otherwise too, as to index a buffer of features. A module has no dropout and no batch normalisation:
what a device draws must not depend on which others train beside it, and running statistics tell on its owner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from fedpersona.errors import ConfigError

__all__ = ["Blueprint", "Looked", "Objective", "array_name", "blueprint", "one_thread"]

_PROBES = (11, 13)
"""Sizes of catalogue that a module is built for to see which parameters have a row an item."""


class Looked(nn.Module):
    """In place of a table: gives the rows that were looked up beforehand for the ids that a module is given."""

    def __init__(self, table: str) -> None:
        super().__init__()
        self.table = table
        self.given: Sequence[tuple[Tensor, Tensor | None]] = ()
        """The arguments of ``forward``, and the rows of each; None where it is not looked up with it."""
        self.asked: set[int] = set()
        """Positions of the arguments that it was looked up with."""

    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows of the ids."""
        for position, (known, rows) in enumerate(self.given):
            if ids is known and rows is not None:
                self.asked.add(position)
                return rows
        raise ConfigError(
            f"the table '{self.table}' is looked up with other ids than forward was given: look these up as they are, "
            "and take from the rows what is wanted"
        )

    @property
    def weight(self) -> Tensor:
        """There is none.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"the whole of table '{self.table}' is used where a device trains, which has the rows of its ids only"
        )


class Objective(nn.Module):
    """A module with its loss, over looked-up rows."""

    def __init__(self, module: nn.Module, task: str) -> None:
        super().__init__()
        self.module = module
        self.task = task
        self.tables = {
            array_name(f"{part.table}.weight"): part for part in module.modules() if isinstance(part, Looked)
        }

    def forward(self, ids: Sequence[Tensor], beside: Sequence[Tensor]) -> Tensor:
        """Return the loss of one step; the logits, with nothing beside the ids."""
        own = getattr(self.module, "loss", None)
        if own is not None and beside:
            return cast(Tensor, own(*ids, *beside))
        logits = cast(Tensor, self.module(*ids))
        if logits.shape != ids[-1].shape:
            raise ConfigError(
                f"{type(self.module).__name__}.forward returns {tuple(logits.shape)} for ids "
                f"{tuple(ids[-1].shape)}: one logit for each is wanted"
            )
        if not beside:
            return logits
        # Of a logit z and a label y: log(1 + exp(z)) - y z, which overflows nowhere.
        if self.task == "sequence":
            losses = softplus(logits).mean(-1) - logits[..., 0] / logits.shape[-1]
        else:
            losses = softplus(logits) - beside[0] * logits
        return (losses * beside[-1]).sum()

    def at(
        self,
        parameters: Mapping[str, Tensor],
        rows: Mapping[str, Sequence[Tensor | None]],
        ids: Sequence[Tensor],
        beside: Sequence[Tensor] = (),
    ) -> Tensor:
        """Return :meth:`forward` for these parameters, by array name, and these rows of tables, one for each of ids."""
        for name, part in self.tables.items():
            part.given = tuple(zip(ids, rows[name], strict=True))
        named = {f"module.{name.replace('/', '.')}": value for name, value in parameters.items()}
        try:
            return cast(Tensor, functional_call(self, named, (ids, beside), tie_weights=False))
        finally:
            for part in self.tables.values():
                part.given = ()


@dataclass(frozen=True, eq=False)
class Blueprint:
    """A module's class with the arguments of its constructor."""

    kind: type[nn.Module]
    arguments: tuple[tuple[str, Any], ...]
    task: Literal["pointwise", "sequence"]
    length: int
    tables: tuple[str, ...]
    """Names of the shared arrays with a row an item."""
    dense: tuple[str, ...]
    """Names of the other shared arrays."""
    private: tuple[str, ...]
    looked_up: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By table, which arguments of ``forward`` it is looked up with."""

    def build(self, items: int, seed: int) -> nn.Module:
        """Return the module as its constructor makes it from a seed. torch's own stream stays as it was.

        Raises:
            ConfigError: the constructor fails.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            try:
                module = self.kind(items, **dict(self.arguments))
            except Exception as error:
                raise ConfigError(f"{self.kind.__name__}({items}, ...) fails: {_told(error)}") from error
        return module.float()

    def beginning(self, items: int, seed: int) -> dict[str, NDArray[np.float32]]:
        """Return all parameters as the constructor makes them."""
        return {
            array_name(name): value.detach().numpy().copy()
            for name, value in self.build(items, seed).named_parameters()
        }

    def shared_shapes(self, items: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the shared parameters by array name, in the order of the module."""
        shapes = _shapes(self)
        return {
            name: (items, *shape[1:]) if name in self.tables else shape
            for name, shape in shapes.items()
            if name not in self.private
        }

    def private_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the private parameters by array name."""
        return {name: shape for name, shape in _shapes(self).items() if name in self.private}

    def saved_bytes(self, batch: int, negatives: int) -> int:
        """Return about how many bytes a step of one device keeps for its backward pass, and its gradients."""
        from fedpersona.taste.neural.trial import saved_bytes

        return saved_bytes(self, batch, negatives)

    def whole(self, items: int) -> nn.Module:
        """Return the module as it is, to be called with parameters of one's own."""
        return _whole(self, items)

    def objective(self, items: int) -> Objective:
        """Return the loss over looked-up rows, to be called with parameters of one's own."""
        return _objective(self, items)


@lru_cache(maxsize=8)
def blueprint(kind: type[nn.Module], arguments: tuple[tuple[str, Any], ...]) -> Blueprint:
    """Read what a module tells about itself, and try it once.

    Raises:
        ConfigError: it does not keep to the convention; the sentence says where.
    """
    from fedpersona.taste.neural.trial import tried

    name = kind.__name__
    told, length = getattr(kind, "task", "pointwise"), getattr(kind, "length", 50)
    if told not in ("pointwise", "sequence"):
        raise ConfigError(f"{name}.task is {told!r}: it is 'pointwise' or 'sequence'")
    task: Literal["pointwise", "sequence"] = "sequence" if told == "sequence" else "pointwise"
    if not (isinstance(length, int) and length >= 1):
        raise ConfigError(f"{name}.length is {length!r}: it is a whole number of plays")
    plain = Blueprint(kind, arguments, task, length, (), (), ())
    first, second = (plain.build(items, 0) for items in _PROBES)
    tables = tuple(_tables(first, name))
    private = tuple(_private(first, name))
    others = dict(second.named_parameters())
    for parameter, value in first.named_parameters():
        if array_name(parameter) in tables:
            continue
        if parameter not in others or others[parameter].shape != value.shape:
            raise ConfigError(
                f"parameter '{parameter}' of {name} changes with the catalogue: make it an nn.Embedding with a row an "
                "item and name that in 'tables'"
            )
    mixed = sorted(set(tables) & set(private))
    if mixed:
        raise ConfigError(f"'{mixed[0]}' of {name} is in 'tables' and in 'private': a table of items is shared")
    _check_parts(first, name)
    dense = tuple(
        array_name(parameter)
        for parameter, _ in first.named_parameters()
        if array_name(parameter) not in (*tables, *private)
    )
    return tried(Blueprint(kind, arguments, task, length, tables, dense, private))


def array_name(parameter: str) -> str:
    """Return the name of a parameter's array: without dots, which counters of a round have."""
    return parameter.replace(".", "/")


class one_thread:  # noqa: N801 - a context, called as a function
    """One thread for torch: results do not depend on how many cores helped."""

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)


def _tables(module: nn.Module, name: str) -> Iterator[str]:
    named = getattr(module, "tables", None)
    if not named or isinstance(named, str):
        raise ConfigError(f'{name} has no tables: tables = ("item",) names its nn.Embedding with a row an item')
    parts = dict(module.named_modules())
    for table in named:
        part = parts.get(table)
        if not isinstance(part, nn.Embedding):
            raise ConfigError(f"{name}.tables names '{table}', which is no nn.Embedding of it")
        if part.num_embeddings != _PROBES[0]:
            raise ConfigError(f"table '{table}' of {name} has {part.num_embeddings} rows for {_PROBES[0]} items")
        if part.padding_idx is not None or part.max_norm is not None or part.sparse or part.scale_grad_by_freq:
            raise ConfigError(f"table '{table}' of {name}: only plain lookups, without padding_idx, max_norm, ...")
        yield array_name(f"{table}.weight")


def _private(module: nn.Module, name: str) -> Iterator[str]:
    named = getattr(module, "private", ())
    if isinstance(named, str):
        raise ConfigError(f'{name}.private is a text: write private = ("{named}",)')
    parameters = [parameter for parameter, _ in module.named_parameters()]
    for private in named:
        under = [p for p in parameters if p == private or p.startswith(f"{private}.")]
        if not under:
            raise ConfigError(f"{name}.private names '{private}', which is no parameter of it: {', '.join(parameters)}")
        yield from (array_name(parameter) for parameter in under)


def _check_parts(module: nn.Module, name: str) -> None:
    for path, part in module.named_modules():
        rate = (
            getattr(part, "p", 0.0)
            if isinstance(part, nn.modules.dropout._DropoutNd)
            else getattr(part, "dropout", 0.0)
        )
        if isinstance(rate, float | int) and rate > 0:
            raise ConfigError(
                f"'{path}' of {name} has dropout: what a device draws would depend on which others train beside it. "
                "Set it to 0"
            )
        if getattr(part, "track_running_stats", False) or isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise ConfigError(
                f"'{path}' of {name} is a batch normalisation: take nn.LayerNorm, which keeps no statistics"
            )


@lru_cache(maxsize=16)
def _shapes(plan: Blueprint) -> dict[str, tuple[int, ...]]:
    module = plan.build(1, 0)
    return {array_name(name): tuple(value.shape) for name, value in module.named_parameters()}


@lru_cache(maxsize=2)
def _whole(plan: Blueprint, items: int) -> nn.Module:
    return plan.build(items, 0).requires_grad_(False)


@lru_cache(maxsize=2)
def _objective(plan: Blueprint, items: int) -> Objective:
    module = plan.build(items, 0).requires_grad_(False)
    for table in plan.tables:
        path = table.replace("/", ".").removesuffix(".weight")
        parent, _, last = path.rpartition(".")
        setattr(module.get_submodule(parent), last, Looked(path))
    return Objective(module, plan.task)


def _told(error: BaseException) -> str:
    """Return the first line of what an error says, on one line, or its name."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
