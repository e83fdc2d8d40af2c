//! Which values and keys a bucket can hold, how they cross the lattice, and the limits of a batch.

use crate::support::interface::{BOTH, BatchInterface, refused};
use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use testkit::async_nats::jetstream::kv;
use testkit::{LatticeCaller, Value};

on_oldest_and_newest!(
    a_value_may_be_as_large_as_the_server_takes,
    a_value_may_be_as_large_as_a_server_takes_that_comes_up_during_the_call,
    a_value_may_be_as_large_as_the_bucket_takes,
    a_key_can_be_deleted_wherever_another_client_can_delete_it,
    bytes_cross_as_text_or_base64,
    a_batch_of_20_000_keys_goes_through_every_operation,
    ten_values_of_half_a_mebibyte_go_through_both_interfaces,
    a_key_that_could_reach_other_keys_is_refused,
    with_base64_every_string_is_a_key,
    a_batch_over_the_limits_of_the_link_is_refused,
    an_answer_over_the_limits_of_the_link_is_refused,
);

/// Bytes that differ from place to place and are not UTF-8.
fn bytes(size: usize) -> Vec<u8> {
    (0x80..=u8::MAX).cycle().take(size).collect()
}

async fn sorted_keys(caller: &LatticeCaller) -> Result<Vec<String>> {
    let mut keys = caller.keys("default").await??;
    keys.sort_unstable();
    Ok(keys)
}

async fn a_value_may_be_as_large_as_the_server_takes(version: &str) -> Result<()> {
    const MAX: usize = 16 * 1024;
    let stack = crate::support::stack(version)
        .nats(|nats| nats.config(format!("max_payload: {MAX}")))
        .separate_lattice()
        .start()
        .await?;
    let bucket = stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = crate::support::linked_with_long_timeout(&stack, "component", "orders").await?;
    values_fit_up_to(&caller, &bucket, MAX, "max_payload").await
}

async fn a_value_may_be_as_large_as_a_server_takes_that_comes_up_during_the_call(
    version: &str,
) -> Result<()> {
    // Before a connection, the client takes it for 1 MiB.
    const MAX: usize = 2 * 1024 * 1024;
    let mut stack = crate::support::stack(version)
        .nats(|nats| nats.config(format!("max_payload: {MAX}")))
        .separate_lattice()
        .start()
        .await?;
    let bucket = stack.create_bucket("orders", kv::Config::default()).await?;
    stack.nats.stop().await?;
    let caller = crate::support::linked_with_long_timeout(&stack, "component", "orders").await?;
    let impatient = stack.link("impatient", "orders").config("timeout", "300ms");
    stack.provider.put_link(&impatient).await?;
    let impatient = stack.caller("impatient");

    let pairs = [("large", bytes(MAX))];
    let starts_late = async {
        // The provider begins calls in the order in which they come, so the other has begun.
        let error = refused(impatient.keys("default").await?)?;
        assert_eq!(error.case, "unavailable", "{error}");
        stack.nats.start().await
    };
    let set = BatchInterface::EventualBatch.set_many(&caller, "default", &pairs);
    let (set, started) = tokio::join!(set, starts_late);
    started?;
    set??;
    let stored = bucket.get("large").await?;
    assert!(stored.is_some_and(|stored| stored == pairs[0].1));
    Ok(())
}

async fn a_value_may_be_as_large_as_the_bucket_takes(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    for max in [1, 40, 1000] {
        let config = kv::Config {
            max_value_size: i32::try_from(max)?,
            ..kv::Config::default()
        };
        let bucket = stack.create_bucket(&format!("max-{max}"), config).await?;
        let caller =
            crate::support::linked_with_long_timeout(&stack, "component", &bucket.name).await?;
        values_fit_up_to(&caller, &bucket, max, "max_value_size").await?;
    }
    Ok(())
}

