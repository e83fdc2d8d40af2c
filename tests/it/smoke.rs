//! One round through every operation of both interfaces, on every server version.

use anyhow::Result;
use testkit::async_nats::jetstream::kv;

on_all_versions!(every_operation_works);

async fn every_operation_works(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = stack.linked("component", "orders").await?;

    caller.open_bucket("default").await??;
    assert_eq!(caller.keys("default").await??, Vec::<String>::new());
    caller
        .set_many(
            "default",
            &[("a", b"1".as_slice()), ("b", b"\xff"), ("c", b"")],
        )
        .await??;
    let values = caller
        .get_many("default", &["c", "a", "missing", "b", "a"])
        .await??;
    let value = |bytes: &[u8]| Some(bytes.to_vec());
    assert_eq!(
        values,
        [value(b""), value(b"1"), None, value(b"\xff"), value(b"1")]
    );
    let mut keys = caller.keys("default").await??;
    keys.sort_unstable();
    assert_eq!(keys, ["a", "b", "c"]);
    caller.delete_many("default", &["a", "never"]).await??;
    let left = caller.batch().get_many("orders", &["a", "b"]).await??;
    assert_eq!(
        left,
        [None, Some(("b".to_owned(), b"\xff".to_vec().into()))]
    );
    caller.batch().set_many("orders", &[("d", "4")]).await??;
    caller.batch().delete_many("orders", &["b", "c"]).await??;
    assert_eq!(caller.keys("orders").await??, ["d"]);
    Ok(())
}
