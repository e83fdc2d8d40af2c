//! Is told of the changes of a bucket, and notes them in the bucket `default`. What it does depends on
//! the value:
//!
//! | value | what it does |
//! | --- | --- |
//! | `trap-twice` | traps the first two times, which it counts in `tries.KEY`; then sets `told.KEY` |
//! | `loop` | sets `begun.KEY`, and computes for ever |
//! | `wait` | sets `begun.KEY`, waits until `go` is there, then sets `told.KEY` |
//! | `copy` | reads the value by the bucket that it was given, and sets `told.KEY` to it |
//! | `print …` | writes the key and the value to its standard output and error, then sets `told.KEY` |
//! | any other | sets `told.KEY` to it |
//!
//! Of a key that is deleted it sets `deleted.KEY`.

mod bindings {
    wit_bindgen::generate!({
        inline: "
            package test:told;
            world told {
                import wasi:keyvalue/store@0.2.0-draft;
                export wasi:keyvalue/watcher@0.2.0-draft;
            }
        ",
        path: "../../../wit",
        world: "test:told/told",
        generate_all,
    });

    export!(Told with_types_in self);

    use super::Told;
}

use bindings::exports::wasi::keyvalue0_2_0_draft::watcher::{Bucket, Guest};
use bindings::wasi::keyvalue0_2_0_draft::store::{self, Error};

struct Told;

impl Guest for Told {
    fn on_set(bucket: Bucket, key: String, value: Vec<u8>) {
        told(&bucket, &key, &value).unwrap();
        if value != b"copy" {
            leave_alone(bucket);
        }
    }

    fn on_delete(bucket: Bucket, key: String) {
        let own = store::open("default").unwrap();
        own.set(&format!("deleted.{key}"), b"").unwrap();
        leave_alone(bucket);
    }
}

/// On a wasmCloud 1.x host the bucket stands for nothing, and a drop traps.
fn leave_alone(bucket: Bucket) {
    std::mem::forget(bucket);
}

fn told(bucket: &Bucket, key: &str, value: &[u8]) -> Result<(), Error> {
    let own = store::open("default")?;
    let told = format!("told.{key}");
    match value {
        b"trap-twice" => {
            let tries = format!("tries.{key}");
            let before = own.get(&tries)?.map_or(0, |tries| tries.len());
            own.set(&tries, &vec![b'x'; before + 1])?;
            assert!(before >= 2, "as asked");
            own.set(&told, value)
        }
        b"loop" => {
            own.set(&format!("begun.{key}"), b"")?;
            let mut number = 0_u64;
            loop {
                number = std::hint::black_box(number.wrapping_add(1));
            }
        }
        b"wait" => {
            own.set(&format!("begun.{key}"), b"")?;
            while !own.exists("go")? {}
            own.set(&told, value)
        }
        b"copy" => {
            let value = bucket.get(key)?;
            own.set(&told, &value.unwrap_or_default())
        }
        _ if value.starts_with(b"print ") => {
            let text = format!("{key} is {}", String::from_utf8_lossy(value));
            println!("{text}");
            eprintln!("{text}");
            own.set(&told, value)
        }
        value => own.set(&told, value),
    }
}
