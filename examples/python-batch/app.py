"""An HTTP service that keeps JSON batches in a key-value bucket.

| request | what it does | answer |
| --- | --- | --- |
| `PUT /` with `{"a": "text", "b": {"base64": "/w=="}}` | stores all of them | how many |
| `GET /?key=a&key=b` | reads them, in the order asked | `[{"key": "a", "value": "text"}, …]`; `null` for a key without a value |
| `DELETE /?key=a&key=b` | deletes them | nothing |
| `GET /keys` | lists the bucket | `["a", "b"]` |

Each request is one call of the store, however many keys it names. `?bucket=archive` reaches
the bucket of the component's link named `archive`; without it, that of its link `default`.
"""

import json
from base64 import b64decode, b64encode
from typing import Any
from urllib.parse import parse_qsl

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import eventual_batch
from wit_world.imports import wasi_http_types as http
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.wasi_keyvalue_types import Bucket, IncomingValue, OutgoingValue


class Failure(Exception):
    """Why a request was not done."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


class IncomingHandler(exports.IncomingHandler):
    """The world's export; componentize-py looks for a class of this name."""

    def handle(self, request: http.IncomingRequest, response_out: http.ResponseOutparam) -> None:
        try:
            status, body = 200, answer(request)
        except Failure as failure:
            status, body = failure.status, {"error": str(failure)}
        except Err as error:
            # Trouble with the store: the request may be in order.
            status, body = 502, {"error": error.value.trace()}
        respond(response_out, status, body)


def answer(request: http.IncomingRequest) -> Any:
    path, _, query = (request.path_with_query() or "/").partition("?")
    fields = parse_qsl(query, keep_blank_values=True)
    keys = [value for name, value in fields if name == "key"]
    bucket = dict(fields).get("bucket", "default")
    match request.method(), path:
        case http.Method_Put(), "/":
            values = read_batch(read_body(request))
            set_many(Bucket.open_bucket(bucket), values)
            return {"stored": len(values)}
        case http.Method_Get(), "/":
            found = get_many(Bucket.open_bucket(bucket), keys)
            return [{"key": key, "value": value} for key, value in zip(keys, found)]
        case http.Method_Delete(), "/":
            eventual_batch.delete_many(Bucket.open_bucket(bucket), keys)
            return {}
        case http.Method_Get(), "/keys":
            return eventual_batch.keys(Bucket.open_bucket(bucket))
        case _:
            raise Failure(404, "no such request; try PUT /, GET /, DELETE / or GET /keys")


def get_many(bucket: Bucket, keys: list[str]) -> list[Any]:
    consume = IncomingValue.incoming_value_consume_sync
    found = eventual_batch.get_many(bucket, keys)
    return [None if value is None else to_json(consume(value)) for value in found]


def set_many(bucket: Bucket, values: dict[str, bytes]) -> None:
    batch = []
    for key, value in values.items():
        outgoing = OutgoingValue.new_outgoing_value()
        outgoing.outgoing_value_write_body_sync(value)
        batch.append((key, outgoing))
    eventual_batch.set_many(bucket, batch)


def read_batch(text: bytes) -> dict[str, bytes]:
    """Reads `{"key": value, …}`."""
    try:
        entries = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise Failure(400, f"the body is not a JSON object: {error}") from error
    if not isinstance(entries, dict):
        raise Failure(400, "the body is not a JSON object")
    values = {}
    for key, value in entries.items():
        try:
            key.encode()  # JSON can spell half a surrogate pair; a key cannot hold it.
            values[key] = from_json(value)
        except ValueError as error:
            raise Failure(400, f"{key!r}: {error}") from error
    return values


def from_json(value: Any) -> bytes:
    match value:
        case str(text):
            return text.encode()
        case {"base64": str(text)}:
            return b64decode(text, validate=True)
        case _:
            raise ValueError('a value is a string, or {"base64": "…"}')


def to_json(value: bytes) -> Any:
    """Text as a string, other bytes as `{"base64": "…"}`."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


def read_body(request: http.IncomingRequest) -> bytes:
    text = bytearray()
    with request.consume() as body, body.stream() as stream:
        try:
            while True:
                text += stream.blocking_read(64 * 1024)
        except Err as end:
            if not isinstance(end.value, StreamError_Closed):
                raise Failure(400, end.value.value.to_debug_string()) from end
    return bytes(text)


def respond(response_out: http.ResponseOutparam, status: int, answer: Any) -> None:
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    response = http.OutgoingResponse(http.Fields.from_list([("content-type", b"application/json")]))
    response.set_status_code(status)
    body = response.body()
    http.ResponseOutparam.set(response_out, Ok(response))
    with body.write() as stream:
        for start in range(0, len(text), 4096):  # the most that one call takes
            stream.blocking_write_and_flush(text[start : start + 4096])
    http.OutgoingBody.finish(body, None)
