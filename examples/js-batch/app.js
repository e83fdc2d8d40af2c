/**
 * An HTTP service that keeps JSON batches in a key-value bucket.
 *
 * | request | what it does | answer |
 * | --- | --- | --- |
 * | `PUT /` with `{"a": "text", "b": {"base64": "/w=="}}` | stores all of them | how many |
 * | `GET /?key=a&key=b` | reads them, in the order asked | `[{"key": "a", "value": "text"}, …]`; `null` for a key without a value |
 * | `DELETE /?key=a&key=b` | deletes them | nothing |
 * | `GET /keys` | lists the bucket | `["a", "b"]` |
 *
 * Each request is one call of the store, however many keys it names. `?bucket=archive` reaches
 * the bucket of the component's link named `archive`; without it, that of its link `default`.
 */

import { deleteMany, getMany, keys as listKeys, setMany } from "wasi:keyvalue/eventual-batch@0.1.0";
import { Bucket, IncomingValue, OutgoingValue } from "wasi:keyvalue/types@0.1.0";
import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from "wasi:http/types@0.2.0";

const text = new TextEncoder();

/** Why a request was not done. */
class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The world's export; componentize-js looks for an object of this name. */
export const incomingHandler = {
  handle(request, responseOut) {
    try {
      respond(responseOut, 200, answer(request));
    } catch (error) {
      if (error instanceof Failure) {
        respond(responseOut, error.status, { error: error.message });
      } else if (typeof error.payload?.trace === "function") {
        // Trouble with the store: the request may be in order.
        respond(responseOut, 502, { error: error.payload.trace() });
      } else {
        throw error;
      }
    }
  },
};

function answer(request) {
  const url = new URL(request.pathWithQuery() ?? "/", "http://localhost");
  const keys = url.searchParams.getAll("key");
  const open = () => Bucket.openBucket(url.searchParams.get("bucket") ?? "default");
  switch (`${request.method().tag} ${url.pathname}`) {
    case "put /": {
      const values = readBatch(readBody(request));
      store(open(), values);
      return { stored: values.length };
    }
    case "get /": {
      const values = getMany(open(), keys);
      return keys.map((key, index) => ({ key, value: toJson(values[index]) }));
    }
    case "delete /":
      deleteMany(open(), keys);
      return {};
    case "get /keys":
      return listKeys(open());
    default:
      throw new Failure(404, "no such request; try PUT /, GET /, DELETE / or GET /keys");
  }
}

function store(bucket, values) {
  const batch = values.map(([key, value]) => {
    const outgoing = OutgoingValue.newOutgoingValue();
    outgoing.outgoingValueWriteBodySync(value);
    return [key, outgoing];
  });
  setMany(bucket, batch);
}

/** Reads `{"key": value, …}`. */
function readBatch(body) {
  let entries;
  try {
    entries = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (error) {
    throw new Failure(400, `the body is not a JSON object: ${error.message}`);
  }
  if (typeof entries !== "object" || entries === null || Array.isArray(entries)) {
    throw new Failure(400, "the body is not a JSON object");
  }
  return Object.entries(entries).map(([key, value]) => {
    // JSON can spell half a surrogate pair; a key cannot hold it.
    if (!key.isWellFormed()) {
      throw new Failure(400, `${JSON.stringify(key)}: this is not a Unicode string`);
    }
    return [key, fromJson(key, value)];
  });
}

function fromJson(key, value) {
  if (typeof value === "string") {
    return text.encode(value);
  }
  if (typeof value?.base64 === "string") {
    try {
      return Uint8Array.from(atob(value.base64), (char) => char.charCodeAt(0));
    } catch {
      throw new Failure(400, `${key}: this is not base64`);
    }
  }
  throw new Failure(400, `${key}: a value is a string, or {"base64": "…"}`);
}

/** Text as a string, other bytes as `{"base64": "…"}`. */
function toJson(incoming) {
  if (incoming === undefined) {
    return null;
  }
  const value = IncomingValue.incomingValueConsumeSync(incoming);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value);
  } catch {
    return { base64: btoa(Array.from(value, (byte) => String.fromCharCode(byte)).join("")) };
  }
}

function readBody(request) {
  const body = request.consume();
  const stream = body.stream();
  const bytes = [];
  try {
    for (;;) {
      bytes.push(...stream.blockingRead(4096n));
    }
  } catch (error) {
    if (error.payload?.tag !== "closed") {
      throw new Failure(400, "the body could not be read");
    }
  }
  return Uint8Array.from(bytes);
}

function respond(responseOut, status, answer) {
  const bytes = text.encode(`${JSON.stringify(answer)}\n`);
  const fields = Fields.fromList([["content-type", text.encode("application/json")]]);
  const response = new OutgoingResponse(fields);
  response.setStatusCode(status);
  const body = response.body();
  ResponseOutparam.set(responseOut, { tag: "ok", val: response });
  const stream = body.write();
  for (let start = 0; start < bytes.length; start += 4096) {
    // 4096 bytes are the most that one call takes.
    stream.blockingWriteAndFlush(bytes.subarray(start, start + 4096));
  }
  // A body can be finished only when its stream is gone.
  stream[Symbol.dispose]();
  OutgoingBody.finish(body, undefined);
}