/// Sizes around `max`, which is also where a header no longer fits beside the value.
async fn values_fit_up_to(
    caller: &LatticeCaller,
    bucket: &kv::Store,
    max: usize,
    limit: &str,
) -> Result<()> {
    for interface in BOTH {
        let mut pairs = Vec::new();
        for size in [0, 1].into_iter().chain(max.saturating_sub(130)..=max) {
            if size <= max
                && !pairs
                    .iter()
                    .any(|(_, value): &(_, Vec<u8>)| value.len() == size)
            {
                pairs.push((format!("{interface:?}-{size}"), bytes(size)));
            }
        }
        let keys: Vec<_> = pairs.iter().map(|(key, _)| key).collect();
        interface.set_many(caller, "default", &pairs).await??;
        let values = interface.get_many(caller, "default", &keys).await??;
        for ((key, value), answered) in pairs.iter().zip(&values) {
            assert!(answered.as_ref() == Some(value), "{key} {limit}");
            let stored = bucket.get(key).await?;
            assert!(
                stored.is_some_and(|stored| stored == value),
                "{key} {limit}"
            );
        }

        let over = bytes(max + 1);
        let small = bytes(1);
        for pairs in [
            vec![("the-large-one", &over)],
            vec![
                ("first", &small),
                ("the-large-one", &over),
                ("last", &small),
            ],
        ] {
            let error = refused(interface.set_many(caller, "default", &pairs).await?)?;
            assert_eq!(error.case, interface.case("invalid-argument"), "{error}");
            for named in ["\"the-large-one\"", limit, &max.to_string()] {
                assert!(error.text.contains(named), "{named} is not in: {error}");
            }
            for (key, _) in pairs {
                assert_eq!(bucket.get(key).await?, None, "{key} was written");
            }
        }
        // The last value given is the one that counts.
        let pairs = [("twice", &over), ("twice", &small)];
        interface.set_many(caller, "default", &pairs).await??;
        bucket_forgets(bucket, "twice").await?;
    }
    Ok(())
}

/// Without a message, which a bucket for tiny values does not take.
async fn bucket_forgets(bucket: &kv::Store, key: &str) -> Result<()> {
    let subject = format!("$KV.{}.{key}", bucket.name);
    bucket.stream.purge().filter(subject).await?;
    Ok(())
}

async fn a_key_can_be_deleted_wherever_another_client_can_delete_it(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    for max in [32, 64, 100] {
        let config = kv::Config {
            max_value_size: max,
            ..kv::Config::default()
        };
        let bucket = stack.create_bucket(&format!("max-{max}"), config).await?;
        let caller =
            crate::support::linked_with_long_timeout(&stack, "component", &bucket.name).await?;
        for key in ["a", "b"] {
            bucket.put(key, "1".into()).await?;
        }
        bucket.delete("a").await?;
        caller.delete_many("default", &["b"]).await??;
        assert_eq!(bucket.get("b").await?, None, "{max}");
    }
    Ok(())
}

async fn bytes_cross_as_text_or_base64(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let bucket = stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = crate::support::linked_with_long_timeout(&stack, "component", "orders").await?;
    let utf8 = |text: &str| Value::Utf8(text.to_owned());
    let base64 = |bytes: &[u8]| Value::Base64(STANDARD.encode(bytes));

    let in_and_out = [
        ("text", utf8("żółw\0\n"), utf8("żółw\0\n")),
        ("empty-text", utf8(""), utf8("")),
        ("empty-base64", base64(b""), utf8("")),
        ("text-as-base64", base64(b"plain"), utf8("plain")),
        ("looks-like-base64", utf8("AAEC"), utf8("AAEC")),
        ("bytes", base64(&[0xff, 0, 0xfe]), base64(&[0xff, 0, 0xfe])),
        ("cut-off", base64(b"ok\xc5"), base64(b"ok\xc5")),
        (
            "surrogate",
            base64(b"\xed\xa0\x80"),
            base64(b"\xed\xa0\x80"),
        ),
        ("every-byte", base64(&all_bytes()), base64(&all_bytes())),
    ];
    let pairs: Vec<_> = in_and_out
        .iter()
        .map(|(key, value, _)| (*key, value.clone()))
        .collect();
    caller.set_many_raw("default", &pairs).await??;
    let keys: Vec<_> = in_and_out.iter().map(|(key, ..)| *key).collect();
    let answered = caller.get_many_raw("default", &keys).await??;
    let plain = caller.batch().get_many("default", &keys).await??;
    for (((key, _, expected), answered), plain) in in_and_out.iter().zip(answered).zip(plain) {
        assert_eq!(answered.as_ref(), Some(expected), "{key}");
        let stored = bucket.get(*key).await?.map(Vec::from);
        assert_eq!(stored, Some(expected.clone().into_bytes()?), "{key}");
        assert_eq!(plain.map(|(_, value)| Vec::from(value)), stored, "{key}");
    }

    // Standard base64 with padding, and nothing else.
    for text in ["a", "YQ", "YQ===", "_-8=", "Y Q=", "é", "YR=="] {
        let pairs = [
            ("unwritten-1", utf8("1")),
            ("the-bad-one", Value::Base64(text.to_owned())),
            ("unwritten-2", utf8("2")),
        ];
        let error = refused(caller.set_many_raw("default", &pairs).await?)?;
        assert_eq!(error.case, "invalid-argument", "{text}: {error}");
        assert!(error.text.contains("\"the-bad-one\""), "{text}: {error}");
        let keys = pairs.map(|(key, _)| key);
        let values = caller.get_many("default", &keys).await??;
        assert_eq!(values, [None, None, None], "{text}");
    }
    Ok(())
}

