"""A map of music on a plane, with what the owner played marked: near each other is what the same people play.

A pure function of public things (catalogue, shared model) and the owner's plays. Where everything lies comes from
the public things alone; the plays only mark points, and add some that the map would not show otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError
from fedpersona.plays import Plays
from fedpersona.taste.model import Shared

__all__ = ["Region", "TasteMap", "taste_map"]

_ANCHORS = 500
_MOST_PLAYED = 500  # points beside the anchors that are there because the owner played them
_NEIGHBOURS = 15
_STEPS = 160
_LEADING_TAGS = 5
_MOST_TAGS = 2000
_TAG_DIMENSIONS = 24
_REGIONS = 12
_LEAST_IN_REGION = 5
_NEAR = 0.18  # of the map's half-width: what counts as the neighbourhood of a point
_FEWEST = 4

Vectors: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """Where on the map the music of one tag lies most densely. Its ``repr`` leaves the owner's plays out."""

    tag: str
    x: float
    y: float
    items: int
    """Points of the map that have the tag as their first."""
    played: int
    """How many of these the owner played."""

    def __repr__(self) -> str:
        return f"Region({self.tag!r}, {self.items} items)"


@dataclass(frozen=True, eq=False)
class TasteMap:
    """Points on a plane. Its ``repr`` shows a count only."""

    rows: NDArray[np.int64]
    """The catalogue row of each point, shape (n,)."""
    places: NDArray[np.float64]
    """Where each lies, shape (n, 2), from -1 to 1, the longer way about the whole range."""
    weights: NDArray[np.float64]
    """How often the owner played each, 0 for what they never played, shape (n,)."""
    regions: tuple[Region, ...]
    """The commonest first tags, most common first."""
    source: Literal["shared", "tags"]
    """What says which items are near each other: the shared model, or the tags of the catalogue."""

    def __len__(self) -> int:
        return int(self.rows.size)

    def __repr__(self) -> str:
        return f"TasteMap({len(self)} points, by {self.source})"


def taste_map(catalogue: Catalogue, plays: Plays, shared: Shared | None = None) -> TasteMap | None:
    """Lay out the best known items and those the owner played.

    The first 500 are laid out by t-SNE (van der Maaten and Hinton 2008) from their principal plane, by the cosines
    of their vectors; every other item stands among the five of these that are nearest to it. The same catalogue and
    model give the same plane, whoever looks.

    Args:
        catalogue: what the rows are.
        plays: the owner's history over it.
        shared: a model of this catalogue: ``subspace``, ``ials`` or ``ease``; None, or another model, lays items out
            by their tags (latent semantic analysis; Deerwester et al. 1990).

    Returns:
        The map; None where fewer than four items have a place.

    Raises:
        DataError: the plays or the model are of another catalogue.
    """
    if len(plays) and int(plays.items[-1]) >= len(catalogue):
        raise DataError("a row is outside the catalogue: it belongs to another version of it", place="plays.items")
    vectors = None if shared is None else _shared_vectors(shared, len(catalogue))
    source: Literal["shared", "tags"] = "tags" if vectors is None else "shared"
    fame = None if shared is None or vectors is None else shared["listeners"]
    anchors, others = _chosen(len(catalogue), plays, fame)
    if vectors is None:
        near, far = _tag_vectors(catalogue.tags, anchors, others)
    else:
        near, far = vectors[anchors], vectors[others]
    anchors, near = _directions(anchors, near)
    others, far = _directions(others, far)
    if len(anchors) < _FEWEST:
        return None
    places = _t_sne(near)
    places = np.concatenate([places, _among(far, near, places)])
    low, high = places.min(axis=0), places.max(axis=0)
    places = (places - (low + high) / 2) / max(float((high - low).max()) / 2, 1e-12)
    rows = np.concatenate([anchors, others])
    weights = _weights(rows, plays, len(catalogue))
    return TasteMap(rows, places, weights, _regions(catalogue, rows, places, weights), source)


def _shared_vectors(shared: Shared, items: int) -> Vectors | None:
    """Return one vector an item, zero where the model has no place for it; None for a model without a space."""
    arrays = shared.arrays
    if "basis" in arrays:
        vectors = arrays["basis"] * arrays["strength"]
    elif "factors" in arrays:
        vectors = arrays["factors"]
    elif "weights" in arrays and arrays["weights"].size:
        vectors = np.zeros((items, arrays["weights"].shape[1]), np.float32)
        vectors[arrays["head"].astype(np.int64)] = arrays["weights"]
    else:
        return None
    if len(vectors) != items:
        raise DataError("the shared model is of another catalogue than the items", place="shared")
    heard = arrays["listeners"] > 0  # what nobody played lies anywhere
    return np.where(heard[:, None], vectors, np.float32(0))


