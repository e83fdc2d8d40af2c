//! `wrpc:keyvalue/eventual-batch@0.1.0`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::wrpc::bindings::exports::wrpc::keyvalue0_1_0::eventual_batch::{Error, Value};
use crate::wrpc::{Endpoint, Lattice, endpoint};
use crate::wrpc::{Params, answer, delete_many};
use eventual_batch_engine::Kind;
use eventual_batch_links::Links;
use eventual_batch_links::{Call, CallError};

const INSTANCE: &str = "wrpc:keyvalue/eventual-batch@0.1.0";

type Answer<T> = (Result<T, Error>,);

pub(crate) async fn endpoints(
    lattice: &Lattice,
    links: &Arc<Links>,
) -> anyhow::Result<Vec<Endpoint>> {
    Ok(vec![
        endpoint(lattice, links, INSTANCE, "open-bucket", open_bucket).await?,
        endpoint(lattice, links, INSTANCE, "get-many", get_many).await?,
        endpoint(lattice, links, INSTANCE, "keys", keys).await?,
        endpoint(lattice, links, INSTANCE, "set-many", set_many).await?,
        endpoint(
            lattice,
            links,
            INSTANCE,
            "delete-many",
            delete_many::<Error>,
        )
        .await?,
    ])
}

async fn open_bucket(call: Call, params: Params<(String,)>) -> Answer<()> {
    answer(call, params, |call, (name,)| async move {
        call.run(&name, None, |bucket, deadline| async move {
            Ok(bucket.open(deadline).await?)
        })
        .await
    })
    .await
}

async fn get_many(call: Call, params: Params<(String, Vec<String>)>) -> Answer<Vec<Option<Value>>> {
    answer(call, params, |call, (name, keys)| async move {
        call.run(&name, Some(keys.len()), |bucket, deadline| async move {
            let values = bucket.get_many(&keys, deadline).await?;
            Ok(values.into_iter().map(|value| value.map(encode)).collect())
        })
        .await
    })
    .await
}

async fn keys(call: Call, params: Params<(String,)>) -> Answer<Vec<String>> {
    answer(call, params, |call, (name,)| async move {
        call.run(&name, None, |bucket, deadline| async move {
            Ok(bucket.keys(deadline).await?)
        })
        .await
    })
    .await
}

async fn set_many(call: Call, params: Params<(String, Vec<(String, Value)>)>) -> Answer<()> {
    answer(call, params, |call, (name, entries)| async move {
        call.run(&name, Some(entries.len()), |bucket, deadline| async move {
            let entries: Vec<_> = entries.into_iter().map(decode).collect::<Result<_, _>>()?;
            Ok(bucket.set_many(entries, deadline).await?)
        })
        .await
    })
    .await
}

fn encode(value: Bytes) -> Value {
    match String::from_utf8(value.into()) {
        Ok(text) => Value::Utf8(text),
        Err(error) => Value::Base64(STANDARD.encode(error.as_bytes())),
    }
}

fn decode((key, value): (String, Value)) -> Result<(String, Bytes), CallError> {
    let value = match value {
        Value::Utf8(text) => text.into_bytes(),
        Value::Base64(text) => match STANDARD.decode(text) {
            Ok(bytes) => bytes,
            Err(error) => {
                return Err(CallError::Rejected {
                    kind: Kind::InvalidArgument,
                    reason: format!(
                        "the value of key {key:?} is not standard base64 with padding: {error}"
                    ),
                });
            }
        },
    };
    Ok((key, value.into()))
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error.kind() {
            Kind::NoSuchBucket => Self::NoSuchBucket(text),
            Kind::AccessDenied => Self::AccessDenied(text),
            Kind::InvalidArgument => Self::InvalidArgument(text),
            Kind::TooLarge => Self::TooLarge(text),
            Kind::Unavailable => Self::Unavailable(text),
            Kind::Other => Self::Other(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_where_they_can_be_and_come_back_as_they_were() {
        for (bytes, is_text) in [
            (&b""[..], true),
            (b"plain", true),
            ("ключ".as_bytes(), true),
            (b"\0", true),
            (b"\xff\xfe", false),
            (b"ok\x80", false),
        ] {
            let encoded = encode(Bytes::from_static(bytes));
            assert_eq!(matches!(encoded, Value::Utf8(_)), is_text, "{bytes:?}");
            let (_, decoded) = decode(("k".to_owned(), encoded)).unwrap();
            assert_eq!(decoded, bytes);
        }
    }

    #[test]
    fn base64_that_does_not_decode_names_its_key() {
        for text in ["a", "a-_=", "YQ", "YQ==="] {
            let error = decode(("the-key".to_owned(), Value::Base64(text.to_owned()))).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument);
            assert!(error.to_string().contains("the-key"), "{error}");
        }
    }
}