fn all_bytes() -> Vec<u8> {
    (0..=u8::MAX).collect()
}

async fn a_batch_of_20_000_keys_goes_through_every_operation(version: &str) -> Result<()> {
    const KEYS: usize = 20_000;
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = crate::support::linked_with_long_timeout(&stack, "component", "orders").await?;
    let pairs: Vec<_> = (0..KEYS)
        .map(|n| (format!("key-{n:05}"), n.to_string()))
        .collect();
    let keys: Vec<_> = pairs.iter().map(|(key, _)| key.clone()).collect();
    caller.set_many("default", &pairs).await??;
    assert!(sorted_keys(&caller).await? == keys);

    for interface in BOTH {
        let asked: Vec<_> = keys.iter().rev().collect();
        let values = interface.get_many(&caller, "default", &asked).await??;
        let expected = (0..KEYS).rev().map(|n| Some(n.to_string().into_bytes()));
        assert!(values.into_iter().eq(expected), "{interface:?}");
    }

    let (gone, left) = keys.split_at(KEYS / 2);
    caller.delete_many("default", gone).await??;
    assert!(sorted_keys(&caller).await? == left);
    caller.batch().delete_many("default", &keys).await??;
    assert_eq!(sorted_keys(&caller).await?, Vec::<String>::new());
    let values = caller.get_many("default", &keys).await??;
    assert_eq!(values.len(), KEYS);
    assert!(values.iter().all(Option::is_none));
    Ok(())
}

async fn ten_values_of_half_a_mebibyte_go_through_both_interfaces(version: &str) -> Result<()> {
    const SIZE: usize = 512 * 1024;
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = crate::support::linked_with_long_timeout(&stack, "component", "orders").await?;
    for interface in BOTH {
        // Bytes and text: as text they cross as they are, else as base64.
        let pairs: Vec<_> = (0..10_usize)
            .map(|n| {
                let mut value = bytes(SIZE);
                value[n] = 0xff;
                if n % 2 == 0 {
                    for byte in &mut value {
                        *byte &= 0x7f;
                    }
                }
                (format!("key-{n}"), value)
            })
            .collect();
        interface.set_many(&caller, "default", &pairs).await??;
        let keys: Vec<_> = pairs.iter().map(|(key, _)| key).collect();
        let values = interface.get_many(&caller, "default", &keys).await??;
        for ((key, value), answered) in pairs.iter().zip(values) {
            assert!(answered.as_ref() == Some(value), "{interface:?} {key}");
        }
        interface.delete_many(&caller, "default", &keys).await??;
    }
    Ok(())
}

