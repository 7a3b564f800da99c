"""Flower's messages and ours: how a :class:`~fedpersona.wire.parcel.Parcel` travels in a Flower message."""

from fedpersona.flower.records import parcel_from, records_from

__all__ = ["parcel_from", "records_from"]
