//! Buckets that others have made and written: of every setting that a server offers, full, fed by
//! other streams, and with keys and headers that no well-behaved client writes.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::support::interface::BOTH;
use crate::support::raw;
use crate::support::waiting::eventually;
use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use futures::future::try_join_all;
use testkit::async_nats::HeaderMap;
use testkit::async_nats::jetstream::kv;
use testkit::async_nats::jetstream::stream::{
    Compression, Config, DiscardPolicy, Republish, Source, StorageType, SubjectTransform,
};
use testkit::{LatticeCaller, NatsServer, OLDEST, Stack};

on_oldest_and_newest! {
    a_bucket_of_any_setting_does_everything,
    the_last_of_64_values_is_the_value,
    a_full_bucket_says_so_and_deleting_makes_room,
    a_full_bucket_with_history_takes_no_deletion_and_says_so,
    expired_keys_are_gone_on_every_read_path,
    messages_from_other_streams_are_read_unchanged,
    a_bucket_that_only_has_sources_is_read_and_not_written,
    a_stream_without_the_buckets_subjects_is_no_bucket,
    headers_of_another_client_change_no_value,
    headers_that_cannot_be_parsed_do_not_affect_others,
    a_key_of_another_client_is_listed_and_said_to_be_none,
    a_key_that_is_no_text_is_a_clear_error,
    answers_forged_by_another_client_are_ignored,
}

/// Read by direct get, and through the leader.
const PATHS: [(&str, bool); 2] = [("direct", true), ("leader", false)];

/// Keys enough to be asked for all at once.
const MANY: usize = 40;

async fn a_bucket_of_any_setting_does_everything(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let republish = |headers_only| {
        Some(Republish {
            source: ">".to_owned(),
            destination: format!("copy-{headers_only}.>"),
            headers_only,
        })
    };
    let hour = Duration::from_secs(3600);
    let mut kinds = Vec::new();
    for (path, direct) in PATHS {
        let mut add = |name: &str, change: fn(&mut Config)| {
            let mut config = bucket(&format!("{name}-{path}"), direct);
            change(&mut config);
            kinds.push(config);
        };
        add("history", |config| config.max_messages_per_subject = 64);
        add("ttl", |config| config.max_age = Duration::from_secs(3600));
        add("max-bytes", |config| config.max_bytes = 1024 * 1024);
        add("compressed", |config| {
            config.compression = Some(Compression::S2);
        });
        add("memory", |config| config.storage = StorageType::Memory);
        add("discards-old", |config| config.discard = DiscardPolicy::Old);
        add("two-subjects", |config| {
            let prefix = format!("$KV.{}", &config.name["KV_".len()..]);
            config.subjects = vec![format!("{prefix}.*"), format!("{prefix}.*.>")];
        });
        for headers_only in [false, true] {
            kinds.push(Config {
                republish: republish(headers_only),
                ..bucket(&format!("republished-{headers_only}-{path}"), direct)
            });
        }
        if version != OLDEST {
            kinds.push(Config {
                allow_message_ttl: true,
                subject_delete_marker_ttl: Some(hour),
                ..bucket(&format!("markers-{path}"), direct)
            });
        }
    }
    let jetstream = stack.nats.jetstream().await?;
    for config in kinds {
        let name = config.name.clone();
        let created = jetstream.create_stream(config).await;
        created.context(name.clone())?;
        let caller = linked(&stack, &name["KV_".len()..]).await?;
        everything(&caller).await.context(name.clone())?;
    }
    Ok(())
}

async fn the_last_of_64_values_is_the_value(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    for (path, direct) in PATHS {
        let config = Config {
            max_messages_per_subject: 64,
            ..bucket(path, direct)
        };
        let mut stream = stack.nats.jetstream().await?.create_stream(config).await?;
        let caller = linked(&stack, path).await?;
        let keys: Vec<_> = (0..MANY).map(|n| format!("key-{n}")).collect();
        for round in 0..70 {
            let pairs: Vec<_> = keys
                .iter()
                .map(|key| (key, format!("{key} {round}")))
                .collect();
            caller.set_many("default", &pairs).await??;
        }
        assert_eq!(stream.info().await?.state.messages, 64 * MANY as u64);
        for interface in BOTH {
            let values = interface.get_many(&caller, "default", &keys).await??;
            let expected = keys
                .iter()
                .map(|key| Some(format!("{key} 69").into_bytes()));
            ensure!(values.into_iter().eq(expected), "{path} {interface:?}");
        }
        assert_eq!(sorted_keys(&caller).await?.len(), MANY);
        caller.delete_many("default", &keys[1..]).await??;
        assert_eq!(sorted_keys(&caller).await?, ["key-0"]);
        let values = caller.get_many("default", &keys).await??;
        assert_eq!(values.iter().flatten().count(), 1);
    }
    Ok(())
}

