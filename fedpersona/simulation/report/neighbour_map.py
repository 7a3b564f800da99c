"""Two dimensions from many, so that items which are close in the space are close on the page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

__all__ = ["principal_plane", "two_dimensions"]

_ANCHORS = 1000
_NEIGHBOURS = 15
_STEPS = 100


def two_dimensions(directions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Lay items out on a plane; the same directions give the same plane.

    The first thousand are laid out by t-SNE (van der Maaten and Hinton 2008) from the principal plane, with the
    15 nearest neighbours by cosine; each other item stands among the five of these that are nearest to it.

    Args:
        directions: unit vectors, shape (items, dim).

    Returns:
        float64 array of shape (items, 2), centred, the longer half-axis about 1.
    """
    items = len(directions)
    if items <= 3:
        angle = np.arange(items) * (2 * np.pi / max(items, 1))
        return np.column_stack([np.cos(angle), np.sin(angle)])
    anchors = directions[:_ANCHORS]
    places = _t_sne(anchors)
    if items > len(anchors):
        nearest, cosines = _nearest(directions[len(anchors) :] @ anchors.T, 5)
        nearness = np.exp(10.0 * (cosines - cosines.max(axis=1, keepdims=True)))
        nearness /= nearness.sum(axis=1, keepdims=True)
        places = np.concatenate([places, (places[nearest] * nearness[..., None]).sum(axis=1)])
    places = places - places.mean(axis=0)
    return np.asarray(places / max(float(np.abs(places).max()), 1e-12), np.float64)


def principal_plane(directions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the first two principal components, shape (items, 2); the larger loadings are made positive."""
    centred = directions.astype(np.float64) - directions.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    plane = centred @ axes
    return np.asarray(plane if plane.shape[1] == 2 else np.column_stack([plane, np.zeros(len(plane))]), np.float64)


def _nearest(cosines: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    count = min(count, cosines.shape[1])
    nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
    return nearest, np.take_along_axis(cosines, nearest, axis=1)


def _affinities(directions: NDArray[np.float32]) -> csr_array:
    """Return how strongly near neighbours hold each other: symmetric, with sum 1."""
    items = len(directions)
    count = min(_NEIGHBOURS, items - 1)
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -np.inf)
    nearest, near = _nearest(cosines, count)
    distance = near.max(axis=1, keepdims=True) - near
    # Each item's own scale, so that a dense and a sparse neighbourhood hold together equally well.
    hold = np.exp(-2.0 * distance / np.maximum(distance.mean(axis=1, keepdims=True), 1e-6))
    hold /= hold.sum(axis=1, keepdims=True)
    one_way = csr_array((hold.ravel(), nearest.ravel(), np.arange(items + 1) * count), shape=(items, items))
    return csr_array((one_way + one_way.T) / (2.0 * items), dtype=np.float32)


def _t_sne(directions: NDArray[np.float32]) -> NDArray[np.float64]:
    items = len(directions)
    affinity = _affinities(directions)
    rows = np.repeat(np.arange(items), np.diff(affinity.indptr))
    places = principal_plane(directions).astype(np.float32)
    places *= 5.0 / max(float(places.std(axis=0).max()), 1e-9)
    velocity = np.zeros_like(places)
    for step in range(_STEPS):
        early = step < _STEPS // 3
        squares = (places * places).sum(axis=1)
        closeness = places @ (-2.0 * places.T)
        closeness += squares[:, None] + 1.0
        closeness += squares
        np.reciprocal(closeness, out=closeness)  # Student's t with one degree of freedom
        total = closeness.sum() - items
        pull = csr_array(
            (affinity.data * closeness[rows, affinity.indices], affinity.indices, affinity.indptr), affinity.shape
        )
        attraction = np.asarray(pull.sum(axis=1))[:, None] * places - pull @ places
        np.square(closeness, out=closeness)
        repulsion = (closeness.sum(axis=1)[:, None] * places - closeness @ places) / total
        gradient = 4.0 * ((4.0 if early else 1.0) * attraction - repulsion)
        velocity = (0.5 if early else 0.8) * velocity - items / 4.0 * gradient
        places = places + velocity
    return places.astype(np.float64)
