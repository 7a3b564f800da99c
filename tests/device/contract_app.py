"""The other side of the node's contract test: a ServerApp that asks one node many things and writes down what it hears.

Its text is put into a bundle and run by a real SuperLink.
"""

import hashlib
import json
import time
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

app = ServerApp()
nobody = ClientApp()

PLAN = b"p" * 100
HASH = {"plan_hash": b"h" * 64}


def small(**fields):
    return RecordDict({"parcel": ConfigRecord(fields)})


def small_and_large(fields, name, size):
    array = Array(dtype="uint8", shape=(size,), stype="fedpersona.bytes", data=b"l" * size)
    return RecordDict({"parcel": ConfigRecord(fields), "arrays": ArrayRecord({name: array})})


def numpy_array():
    import numpy as np

    return RecordDict({"parcel": ConfigRecord({"plan": PLAN}), "arrays": ArrayRecord([np.ones(3)])})


def with_metrics():
    records = small(plan=PLAN)
    records["metrics"] = MetricRecord({"loss": 1.0})
    return records


def lying_array():
    array = Array(dtype="float64", shape=(1 << 60,), stype="fedpersona.bytes", data=b"x")
    return RecordDict({"parcel": ConfigRecord({"plan": PLAN}), "arrays": ArrayRecord({"model": array})})


ASKS = {
    "enter": ("query.enter", lambda: small(plan=PLAN)),
    "share": (
        "query.share",
        lambda: small_and_large({**HASH, "roster": b"r" * 36, "signature": b"s" * 64}, "view", 166),
    ),
    "update": ("train.update", lambda: small_and_large(HASH, "shares", 81)),
    "agree": ("query.agree", lambda: small(**HASH, survivors=b"\3")),
    "unmask": ("query.unmask", lambda: small_and_large(HASH, "signatures", 68)),
    "program": ("train", lambda: small(code=b"import os")),
    "neighbours' keys, as once": ("train.update", lambda: small(**HASH, neighbours=b"k" * 64)),
    "a roster that is cut": (
        "query.share",
        lambda: small_and_large({**HASH, "roster": b"r" * 35, "signature": b"s" * 64}, "view", 166),
    ),
    "unknown type": ("train.anything", lambda: small(plan=PLAN)),
    "evaluate": ("evaluate", lambda: small(plan=PLAN)),
    "extra record": ("query.enter", with_metrics),
    "extra field": ("query.enter", lambda: small(plan=PLAN, config=b"x")),
    "missing field": ("query.enter", lambda: RecordDict({"parcel": ConfigRecord({})})),
    "no records": ("query.enter", lambda: RecordDict({})),
    "a field of text": ("query.enter", lambda: small(plan="p" * 100)),
    "a list": ("query.enter", lambda: small(plan=[PLAN])),
    "a numpy array": ("query.enter", numpy_array),
    "an array that lies": ("query.enter", lying_array),
    "too large": ("query.enter", lambda: small(plan=b"p" * 70_000)),
}


@app.main()
def main(grid, context):
    out = Path(str(context.run_config["server"]))
    while not list(grid.get_node_ids()):
        time.sleep(0.1)
    (node,) = grid.get_node_ids()
    heard = {}
    for name, (kind, records) in ASKS.items():
        for reply in _replies(grid, Message(records(), node, kind, ttl=60)):
            heard[name] = _words(reply)
        out.with_suffix(".part").write_text(json.dumps(heard))
    out.with_suffix(".part").replace(out)


def _replies(grid, message):
    names = list(grid.push_messages([message]))
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = list(grid.pull_messages(names))
        if found:
            return found
        time.sleep(0.05)
    return []


def _words(reply):
    if reply.has_error():
        return {"error": reply.error.reason}
    fields = dict(reply.content["parcel"])
    for name, array in reply.content.get("arrays", {}).items():
        fields[name] = array.data
    digests = {name: [len(value), hashlib.sha256(value).hexdigest()] for name, value in fields.items()}
    return {"type": reply.metadata.message_type, "source": reply.metadata.src_node_id, "fields": digests}