/// A bucket of 64 KiB that takes no more values of 8 KiB; and the keys that it has taken.
async fn full(stack: &Stack, name: &str, history: i64) -> Result<(LatticeCaller, Vec<String>)> {
    let config = Config {
        max_bytes: 64 * 1024,
        max_messages_per_subject: history,
        ..bucket(name, true)
    };
    stack.nats.jetstream().await?.create_stream(config).await?;
    let caller = linked(stack, name).await?;
    let keys: Vec<_> = (0..10).map(|n| format!("key-{n}")).collect();
    let large = "v".repeat(8 * 1024);
    let pairs: Vec<_> = keys.iter().map(|key| (key, &large)).collect();
    let error = caller.set_many("default", &pairs).await?.unwrap_err();
    ensure!(error.text().contains("maximum bytes exceeded"), "{error:?}");
    ensure!(
        error.text().contains("of 10 keys could not be set"),
        "{error:?}"
    );
    // And not even small ones.
    let mut filler = Vec::new();
    let mut size = 4 * 1024;
    while size > 1 {
        let key = format!("filler-{}", filler.len());
        match caller
            .set_many("default", &[(&key, "v".repeat(size))])
            .await?
        {
            Ok(()) => filler.push(key),
            Err(_) => size /= 2,
        }
    }
    let values = caller.get_many("default", &keys).await??;
    let there = keys.into_iter().zip(values);
    let mut there: Vec<_> = there
        .filter_map(|(key, value)| value.map(|_| key))
        .collect();
    there.extend(filler);
    Ok((caller, there))
}

async fn a_full_bucket_says_so_and_deleting_makes_room(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let (caller, mut there) = full(&stack, "full", 1).await?;
    there.sort_unstable();
    assert_eq!(sorted_keys(&caller).await?, there);
    caller.delete_many("default", &["key-0"]).await??;
    let values = caller.get_many("default", &["key-0", "key-1"]).await??;
    ensure!(values[0].is_none() && values[1].is_some());
    let half = "n".repeat(4 * 1024);
    caller.set_many("default", &[("new", &half)]).await??;
    let values = caller.get_many("default", &["new"]).await??;
    assert_eq!(values, [Some(half.into_bytes())]);
    Ok(())
}

async fn a_full_bucket_with_history_takes_no_deletion_and_says_so(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let (caller, mut there) = full(&stack, "full", 64).await?;
    let error = caller
        .delete_many("default", &["key-0"])
        .await?
        .unwrap_err();
    ensure!(
        error.text().contains("key \"key-0\" could not be deleted"),
        "{error:?}"
    );
    ensure!(error.text().contains("maximum bytes exceeded"), "{error:?}");
    there.sort_unstable();
    assert_eq!(sorted_keys(&caller).await?, there);
    let values = caller.get_many("default", &["key-0", "key-1"]).await??;
    ensure!(values.iter().all(Option::is_some));
    Ok(())
}

