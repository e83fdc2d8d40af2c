//! A lattice in memory: what a provider answers, and a record of the calls.

use std::collections::BTreeMap;

use wasmtime::Result;

use self::wrpc::keyvalue::{atomic, eventual_batch};

pub(crate) use self::wrpc::keyvalue::eventual_batch::{Error, Value};

wasmtime::component::bindgen!({
    path: ["../../wit/deps/wrpc-keyvalue-0.1.0"],
    inline: "
        package test:lattice;

        world lattice {
            import wrpc:keyvalue/eventual-batch@0.1.0;
            import wrpc:keyvalue/atomic@0.1.0;
        }
    ",
    world: "test:lattice/lattice",
    imports: { default: trappable },
});

/// The bucket `default`. The value of the key `broken` is not what it says, and the key `bad` is refused.
#[derive(Debug, Default)]
pub(crate) struct MemoryLattice {
    values: BTreeMap<String, Value>,
    /// The calls that were made, but for those that open buckets.
    pub(crate) calls: Vec<String>,
}

type Answer<T> = Result<Result<T, Error>>;

impl MemoryLattice {
    fn note(&mut self, operation: &str, rest: &[String]) {
        let words = [&[operation.to_owned()], rest].concat();
        self.calls.push(words.join(" "));
    }

    fn read(&self, key: &str) -> Result<Option<Value>, Error> {
        check(key)?;
        Ok(match key {
            "broken" => Some(Value::Base64("not base64".to_owned())),
            key => self.values.get(key).cloned(),
        })
    }

    fn number(&self, key: &str) -> Result<u64, Error> {
        match self.read(key)? {
            Some(Value::Utf8(text)) => Ok(text.parse().unwrap()),
            _ => Ok(0),
        }
    }
}

fn check(key: &str) -> Result<(), Error> {
    match key {
        "bad" => Err(Error::InvalidArgument("key \"bad\" is bad".to_owned())),
        _ => Ok(()),
    }
}

impl eventual_batch::Host for MemoryLattice {
    fn open_bucket(&mut self, name: String) -> Answer<()> {
        Ok(match name.as_str() {
            "default" => Ok(()),
            name => Err(Error::NoSuchBucket(format!("no link grants {name:?}"))),
        })
    }

    fn get_many(&mut self, _: String, keys: Vec<String>) -> Answer<Vec<Option<Value>>> {
        self.note("get-many", &keys);
        Ok(keys.iter().map(|key| self.read(key)).collect())
    }

    fn keys(&mut self, _: String) -> Answer<Vec<String>> {
        self.note("keys", &[]);
        Ok(Ok(self.values.keys().cloned().collect()))
    }

    fn set_many(&mut self, _: String, entries: Vec<(String, Value)>) -> Answer<()> {
        let shown = |(key, value): &(String, Value)| match value {
            Value::Utf8(text) => format!("{key}={text}"),
            Value::Base64(text) => format!("{key}=base64:{text}"),
        };
        let words: Vec<_> = entries.iter().map(shown).collect();
        self.note("set-many", &words);
        Ok(entries.into_iter().try_for_each(|(key, value)| {
            check(&key)?;
            self.values.insert(key, value);
            Ok(())
        }))
    }

    fn delete_many(&mut self, _: String, keys: Vec<String>) -> Answer<()> {
        self.note("delete-many", &keys);
        Ok(keys.iter().try_for_each(|key| {
            check(key)?;
            self.values.remove(key);
            Ok(())
        }))
    }

    fn get(&mut self, _: String, key: String) -> Answer<Option<Value>> {
        let value = self.read(&key);
        self.note("get", &[key]);
        Ok(value)
    }

    fn exists(&mut self, _: String, key: String) -> Answer<bool> {
        let value = self.read(&key);
        self.note("exists", &[key]);
        Ok(value.map(|value| value.is_some()))
    }
}

impl atomic::Host for MemoryLattice {
    fn increment(&mut self, _: String, key: String, delta: u64) -> Answer<u64> {
        self.note("increment", &[key.clone(), delta.to_string()]);
        let number = match self.number(&key) {
            Ok(number) => number + delta,
            Err(error) => return Ok(Err(error)),
        };
        self.values.insert(key, Value::Utf8(number.to_string()));
        Ok(Ok(number))
    }

    fn compare_and_swap(&mut self, _: String, key: String, old: u64, new: u64) -> Answer<bool> {
        self.note("swap", &[key.clone(), old.to_string(), new.to_string()]);
        let is_old = match self.number(&key) {
            Ok(number) => number == old,
            Err(error) => return Ok(Err(error)),
        };
        if is_old {
            self.values.insert(key, Value::Utf8(new.to_string()));
        }
        Ok(Ok(is_old))
    }
}
