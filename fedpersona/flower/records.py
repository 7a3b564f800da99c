"""A parcel as the records of a Flower message, and back: bytes only, never an array format that has to be parsed.

Small fields travel in one ConfigRecord, large ones in an ArrayRecord, which Flower cuts into chunks. Each record, array
and chunk is a request of its own, so a large field that happens to be short travels with the small ones. The arrays
are plain bytes: nothing is read by ``numpy.load``, so there is no header, no pickle and no size that a sender chooses.
"""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedpersona.errors import ParcelRefused
from fedpersona.wire.parcel import Field, Parcel, checked

__all__ = ["parcel_from", "records_from"]

_SMALL, _LARGE = "parcel", "arrays"
_KIND = "fedpersona.bytes"
_SHORT = 1 << 20  # bytes: up to here a field needs no chunks


def records_from(kind: str, fields: Mapping[str, bytes], forms: Mapping[str, Mapping[str, Field]]) -> RecordDict:
    """Return the records of one message, checked as the receiver will.

    Args:
        kind: the type of the message.
        fields: its fields by name.
        forms: :data:`~fedpersona.wire.parcel.ASKS` or :data:`~fedpersona.wire.parcel.REPLIES`.
    """
    form = forms[checked(kind, fields, forms).kind]
    large = {name: value for name, value in fields.items() if form[name].large and len(value) > _SHORT}
    records = RecordDict({_SMALL: ConfigRecord({name: fields[name] for name in fields if name not in large})})
    if large:
        records[_LARGE] = ArrayRecord(
            {name: Array(dtype="uint8", shape=(len(value),), stype=_KIND, data=value) for name, value in large.items()}
        )
    return records


def parcel_from(kind: str, records: RecordDict, forms: Mapping[str, Mapping[str, Field]]) -> Parcel:
    """Read the records of a message that came from elsewhere.

    Raises:
        ParcelRefused: it has other records than were agreed, another type, or a field of another form.
    """
    if not set(records) <= {_SMALL, _LARGE}:
        raise ParcelRefused(f"a message of type '{kind[:40]}' has records that were not agreed")
    return checked(kind, _small(records.get(_SMALL)) | _large(records.get(_LARGE)), forms)


def _small(record: object) -> dict[str, bytes]:
    if not isinstance(record, ConfigRecord):
        raise ParcelRefused("a message has no record of its fields")
    if not all(isinstance(value, bytes) for value in record.values()):
        raise ParcelRefused("a field of a message is not plain bytes")
    return {name: value for name, value in record.items() if isinstance(value, bytes)}


def _large(record: object) -> dict[str, bytes]:
    if record is None:
        return {}
    if not isinstance(record, ArrayRecord):
        raise ParcelRefused("a message has a record of another kind where its arrays should be")
    for array in record.values():
        if array.stype != _KIND or array.dtype != "uint8" or tuple(array.shape) != (len(array.data),):
            raise ParcelRefused("an array of a message is not plain bytes of the length it says")
    return {name: array.data for name, array in record.items()}