async fn expired_keys_are_gone_on_every_read_path(version: &str) -> Result<()> {
    if version == OLDEST {
        // It knows no time to live of a single message.
        return Ok(());
    }
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    for (path, direct) in PATHS {
        let config = Config {
            allow_message_ttl: true,
            subject_delete_marker_ttl: Some(Duration::from_secs(600)),
            ..bucket(path, direct)
        };
        let mut stream = jetstream.create_stream(config).await?;
        let caller = linked(&stack, path).await?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-TTL", "2s");
        for n in 0..MANY {
            let subject = format!("$KV.{path}.brief-{n}");
            let headers = headers.clone();
            let sent = jetstream.publish_with_headers(subject, headers, "value".into());
            sent.await?.await?;
        }
        caller.set_many("default", &[("stays", "value")]).await??;
        assert_eq!(sorted_keys(&caller).await?.len(), MANY + 1, "{path}");
        eventually("all but one to expire", async || {
            Ok((sorted_keys(&caller).await? == ["stays"]).then_some(()))
        })
        .await?;
        // The markers are there, and are no values.
        let messages = stream.info().await?.state.messages;
        assert_eq!(messages, MANY as u64 + 1, "{path}");
        let mut asked: Vec<_> = (0..MANY).map(|n| format!("brief-{n}")).collect();
        asked.push("stays".to_owned());
        for interface in BOTH {
            let values = interface.get_many(&caller, "default", &asked).await??;
            assert_eq!(values.iter().flatten().count(), 1, "{path}: {values:?}");
            let alone = interface
                .get_many(&caller, "default", &asked[..1])
                .await??;
            assert_eq!(alone, [None], "{path}");
        }
        caller.set_many("default", &[("brief-0", "back")]).await??;
        assert_eq!(sorted_keys(&caller).await?, ["brief-0", "stays"]);
    }
    Ok(())
}

/// A bucket that another one is republished into, and one that has another one for its source: their
/// messages have headers of the server, of the names that it also answers with.
async fn messages_from_other_streams_are_read_unchanged(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    for (path, direct) in PATHS {
        let (origin, copy, sourced) = (
            format!("origin-{path}"),
            format!("copy-{path}"),
            format!("sourced-{path}"),
        );
        jetstream.create_stream(bucket(&copy, direct)).await?;
        let republish = Republish {
            source: format!("$KV.{origin}.>"),
            destination: format!("$KV.{copy}.>"),
            headers_only: false,
        };
        jetstream
            .create_stream(Config {
                republish: Some(republish),
                ..bucket(&origin, direct)
            })
            .await?;
        let source = Source {
            name: format!("KV_{origin}"),
            subject_transforms: vec![SubjectTransform {
                source: format!("$KV.{origin}.>"),
                destination: format!("$KV.{sourced}.>"),
            }],
            ..Source::default()
        };
        jetstream
            .create_stream(Config {
                sources: Some(vec![source]),
                ..bucket(&sourced, direct)
            })
            .await?;
        let keys: Vec<_> = (0..MANY).map(|n| format!("key-{n}")).collect();
        let pairs: Vec<_> = keys.iter().map(|key| (key, key)).collect();
        let writer = linked(&stack, &origin).await?;
        writer.set_many("default", &pairs).await??;
        writer
            .set_many("default", &[("empty", ""), ("gone", "1")])
            .await??;
        writer.delete_many("default", &["gone", "key-0"]).await??;
        let mut asked = keys.clone();
        asked.extend(["empty", "gone", "never"].map(ToOwned::to_owned));
        let expected = asked.iter().map(|key| match key.as_str() {
            "gone" | "never" | "key-0" => None,
            "empty" => Some(Vec::new()),
            key => Some(key.as_bytes().to_vec()),
        });
        let expected: Vec<_> = expected.collect();
        for name in [&copy, &sourced] {
            let reader = linked(&stack, name).await?;
            eventually(&format!("{name} to have all"), async || {
                for interface in BOTH {
                    if interface.get_many(&reader, "default", &asked).await?? != expected {
                        return Ok(None);
                    }
                }
                for (key, value) in asked.iter().zip(&expected) {
                    if reader.get_many("default", &[key]).await??[0] != *value {
                        return Ok(None);
                    }
                }
                let listed = reader.keys("default").await??.len();
                Ok((listed == MANY).then_some(()))
            })
            .await?;
            everything(&reader).await.context(name.clone())?;
        }
    }
    Ok(())
}