async fn a_key_that_could_reach_other_keys_is_refused(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let bucket = stack.create_bucket("orders", kv::Config::default()).await?;
    stack.create_bucket("other", kv::Config::default()).await?;
    let caller = crate::support::linked_with_long_timeout(&stack, "component", "orders").await?;
    let longest = "k".repeat(2048);
    let good = [
        "a",
        "a.b",
        "a.b.c",
        "-",
        "=",
        "/",
        "_",
        "A-z_0/9=.b",
        &longest,
    ];
    for interface in BOTH {
        let pairs = good.map(|key| (key, key));
        interface.set_many(&caller, "default", &pairs).await??;
        let values = interface.get_many(&caller, "default", &good).await??;
        assert_eq!(values, good.map(|key| Some(key.as_bytes().to_vec())));
    }
    let mut kept = good.map(ToOwned::to_owned).to_vec();
    kept.sort_unstable();

    let too_long = "k".repeat(2049);
    let far_too_long = "k".repeat(100_000);
    let bad = [
        "",
        ".",
        "..",
        ".a",
        "a.",
        "a..b",
        "*",
        ">",
        "a.*",
        "a.>",
        "*.b",
        "a*",
        "a b",
        " ",
        "a\t",
        "a\r\nb",
        "\n",
        "\0",
        "\u{7f}",
        "żółw",
        "🗝",
        "a:b",
        "$",
        "\\",
        &too_long,
        &far_too_long,
    ];
    for interface in BOTH {
        for key in bad {
            let shown: String = key.escape_debug().take(40).collect();
            let keys = ["a", key, "unwritten"];
            let pairs = keys.map(|key| (key, "overwritten"));
            let get = refused(interface.get_many(&caller, "default", &keys).await?)?;
            let set = refused(interface.set_many(&caller, "default", &pairs).await?)?;
            let delete = refused(interface.delete_many(&caller, "default", &keys).await?)?;
            for error in [get, set, delete] {
                assert_eq!(
                    error.case,
                    interface.case("invalid-argument"),
                    "{shown:?} {error}"
                );
                assert!(error.text.contains("key \""), "{shown:?} {error}");
                assert!(error.text.contains(&shown), "{shown:?} {error}");
                assert!(error.text.len() < 1000, "{shown:?}");
            }
        }
    }
    assert_eq!(sorted_keys(&caller).await?, kept);
    assert_eq!(bucket.get("a").await?, Some("a".into()));
    Ok(())
}

async fn with_base64_every_string_is_a_key(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let bucket = stack.create_bucket("orders", kv::Config::default()).await?;
    let link = stack
        .link("component", "orders")
        .config("key_encoding", "base64");
    stack.provider.put_link(&link).await?;
    let caller = stack.caller("component");
    let longest = "k".repeat(1536);
    let mut keys = vec![
        "",
        "*",
        ">",
        "a.*",
        ".",
        "a..b",
        " ",
        "\0",
        "a\r\nb",
        "żółw",
        "ключ/🗝",
        "=",
        "a",
        "aa",
        "aaa",
        "??>>~~",
        &longest,
    ];
    keys.sort_unstable();
    for interface in BOTH {
        let pairs: Vec<_> = keys
            .iter()
            .map(|key| (key, format!("value of {key}")))
            .collect();
        interface.set_many(&caller, "default", &pairs).await??;
        let values = interface.get_many(&caller, "default", &keys).await??;
        for ((key, value), answered) in pairs.iter().zip(values) {
            assert_eq!(answered, Some(value.clone().into_bytes()), "{key:?}");
        }
        assert_eq!(sorted_keys(&caller).await?, keys);

        for (key, value) in pairs.iter().filter(|(key, _)| !key.is_empty()) {
            let raw = URL_SAFE_NO_PAD.encode(key);
            assert_eq!(
                bucket.get(&raw).await?,
                Some(value.clone().into()),
                "{key:?}"
            );
        }
        // One that would be a wildcard deletes itself only.
        interface
            .delete_many(&caller, "default", &["*", ">", "not there"])
            .await??;
        let left: Vec<_> = keys
            .iter()
            .filter(|key| !["*", ">"].contains(key))
            .collect();
        assert_eq!(
            sorted_keys(&caller).await?,
            left.into_iter().copied().collect::<Vec<_>>()
        );
        interface.delete_many(&caller, "default", &[""]).await??;
        let values = interface.get_many(&caller, "default", &["", "a"]).await??;
        assert_eq!(values, [None, Some(b"value of a".to_vec())]);

        let too_long = "k".repeat(1537);
        let error = refused(interface.get_many(&caller, "default", &[&too_long]).await?)?;
        assert_eq!(error.case, interface.case("invalid-argument"), "{error}");
    }

    // A key of somebody who does not know of the encoding cannot be given back as a string.
    bucket.put("not.base64", "1".into()).await?;
    let error = refused(caller.keys("default").await?)?;
    assert_eq!(error.case, "other", "{error}");
    assert!(error.text.contains("not.base64"), "{error}");
    Ok(())
}

