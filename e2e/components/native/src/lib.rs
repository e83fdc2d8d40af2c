//! All of `wasi:keyvalue` that a host serves in its own process, one action for each call.
//!
//! `run("set", ["default", "a", "one"])` opens the bucket and calls the function. An answer is a text;
//! an error is its trace, or what the draft has in its place.

use bindings::Guest;
use bindings::wasi::keyvalue0_1_0::types::{Bucket, IncomingValue, OutgoingValue};
use bindings::wasi::keyvalue0_1_0::wasi_keyvalue_error::Error;
use bindings::wasi::keyvalue0_1_0::{atomic, eventual, eventual_batch};
use bindings::wasi::keyvalue0_2_0_draft::{atomics, batch, store};

#[allow(clippy::all, clippy::pedantic)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package test:native;

            world native {
                include wasmcloud:eventual-batch-nats/host@0.1.0;
                include wasmcloud:eventual-batch-nats/host-draft@0.1.0;
                export run: func(action: string, args: list<string>) -> result<string, string>;
            }
        ",
        world: "test:native/native",
        generate_all,
    });
}

struct Native;

bindings::export!(Native with_types_in bindings);

impl Guest for Native {
    fn run(action: String, args: Vec<String>) -> Result<String, String> {
        let bucket = args.first().map_or("default", String::as_str);
        let rest = args.get(1..).unwrap_or_default();
        if let Some(action) = action.strip_prefix("draft-") {
            return draft(action, bucket, rest).map_err(|error| format!("{error:?}"));
        }
        released(&action, bucket, rest).map_err(|error| error.trace())
    }
}

fn number(args: &[String], place: usize) -> u64 {
    args[place].parse().unwrap()
}

fn released(action: &str, bucket: &str, args: &[String]) -> Result<String, Error> {
    let bucket = Bucket::open_bucket(bucket)?;
    let key = args.first().map_or("", String::as_str);
    Ok(match action {
        "open" => "opened".to_owned(),
        "get" => shown(eventual::get(&bucket, key)?)?,
        "set" => {
            eventual::set(&bucket, key, &written(args[1].as_bytes())?)?;
            "set".to_owned()
        }
        "delete" => {
            eventual::delete(&bucket, key)?;
            "deleted".to_owned()
        }
        "exists" => eventual::exists(&bucket, key)?.to_string(),
        "increment" => atomic::increment(&bucket, key, number(args, 1))?.to_string(),
        "swap" => {
            atomic::compare_and_swap(&bucket, key, number(args, 1), number(args, 2))?.to_string()
        }
        "get-many" => {
            let values = eventual_batch::get_many(&bucket, args)?;
            let values: Result<Vec<_>, _> = values.into_iter().map(shown).collect();
            values?.join(" ")
        }
        "keys" => {
            let mut keys = eventual_batch::keys(&bucket)?;
            keys.sort();
            keys.join(" ")
        }
        "set-many" => {
            let values: Result<Vec<_>, Error> = args
                .chunks(2)
                .map(|pair| Ok((pair[0].clone(), written(pair[1].as_bytes())?)))
                .collect();
            let values = values?;
            let entries: Vec<_> = values
                .iter()
                .map(|(key, value)| (key.clone(), value))
                .collect();
            eventual_batch::set_many(&bucket, &entries)?;
            "set".to_owned()
        }
        // As many keys as asked, each with a value of so many bytes.
        "set-many-of" => {
            let value = written(&vec![b'x'; number(args, 1) as usize])?;
            let entries: Vec<_> = (0..number(args, 0))
                .map(|number| (format!("key-{number}"), &value))
                .collect();
            eventual_batch::set_many(&bucket, &entries)?;
            "set".to_owned()
        }
        // As many keys as asked, each with a value of its own of so many bytes.
        "set-many-own" => {
            let bytes = vec![b'x'; number(args, 1) as usize];
            let values: Result<Vec<_>, _> = (0..number(args, 0)).map(|_| written(&bytes)).collect();
            let values = values?;
            let entries: Vec<_> = values
                .iter()
                .enumerate()
                .map(|(number, value)| (format!("key-{number}"), value))
                .collect();
            eventual_batch::set_many(&bucket, &entries)?;
            "set".to_owned()
        }
        "delete-many" => {
            eventual_batch::delete_many(&bucket, args)?;
            "deleted".to_owned()
        }
        "size" => match eventual::get(&bucket, key)? {
            Some(value) => value.incoming_value_size()?.to_string(),
            None => "none".to_owned(),
        },
        // The value in the parts in which the stream gives it.
        "get-as-stream" => {
            let Some(value) = eventual::get(&bucket, key)? else {
                return Ok("none".to_owned());
            };
            let stream = IncomingValue::incoming_value_consume_async(value)?;
            let mut parts = Vec::new();
            while let Ok(part) = stream.blocking_read(number(args, 1)) {
                parts.push(String::from_utf8(part).unwrap());
            }
            parts.join("|")
        }
        // A value of these parts, set when the stream is dropped.
        "set-as-stream" => {
            let value = written(b"written before")?;
            let stream = value.outgoing_value_write_body_async()?;
            for part in &args[1..] {
                stream.blocking_write_and_flush(part.as_bytes()).unwrap();
            }
            drop(stream);
            eventual::set(&bucket, key, &value)?;
            "set".to_owned()
        }
        "set-while-open" => {
            let value = OutgoingValue::new_outgoing_value();
            let _stream = value.outgoing_value_write_body_async()?;
            let other = written(b"other")?;
            let entries = [("other".to_owned(), &other), (key.to_owned(), &value)];
            eventual_batch::set_many(&bucket, &entries)?;
            "set".to_owned()
        }
        "write-while-open" => {
            let value = OutgoingValue::new_outgoing_value();
            let _stream = value.outgoing_value_write_body_async()?;
            value.outgoing_value_write_body_sync(b"other")?;
            "written".to_owned()
        }
        "set-unwritten" => {
            eventual::set(&bucket, key, &OutgoingValue::new_outgoing_value())?;
            "set".to_owned()
        }
        // Keeps values that it makes, of so many bytes each, until it may not.
        "hoard-outgoing" => {
            let bytes = vec![0; number(args, 0) as usize];
            let mut kept = Vec::new();
            loop {
                let value = OutgoingValue::new_outgoing_value();
                value.outgoing_value_write_body_sync(&bytes)?;
                kept.push(value);
            }
        }
        // Keeps values that it reads until it may not.
        "hoard-incoming" => {
            let keys = vec![key.to_owned(); 100];
            let mut kept = Vec::new();
            loop {
                kept.push(eventual_batch::get_many(&bucket, &keys)?);
            }
        }
        "hoard-errors" => {
            let mut kept = Vec::new();
            loop {
                kept.push(Bucket::open_bucket("payroll").err());
            }
        }
        // Writes to a stream until it may not, and answers with what the value then is.
        "endless-stream" => {
            let value = OutgoingValue::new_outgoing_value();
            let stream = value.outgoing_value_write_body_async()?;
            while stream.blocking_write_and_flush(&[0; 4096]).is_ok() {}
            drop(stream);
            eventual::set(&bucket, key, &value)?;
            "set".to_owned()
        }
        other => panic!("there is no action {other}"),
    })
}