def _chosen(items: int, plays: Plays, fame: NDArray[np.float32] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the best known rows, and the most played of the others; without fame the catalogue's order is it."""
    order = np.arange(items) if fame is None else np.argsort(-fame, kind="stable")
    anchors = order[:_ANCHORS].astype(np.int64)
    most = plays.items[np.argsort(-plays.weights, kind="stable")].astype(np.int64)
    return anchors, most[~np.isin(most, anchors)][:_MOST_PLAYED]


def _tag_vectors(
    tags: Sequence[Sequence[str]], anchors: NDArray[np.int64], others: NDArray[np.int64]
) -> tuple[Vectors, Vectors]:
    """Return each item's tags, weighted by rarity, in the leading directions of the anchors' tags."""
    leading = {row: tuple(tags[row])[:_LEADING_TAGS] for row in (*anchors.tolist(), *others.tolist())}
    counts = Counter(tag for row in anchors.tolist() for tag in leading[row])
    column = {tag: number for number, (tag, _) in enumerate(counts.most_common(_MOST_TAGS))}
    rarity = np.log1p(len(anchors) / np.array([counts[tag] for tag in column] or [1]))

    def matrix(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        found = np.zeros((len(rows), max(1, len(column))))
        for place, row in enumerate(rows.tolist()):
            for tag in leading[row]:
                if tag in column:
                    found[place, column[tag]] = rarity[column[tag]]
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(lengths, 1e-12))

    near = matrix(anchors)
    _, strength, axes = np.linalg.svd(near, full_matrices=False)
    kept = axes[: min(_TAG_DIMENSIONS, int((strength > 1e-9).sum()))].T
    return (near @ kept).astype(np.float32), (matrix(others) @ kept).astype(np.float32)


def _directions(rows: NDArray[np.int64], vectors: Vectors) -> tuple[NDArray[np.int64], Vectors]:
    """Return vectors of length 1, without the rows that have none."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    placed = np.isfinite(lengths) & (lengths > 0)
    return rows[placed], (vectors[placed] / lengths[placed, None]).astype(np.float32)


def _t_sne(directions: Vectors) -> NDArray[np.float64]:
    items = len(directions)
    affinity = _affinities(directions)
    places = _principal_plane(directions)
    places *= 5.0 / max(float(places.std(axis=0).max()), 1e-9)
    velocity = np.zeros_like(places)
    for step in range(_STEPS):
        early = step < _STEPS // 4
        squares = (places * places).sum(axis=1)
        closeness = 1.0 / (1.0 + np.maximum(squares[:, None] + squares - 2.0 * places @ places.T, 0.0))  # Student's t
        pull = affinity * closeness
        push = closeness * closeness / max(float(closeness.sum()) - items, 1e-12)
        force = (4.0 if early else 1.0) * pull - push
        gradient = 4.0 * (force.sum(axis=1)[:, None] * places - force @ places)
        velocity = (0.5 if early else 0.8) * velocity - items / 4.0 * gradient
        places = places + velocity
    return np.asarray(places, np.float64)


def _affinities(directions: Vectors) -> NDArray[np.float32]:
    """Return how strongly near neighbours hold each other: symmetric, with sum 1."""
    items = len(directions)
    count = min(_NEIGHBOURS, items - 1)
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    near = np.take_along_axis(cosines, nearest, axis=1)
    distance = near[:, :1] - near
    # Each item's own scale, so that a dense and a sparse neighbourhood hold together equally well.
    hold = np.exp(-2.0 * distance / np.maximum(distance.mean(axis=1, keepdims=True), 1e-6))
    one_way = np.zeros((items, items), np.float32)
    np.put_along_axis(one_way, nearest, hold / hold.sum(axis=1, keepdims=True), axis=1)
    return (one_way + one_way.T) / np.float32(2.0 * items)


def _principal_plane(directions: Vectors) -> NDArray[np.float32]:
    """Return the first two principal components; the larger loadings are made positive, so that nothing flips.

    A little is added by place in the list, so that items with the same vector do not stand on each other for ever.
    """
    centred = directions.astype(np.float64) - directions.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    plane = np.zeros((len(directions), 2))
    plane[:, : len(axes)] = centred @ axes.T
    turn = np.arange(len(plane)) * 2.399963  # the golden angle: no two point the same way
    plane += 1e-3 * np.column_stack([np.cos(turn), np.sin(turn)])
    return plane.astype(np.float32)


def _among(far: Vectors, near: Vectors, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place items among the five anchors that are nearest to each."""
    if not len(far):
        return np.zeros((0, 2))
    cosines = far @ near.T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :5]
    found = np.take_along_axis(cosines, nearest, axis=1).astype(np.float64)
    nearness = np.exp(10.0 * (found - found[:, :1]))
    nearness /= nearness.sum(axis=1, keepdims=True)
    return np.asarray((places[nearest] * nearness[..., None]).sum(axis=1))


def _weights(rows: NDArray[np.int64], plays: Plays, items: int) -> NDArray[np.float64]:
    of_all = np.zeros(items)
    of_all[plays.items] = plays.weights
    return of_all[rows]


def _regions(
    catalogue: Catalogue, rows: NDArray[np.int64], places: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[Region, ...]:
    first = [catalogue.tags[row][0] if catalogue.tags[row] else "" for row in rows.tolist()]
    found = []
    for tag, count in Counter(filter(None, first)).most_common(_REGIONS):
        if count < _LEAST_IN_REGION:
            break
        members = np.array([name == tag for name in first])
        x, y = _densest(places[members])
        found.append(Region(tag, x, y, count, int((weights[members] > 0).sum())))
    return tuple(found)


def _densest(places: NDArray[np.float64]) -> tuple[float, float]:
    """Return the middle of the points around the one that has most of them near."""
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    around = places[apart[int((apart < _NEAR).sum(axis=1).argmax())] < _NEAR].mean(axis=0)
    return float(around[0]), float(around[1])