async fn a_bucket_that_only_has_sources_is_read_and_not_written(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    jetstream.create_stream(bucket("origin", true)).await?;
    let writer = linked(&stack, "origin").await?;
    for (path, direct) in PATHS {
        let transform = SubjectTransform {
            source: "$KV.origin.>".to_owned(),
            destination: format!("$KV.{path}.>"),
        };
        let source = Source {
            name: "KV_origin".to_owned(),
            subject_transforms: vec![transform],
            ..Source::default()
        };
        let config = Config {
            sources: Some(vec![source]),
            subjects: Vec::new(),
            ..bucket(path, direct)
        };
        jetstream.create_stream(config).await?;
        let link = stack.link(path, path).config("timeout", "2s");
        stack.provider.put_link(&link).await?;
        let reader = stack.caller(path);
        writer
            .set_many("default", &[("a", path), ("b", "")])
            .await??;
        eventually("what the source has", async || {
            let values = reader.get_many("default", &["a", "b", "c"]).await??;
            let expected = [Some(path.into()), Some(Vec::new()), None];
            Ok((values == expected).then_some(()))
        })
        .await?;
        assert_eq!(sorted_keys(&reader).await?, ["a", "b"]);
        for answer in [
            reader.set_many("default", &[("a", "1")]).await?,
            reader.delete_many("default", &["a"]).await?,
            reader
                .atomic()
                .increment("default", "n", 1)
                .await?
                .map(drop),
        ] {
            let error = answer.unwrap_err();
            assert_eq!(error.case(), "other", "{error:?}");
            ensure!(error.text().contains("takes no writes"), "{error:?}");
        }
    }
    Ok(())
}

async fn a_stream_without_the_buckets_subjects_is_no_bucket(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    // What would go to the bucket goes to this one.
    let other = Config {
        name: "everything".to_owned(),
        ..bucket("orders", true)
    };
    jetstream.create_stream(other).await?;
    let config = Config {
        subjects: vec!["orders.>".to_owned()],
        ..bucket("orders", true)
    };
    jetstream.create_stream(config).await?;
    let caller = linked(&stack, "orders").await?;
    let answers = [
        caller.open_bucket("default").await?.unwrap_err(),
        caller.get_many("default", &["a", "b"]).await?.unwrap_err(),
        caller.keys("default").await?.unwrap_err(),
        caller
            .set_many("default", &[("a", "1")])
            .await?
            .unwrap_err(),
        caller.delete_many("default", &["a"]).await?.unwrap_err(),
    ];
    for error in answers {
        assert_eq!(error.case(), "no-such-bucket", "{error:?}");
        ensure!(error.text().contains("none of its subjects"), "{error:?}");
    }
    let mut other = jetstream.get_stream("everything").await?;
    assert_eq!(other.info().await?.state.messages, 0);
    Ok(())
}