fn draft(action: &str, bucket: &str, args: &[String]) -> Result<String, store::Error> {
    let bucket = store::open(bucket)?;
    let key = args.first().map_or("", String::as_str);
    Ok(match action {
        "open" => "opened".to_owned(),
        "get" => bucket.get(key)?.map_or_else(|| "none".to_owned(), text),
        "set" => format!("{:?}", bucket.set(key, args[1].as_bytes())?),
        "delete" => format!("{:?}", bucket.delete(key)?),
        "exists" => bucket.exists(key)?.to_string(),
        "list-keys" => {
            let (mut keys, mut cursor) = (Vec::new(), None);
            loop {
                let page = bucket.list_keys(cursor)?;
                keys.extend(page.keys);
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            keys.sort();
            keys.join(" ")
        }
        "increment" => atomics::increment(&bucket, key, number(args, 1))?.to_string(),
        "get-many" => {
            let values = batch::get_many(&bucket, args)?.into_iter();
            let values = values.map(|found| match found {
                Some((key, value)) => format!("{key}={}", text(value)),
                None => "none".to_owned(),
            });
            values.collect::<Vec<_>>().join(" ")
        }
        "set-many" => {
            let entries: Vec<_> = args
                .chunks(2)
                .map(|pair| (pair[0].clone(), pair[1].clone().into_bytes()))
                .collect();
            format!("{:?}", batch::set_many(&bucket, &entries)?)
        }
        "set-many-own" => {
            let entries: Vec<_> = (0..number(args, 0))
                .map(|key| (format!("key-{key}"), vec![b'x'; number(args, 1) as usize]))
                .collect();
            format!("{:?}", batch::set_many(&bucket, &entries)?)
        }
        "delete-many" => format!("{:?}", batch::delete_many(&bucket, args)?),
        other => panic!("there is no action {other}"),
    })
}

fn written(bytes: &[u8]) -> Result<OutgoingValue, Error> {
    let value = OutgoingValue::new_outgoing_value();
    value.outgoing_value_write_body_sync(bytes)?;
    Ok(value)
}

fn shown(value: Option<IncomingValue>) -> Result<String, Error> {
    match value {
        Some(value) => IncomingValue::incoming_value_consume_sync(value).map(text),
        None => Ok("none".to_owned()),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