async fn a_batch_over_the_limits_of_the_link_is_refused(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let link = stack
        .link("component", "orders")
        .config("max_batch_keys", "5")
        .config("max_batch_bytes", "1000");
    stack.provider.put_link(&link).await?;
    let caller = stack.caller("component");
    for interface in BOTH {
        let keys: Vec<_> = (0..6).map(|n| format!("{interface:?}-{n}")).collect();
        let small: Vec<_> = keys.iter().map(|key| (key, bytes(1))).collect();
        let get = refused(interface.get_many(&caller, "default", &keys).await?)?;
        let set = refused(interface.set_many(&caller, "default", &small).await?)?;
        let delete = refused(interface.delete_many(&caller, "default", &keys).await?)?;
        for error in [get, set, delete] {
            is_too_large(&error, interface, "max_batch_keys", "5");
        }
        interface
            .set_many(&caller, "default", &small[..5])
            .await??;
        let values = interface.get_many(&caller, "default", &keys[..5]).await??;
        assert_eq!(values, vec![Some(bytes(1)); 5]);
        interface
            .delete_many(&caller, "default", &keys[..5])
            .await??;

        // The bytes of keys and values together, exactly and one over; and far over, where the
        // parameters are not even read to the end.
        for (size, fits) in [(998, true), (999, false), (500_000, false)] {
            let pairs = [("ab", bytes(size))];
            let answer = interface.set_many(&caller, "default", &pairs).await?;
            if fits {
                answer?;
            } else {
                is_too_large(&refused(answer)?, interface, "max_batch_bytes", "1000");
            }
        }
        let long = ["k".repeat(600), "l".repeat(600)];
        let get = refused(interface.get_many(&caller, "default", &long).await?)?;
        let delete = refused(interface.delete_many(&caller, "default", &long).await?)?;
        for error in [get, delete] {
            is_too_large(&error, interface, "max_batch_bytes", "1000");
        }
        let values = interface.get_many(&caller, "default", &["ab"]).await??;
        assert_eq!(values, [Some(bytes(998))]);
        interface.delete_many(&caller, "default", &["ab"]).await??;
    }
    assert_eq!(sorted_keys(&caller).await?, Vec::<String>::new());
    Ok(())
}

async fn an_answer_over_the_limits_of_the_link_is_refused(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let bucket = stack.create_bucket("orders", kv::Config::default()).await?;
    let link = stack
        .link("component", "orders")
        .config("max_batch_keys", "4")
        .config("max_batch_bytes", "1000");
    stack.provider.put_link(&link).await?;
    let caller = stack.caller("component");
    for key in ["a", "b"] {
        bucket.put(key, bytes(499).into()).await?;
    }
    for interface in BOTH {
        let values = interface
            .get_many(&caller, "default", &["a", "b"])
            .await??;
        assert_eq!(values, [Some(bytes(499)), Some(bytes(499))]);
    }
    bucket.put("a", bytes(500).into()).await?;
    for interface in BOTH {
        // One over; and one value that stands in the answer more than once.
        for keys in [vec!["a", "b"], vec!["b", "b", "b"]] {
            let error = refused(interface.get_many(&caller, "default", &keys).await?)?;
            is_too_large(&error, interface, "max_batch_bytes", "1000");
        }
        let values = interface.get_many(&caller, "default", &["a"]).await??;
        assert_eq!(values, [Some(bytes(500))]);
    }

    for key in ["c", "d"] {
        bucket.put(key, "1".into()).await?;
    }
    assert_eq!(sorted_keys(&caller).await?, ["a", "b", "c", "d"]);
    bucket.put("e", "1".into()).await?;
    let error = refused(caller.keys("default").await?)?;
    is_too_large(&error, BatchInterface::EventualBatch, "max_batch_keys", "4");
    bucket.delete("e").await?;
    assert_eq!(sorted_keys(&caller).await?, ["a", "b", "c", "d"]);
    for key in ["c", "d"] {
        bucket.delete(key).await?;
        bucket.put(key.repeat(600), "1".into()).await?;
    }
    let error = refused(caller.keys("default").await?)?;
    is_too_large(
        &error,
        BatchInterface::EventualBatch,
        "max_batch_bytes",
        "1000",
    );
    Ok(())
}

fn is_too_large(
    error: &crate::support::interface::ErrorAnswer,
    interface: BatchInterface,
    limit: &str,
    value: &str,
) {
    assert_eq!(error.case, interface.case("too-large"), "{error}");
    assert!(error.text.contains(limit), "{error}");
    assert!(error.text.contains(value), "{error}");
}