async fn headers_of_another_client_change_no_value(version: &str) -> Result<()> {
    // Of the names that a server answers with, and of those that look like a marker.
    const HEADERS: [(&str, &str); 18] = [
        ("X-Trace", "1"),
        ("Nats-Stream", "KV_other"),
        ("Nats-Subject", "$KV.direct.key-1"),
        ("Nats-Sequence", "1"),
        ("Nats-Last-Sequence", "7"),
        ("Nats-Time-Stamp", "yesterday"),
        ("Nats-Num-Pending", "0"),
        ("Nats-UpTo-Sequence", "1"),
        ("Nats-Msg-Size", "0"),
        ("Nats-Pending-Messages", "0"),
        ("Status", "404"),
        ("Description", "No Messages"),
        ("KV-Operation", "PUT"),
        ("KV-Operation", "del"),
        ("kv-operation", "DEL"),
        ("X-KV-Operation", "DEL"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Leer", "żółw"),
    ];
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    for (path, direct) in PATHS {
        let mut stream = jetstream.create_stream(bucket(path, direct)).await?;
        let keys: Vec<_> = (0..=HEADERS.len()).map(|n| format!("key-{n}")).collect();
        for (n, key) in keys.iter().enumerate() {
            let mut headers = HeaderMap::new();
            // The last one has all that are no repetition.
            for (index, (name, value)) in HEADERS.into_iter().enumerate() {
                let is_marker = name == "KV-Operation" && value != "PUT";
                if index == n || (n == HEADERS.len() && !is_marker) {
                    headers.insert(name, value);
                }
            }
            let subject = format!("$KV.{path}.{key}");
            let sent = jetstream.publish_with_headers(subject, headers, key.clone().into());
            sent.await?.await?;
        }
        assert_eq!(stream.info().await?.state.messages, keys.len() as u64);
        let caller = linked(&stack, path).await?;
        let expected: Vec<_> = keys
            .iter()
            .map(|key| Some(key.clone().into_bytes()))
            .collect();
        for interface in BOTH {
            let values = interface.get_many(&caller, "default", &keys).await??;
            assert_eq!(values, expected, "{path}");
            for (key, value) in keys.iter().zip(&expected) {
                let alone = interface.get_many(&caller, "default", &[key]).await??;
                assert_eq!(alone, std::slice::from_ref(value), "{path} {key}");
            }
        }
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert_eq!(sorted_keys(&caller).await?, sorted, "{path}");
        everything(&caller).await?;
    }
    Ok(())
}

/// The server stores whatever a client calls headers. The provider's own client gives up its
/// connection, which other links share, when it gets what it cannot parse.
async fn headers_that_cannot_be_parsed_do_not_affect_others(version: &str) -> Result<()> {
    const HEADERS: [&[u8]; 12] = [
        b"NATS/1.0 404 Not Found\r\n\r\n",
        b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0 204\r\nNats-Num-Pending: 0\r\n\r\n",
        b"NATS/1.0 408 Bad\r\n\r\n",
        b"NATS/1.0 none\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\nLatin-1: \xe9\r\n\r\n",
        b"NATS/1.0\r\na name: 1\r\n\r\n",
        b"NATS/1.0\r\nX: carriage\rreturn\r\n\r\n",
        b"NATS/1.0\r\nX: return\r\r\n in a line to be continued\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\r\n\r\n",
    ];
    for (path, direct) in PATHS {
        for (n, headers) in HEADERS.into_iter().enumerate() {
            let stack = crate::support::stack(version)
                .separate_lattice()
                .start()
                .await?;
            let jetstream = stack.nats.jetstream().await?;
            jetstream.create_stream(bucket("others", true)).await?;
            let link = stack.link("others", "others").config("timeout", "5s");
            stack.provider.put_link(&link).await?;
            let others = stack.caller("others");
            others.set_many("default", &[("key", "value")]).await??;
            let shown = format!("{path} {}", headers.escape_ascii());
            let name = format!("{path}-{n}");
            jetstream.create_stream(bucket(&name, direct)).await?;
            let writer = linked(&stack, &name).await?;
            let keys: Vec<_> = (0..MANY).map(|n| format!("key-{n}")).collect();
            let pairs: Vec<_> = keys.iter().map(|key| (key, "value")).collect();
            writer.set_many("default", &pairs).await??;
            let subject = format!("$KV.{name}.key-7");
            raw::publish(&stack.nats, subject.as_bytes(), headers, b"value")
                .await?
                .with_context(|| format!("{shown} is not stored"))?;
            // A marker is one, whatever else stands there.
            let subject = format!("$KV.{name}.key-8");
            let lines = headers.strip_suffix(b"\r\n").unwrap_or(headers);
            let marker = [lines, b"KV-Operation: DEL\r\n\r\n"].concat();
            raw::publish(&stack.nats, subject.as_bytes(), &marker, b"").await?;

            let before = attempts(&stack.nats).await?;
            let reads = async {
                for asked in [&keys[7..8], &keys[..]] {
                    let values = writer.get_many("default", asked).await??;
                    let expected = asked
                        .iter()
                        .map(|key| (key != "key-8").then(|| b"value".to_vec()));
                    ensure!(values.iter().cloned().eq(expected), "{shown}: {values:?}");
                }
                assert_eq!(sorted_keys(&writer).await?.len(), MANY - 1, "{shown}");
                anyhow::Ok(())
            };
            // A link that shares the connection.
            let meanwhile = (0..20).map(|_| async {
                let values = others.get_many("default", &["key"]).await??;
                assert_eq!(values, [Some(b"value".to_vec())]);
                others.set_many("default", &[("other", "value")]).await??;
                anyhow::Ok(())
            });
            tokio::try_join!(reads, try_join_all(meanwhile)).context(shown.clone())?;
            let lost = attempts(&stack.nats).await? - before;
            ensure!(lost <= 6, "{shown}: {lost} connections lost");

            // Once that is known, no more of them are.
            let before = attempts(&stack.nats).await?;
            for _ in 0..10 {
                writer.get_many("default", &keys).await??;
                writer.keys("default").await??;
            }
            let lost = attempts(&stack.nats).await? - before;
            assert_eq!(lost, 0, "{shown}");
            one_by_one(&writer).await.context(shown.clone())?;
            everything(&writer).await.context(shown)?;
        }
    }
    Ok(())
}

/// The same keys through `store`, which may find pages too much.
async fn one_by_one(writer: &LatticeCaller) -> Result<()> {
    let store = writer.store();
    let value = store.get("default", "key-7").await??;
    ensure!(value.as_deref() == Some(b"value"), "{value:?}");
    ensure!(store.exists("default", "key-7").await??);
    ensure!(!store.exists("default", "key-8").await??);
    let refused = writer.atomics().increment("default", "key-7", 1).await?;
    ensure!(refused.is_err(), "{refused:?}");
    let (mut listed, mut cursor) = (0, None);
    loop {
        match store.list_keys("default", cursor).await? {
            Ok(page) => {
                listed += page.keys.len();
                cursor = page.cursor;
            }
            Err(error) => {
                ensure!(format!("{error:?}").contains("cannot parse"), "{error:?}");
                return Ok(());
            }
        }
        if cursor.is_none() {
            ensure!(listed == MANY - 1, "{listed} keys");
            return Ok(());
        }
    }
}

async fn a_key_of_another_client_is_listed_and_said_to_be_none(version: &str) -> Result<()> {
    const FOREIGN: [&str; 8] = ["a:b", "clé", "a*b", "a>b", "a\"b", "a\\b", "\u{1}", "$"];
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    for (path, direct) in PATHS {
        jetstream.create_stream(bucket(path, direct)).await?;
        let caller = linked(&stack, path).await?;
        let keys: Vec<_> = (0..MANY).map(|n| format!("key-{n}")).collect();
        let pairs: Vec<_> = keys.iter().map(|key| (key, "value")).collect();
        caller.set_many("default", &pairs).await??;
        let long = "k".repeat(3000);
        for foreign in FOREIGN.iter().copied().chain([long.as_str()]) {
            let subject = format!("$KV.{path}.{foreign}");
            raw::publish(
                &stack.nats,
                subject.as_bytes(),
                b"NATS/1.0\r\n\r\n",
                b"value",
            )
            .await?
            .with_context(|| format!("{foreign:?} is not stored"))?;
        }
        let mut expected = keys.clone();
        expected.extend(FOREIGN.map(ToOwned::to_owned));
        expected.push(long.clone());
        expected.sort_unstable();
        assert_eq!(sorted_keys(&caller).await?, expected, "{path}");
        for foreign in FOREIGN.iter().copied().chain([long.as_str()]) {
            let asked = ["key-1", foreign];
            let error = caller.get_many("default", &asked).await?.unwrap_err();
            assert_eq!(error.case(), "invalid-argument", "{error:?}");
            let shown: String = foreign.chars().take(20).collect();
            let shown = format!("{shown:?}");
            ensure!(error.text().contains(shown.trim_matches('"')), "{error:?}");
        }
        // Other keys work as before.
        let values = caller.get_many("default", &keys).await??;
        assert_eq!(values.iter().flatten().count(), MANY);
        caller.delete_many("default", &keys).await??;
        assert_eq!(sorted_keys(&caller).await?.len(), FOREIGN.len() + 1);

        // With an encoding, what is not encoded is an error, and not a key of another name.
        let link = stack
            .link("encoded", path)
            .name(path)
            .config("key_encoding", "base64");
        stack.provider.put_link(&link).await?;
        let encoded = stack.caller("encoded").with_link(path);
        let error = encoded.keys("default").await?.unwrap_err();
        assert_eq!(error.case(), "other", "{error:?}");
        ensure!(error.text().contains("`key_encoding`"), "{error:?}");
    }
    Ok(())
}

async fn a_key_that_is_no_text_is_a_clear_error(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    for (path, direct) in PATHS {
        let stream = jetstream.create_stream(bucket(path, direct)).await?;
        let caller = linked(&stack, path).await?;
        caller
            .set_many("default", &[("a", "1"), ("b", "2")])
            .await??;
        let subject = [format!("$KV.{path}.").as_bytes(), b"\xff\xfe"].concat();
        raw::publish(&stack.nats, &subject, b"NATS/1.0\r\n\r\n", b"value")
            .await?
            .context("is not stored")?;
        for _ in 0..3 {
            let error = caller.keys("default").await?.unwrap_err();
            assert_eq!(error.case(), "other", "{error:?}");
            ensure!(error.text().contains("not UTF-8"), "{error:?}");
        }
        let values = caller.get_many("default", &["a", "b"]).await??;
        assert_eq!(values, [Some(b"1".to_vec()), Some(b"2".to_vec())]);
        // Without that key every operation works again.
        stream.purge().await?;
        caller.set_many("default", &[("a", "1")]).await??;
        assert_eq!(sorted_keys(&caller).await?, ["a"]);
    }
    Ok(())
}

/// The stream of a bucket (ADR-8).
fn bucket(bucket: &str, direct: bool) -> Config {
    Config {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        allow_direct: direct,
        allow_rollup: true,
        deny_delete: true,
        discard: DiscardPolicy::New,
        ..Config::default()
    }
}

/// A component of its own for the bucket.
async fn linked(stack: &Stack, bucket: &str) -> Result<LatticeCaller> {
    crate::support::linked_with_long_timeout(stack, bucket, bucket).await
}

/// One round through all operations, which leaves nothing behind.
async fn everything(caller: &LatticeCaller) -> Result<()> {
    let before = sorted_keys(caller).await?;
    let keys: Vec<_> = (0..MANY).map(|n| format!("every.{n}")).collect();
    for value in ["first", "second"] {
        let pairs: Vec<_> = keys.iter().map(|key| (key, value)).collect();
        caller.set_many("default", &pairs).await??;
    }
    let mut asked = keys.clone();
    asked.push("every.none".to_owned());
    for interface in BOTH {
        let values = interface.get_many(caller, "default", &asked).await??;
        let found = values.iter().flatten().filter(|value| *value == b"second");
        ensure!(
            found.count() == MANY && values[MANY].is_none(),
            "{values:?}"
        );
    }
    let listed = sorted_keys(caller).await?;
    ensure!(listed.len() == before.len() + MANY, "{listed:?}");
    caller.delete_many("default", &asked).await??;
    let values = caller.get_many("default", &asked).await??;
    ensure!(values.iter().all(Option::is_none), "{values:?}");
    ensure!(sorted_keys(caller).await? == before);
    Ok(())
}

async fn sorted_keys(caller: &LatticeCaller) -> Result<Vec<String>> {
    let mut keys = caller.keys("default").await??;
    keys.sort_unstable();
    Ok(keys)
}

/// How many connections the server has seen.
async fn attempts(server: &NatsServer) -> Result<u64> {
    let varz = server.monitor("/varz").await?;
    varz["total_connections"].as_u64().context("no number")
}

/// Whoever sees writes sees where their acknowledgements go, and may leave there what looks like the
/// answers to a later batch.
async fn answers_forged_by_another_client_are_ignored(version: &str) -> Result<()> {
    const FORGED: usize = 2000;
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = crate::support::linked_with_long_timeout(&stack, "component", "orders").await?;
    let other = stack.nats.client().await?;
    let mut writes = other.subscribe("$KV.orders.>").await?;
    other.flush().await?;
    let keys: Vec<_> = (0..MANY).map(|key| format!("key.{key}")).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (key, "written")).collect();
    caller.set_many("default", &pairs).await??;

    let write = writes.next().await.context("no write")?;
    let reply = write.reply.context("no reply subject")?;
    let (inbox, token) = reply.rsplit_once('.').context("no token")?;
    let token: usize = token.parse()?;
    for (ahead, key) in keys.iter().cycle().take(FORGED).enumerate() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Stream", "KV_orders");
        headers.insert("Nats-Subject", format!("$KV.orders.{key}"));
        headers.insert("Nats-Sequence", "1");
        headers.insert("Nats-Num-Pending", "1");
        let subject = format!("{inbox}.{}", token + ahead);
        other
            .publish_with_headers(subject, headers, "forged".into())
            .await?;
    }
    other.flush().await?;
    // The provider has to read all of them before the call.
    eventually("the provider to read the forged answers", async || {
        let read = stack.nats.have_read_everything(env!("CARGO_PKG_NAME"));
        Ok(read.await?.then_some(()))
    })
    .await?;
    let values = caller.get_many("default", &keys).await??;
    let forged = values.iter().flatten().filter(|value| *value == b"forged");
    assert_eq!(forged.count(), 0, "of {MANY}");
    assert_eq!(values, vec![Some(b"written".to_vec()); MANY]);
    Ok(())
}
