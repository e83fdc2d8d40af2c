//! Which bucket a call reaches: only one that a link of its own caller grants, whatever the name or
//! the key contains.

use crate::support::interface::{BOTH, BatchInterface, ErrorAnswer, refused};
use anyhow::{Context as _, Result, ensure};
use testkit::async_nats::jetstream::kv;
use testkit::{LatticeCaller, Stack};

on_oldest_and_newest!(
    every_name_that_a_link_grants_reaches_its_bucket,
    no_other_name_reaches_a_bucket,
);
on_version!(
    newest_only,
    testkit::NEWEST,
    [
        own_names_go_before_other_links_and_those_before_aliases,
        a_call_needs_a_link_of_its_own_caller,
        a_key_never_leads_out_of_its_bucket
    ]
);

/// A key that is in every bucket, with the bucket's name as its value.
const MARKER: &str = "marker";

/// Two components with links of the same names to different buckets.
struct Shops {
    stack: Stack,
    stores: Vec<kv::Store>,
}

impl Shops {
    async fn start(version: &str) -> Result<Self> {
        let stack = crate::support::stack(version).start().await?;
        let mut stores = Vec::new();
        for bucket in [
            "main", "second", "extra", "plain", "foreign", "foreign2", "foreign3", "unlinked",
        ] {
            stores.push(marked(&stack, bucket).await?);
        }
        let links = [
            stack
                .link("shop", "main")
                .config("buckets", "stock=extra, plain"),
            stack.link("shop", "second").name("carts"),
            stack
                .link("other", "foreign")
                .config("buckets", "theirs=foreign3,stock=foreign3"),
            stack.link("other", "foreign2").name("carts"),
            stack.link("other", "foreign2").name("wishes"),
        ];
        for link in &links {
            stack.provider.put_link(link).await?;
        }
        Ok(Self { stack, stores })
    }

    fn store(&self, bucket: &str) -> Result<&kv::Store> {
        let found = self.stores.iter().find(|store| store.name == bucket);
        found.with_context(|| format!("no bucket {bucket}"))
    }

    async fn assert_untouched(&self) -> Result<()> {
        for store in &self.stores {
            let mut stream = store.stream.clone();
            assert_eq!(stream.info().await?.state.messages, 1, "{}", store.name);
            assert_eq!(marker(store).await?, store.name);
        }
        Ok(())
    }
}

async fn every_name_that_a_link_grants_reaches_its_bucket(version: &str) -> Result<()> {
    let shops = Shops::start(version).await?;
    let shop = shops.stack.caller("shop");
    let other = shops.stack.caller("other");
    let rows = [
        (&shop, "default", "main"),
        (&shop, "", "main"),
        (&shop, "main", "main"),
        (&shop, "carts", "second"),
        (&shop, "stock", "extra"),
        (&shop, "plain", "plain"),
        (&other, "default", "foreign"),
        (&other, "", "foreign"),
        (&other, "foreign", "foreign"),
        (&other, "carts", "foreign2"),
        (&other, "wishes", "foreign2"),
        (&other, "stock", "foreign3"),
        (&other, "theirs", "foreign3"),
    ];
    for (caller, name, bucket) in rows {
        assert_every_operation_reaches(caller, name, shops.store(bucket)?)
            .await
            .with_context(|| format!("the name {name:?} for {bucket}"))?;
    }

    let carts = shop.clone().with_link("carts");
    let others_carts = other.clone().with_link("carts");
    let rows = [
        (&carts, "default", "second"),
        (&carts, "", "second"),
        (&carts, "carts", "second"),
        (&carts, "second", "second"),
        (&others_carts, "default", "foreign2"),
        (&others_carts, "carts", "foreign2"),
        (&others_carts, "wishes", "foreign2"),
    ];
    for (caller, name, bucket) in rows {
        assert_every_operation_reaches(caller, name, shops.store(bucket)?)
            .await
            .with_context(|| format!("over `carts`, the name {name:?} for {bucket}"))?;
    }
    Ok(())
}

async fn no_other_name_reaches_a_bucket(version: &str) -> Result<()> {
    let shops = Shops::start(version).await?;
    let shop = shops.stack.caller("shop");
    let names = [
        // Another component's bucket, link and alias, and a bucket that no link grants.
        "foreign",
        "foreign2",
        "foreign3",
        "wishes",
        "theirs",
        "unlinked",
        // The bucket behind an alias or behind another link, by its own name.
        "extra",
        "second",
        // The empty name.
        "nothing",
        "MAIN",
        "main ",
        " ",
        "main.x",
        "KV_main",
        "$KV.main",
        "*",
        ">",
        "stock=extra",
        "stock, plain",
        "shop",
        "ключ",
    ];
    for name in names {
        assert_every_operation_is_refused(&shop, name, "no-such-bucket").await?;
    }
    // A name that only the first link grants, over the other link.
    let carts = shop.with_link("carts");
    for name in ["main", "stock", "plain", "extra", "foreign2"] {
        assert_every_operation_is_refused(&carts, name, "no-such-bucket").await?;
    }
    shops.assert_untouched().await
}

async fn own_names_go_before_other_links_and_those_before_aliases(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    for bucket in ["alpha", "beta", "delta", "epsilon"] {
        marked(&stack, bucket).await?;
    }
    let links = [
        stack
            .link("shop", "alpha")
            .config("buckets", "gamma=epsilon"),
        stack.link("shop", "beta").name("alpha"),
        stack.link("shop", "delta").name("gamma"),
    ];
    for link in &links {
        stack.provider.put_link(link).await?;
    }
    let shop = stack.caller("shop");
    // The own bucket's name, although another link has that name.
    assert_eq!(read_marker(&shop, "alpha").await?, "alpha");
    // Another link's name, although it is an alias too.
    assert_eq!(read_marker(&shop, "gamma").await?, "delta");
    // Over another link, `default` is that link's bucket and not the link of that name.
    let alpha = shop.with_link("alpha");
    assert_eq!(read_marker(&alpha, "default").await?, "beta");
    assert_eq!(read_marker(&alpha, "alpha").await?, "beta");
    Ok(())
}

async fn a_call_needs_a_link_of_its_own_caller(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let store = marked(&stack, "main").await?;
    let named = marked(&stack, "named").await?;
    let shop = stack.linked("shop", "main").await?;
    let link = stack.link("late", "named").name("named");
    stack.provider.put_link(&link).await?;
    // What the SDK calls a caller that does not say who it is.
    stack.linked("<unknown>", "main").await?;

    // No link-name header means `default`.
    assert_every_operation_reaches(&shop, "default", &store).await?;
    let by_header = shop.clone().with_link("default");
    assert_every_operation_reaches(&by_header, "default", &store).await?;
    let late = stack.caller("late");
    let over_named = late.clone().with_link("named");
    assert_every_operation_reaches(&over_named, "default", &named).await?;

    let nobody = shop.clone().without_headers();
    let unlinked = [
        (nobody.clone(), "source-id"),
        (nobody.with_link("default"), "source-id"),
        (stack.caller("stranger"), "\"stranger\""),
        (stack.caller(""), "\"\""),
        (stack.caller("Shop"), "\"Shop\""),
        (shop.clone().with_link("named"), "\"named\""),
        (shop.clone().with_link("main"), "\"main\""),
        (late, "\"default\""),
    ];
    for (caller, culprit) in &unlinked {
        for name in ["default", "main", "named"] {
            for refusal in every_refusal(caller, name).await? {
                assert_eq!(refusal.case, "access-denied", "{name:?}, {culprit}");
                let says = refusal.text.is_empty() || refusal.text.contains(culprit);
                assert!(says, "{}", refusal.text);
            }
        }
    }
    assert_eq!(marker(&store).await?, "main");

    // The lookup is done for each call: the link works from the moment it is there.
    stack
        .provider
        .put_link(&stack.link("stranger", "main"))
        .await?;
    assert_eq!(read_marker(&stack.caller("stranger"), "").await?, "main");
    Ok(())
}

async fn a_key_never_leads_out_of_its_bucket(version: &str) -> Result<()> {
    let shops = Shops::start(version).await?;
    let shop = shops.stack.caller("shop");
    for key in ["foreign.marker", "KV.foreign.marker", "KV_foreign/marker"] {
        for interface in BOTH {
            interface.delete_many(&shop, "default", &[key]).await??;
            let missing = interface.get_many(&shop, "default", &[key]).await??;
            assert_eq!(missing, [None], "{key}");
            interface
                .set_many(&shop, "default", &[(key, "strayed")])
                .await??;
            let store = shops.store("main")?;
            assert_eq!(store.get(key).await?.as_deref(), Some(&b"strayed"[..]));
            assert_eq!(marker(shops.store("foreign")?).await?, "foreign");
        }
    }
    for key in [">", "*", "marker.>", "*.marker", "$KV.foreign.marker"] {
        for interface in BOTH {
            let answer = interface.get_many(&shop, "default", &[key]).await?;
            assert_eq!(refused(answer)?.case, interface.case("invalid-argument"));
            let answer = interface.delete_many(&shop, "default", &[key]).await?;
            assert_eq!(refused(answer)?.case, interface.case("invalid-argument"));
        }
    }
    assert_eq!(marker(shops.store("main")?).await?, "main");
    Ok(())
}

async fn marked(stack: &Stack, bucket: &str) -> Result<kv::Store> {
    let store = stack.create_bucket(bucket, kv::Config::default()).await?;
    store.put(MARKER, bucket.to_owned().into()).await?;
    Ok(store)
}

async fn marker(store: &kv::Store) -> Result<String> {
    let value = store.get(MARKER).await?.context("no marker")?;
    Ok(String::from_utf8(value.to_vec())?)
}

async fn read_marker(caller: &LatticeCaller, name: &str) -> Result<String> {
    let mut values = caller.get_many(name, &[MARKER]).await??;
    let value = values.pop().flatten().context("no marker")?;
    Ok(String::from_utf8(value)?)
}

/// Every operation of both interfaces works on this bucket; leaves it as it was.
async fn assert_every_operation_reaches(
    caller: &LatticeCaller,
    name: &str,
    store: &kv::Store,
) -> Result<()> {
    caller.open_bucket(name).await??;
    assert_eq!(caller.keys(name).await??, [MARKER]);
    for interface in BOTH {
        let mark = Some(store.name.clone().into_bytes());
        let values = interface.get_many(caller, name, &[MARKER]).await??;
        assert_eq!(values, [mark], "{interface:?}");
        interface
            .set_many(caller, name, &[("written", "here")])
            .await??;
        let written = store.get("written").await?;
        ensure!(
            written.as_deref() == Some(b"here"),
            "{interface:?} wrote elsewhere"
        );
        interface.delete_many(caller, name, &["written"]).await??;
        ensure!(
            store.get("written").await?.is_none(),
            "{interface:?} deleted elsewhere"
        );
        store.purge("written").await?;
    }
    Ok(())
}

async fn assert_every_operation_is_refused(
    caller: &LatticeCaller,
    name: &str,
    case: &'static str,
) -> Result<()> {
    for refusal in every_refusal(caller, name).await? {
        let batch_case = BatchInterface::Batch.case(case);
        if refusal.text.is_empty() {
            assert_eq!(refusal.case, batch_case, "{name:?}");
        } else {
            assert_eq!(refusal.case, case, "{name:?}");
            let text = &refusal.text;
            assert!(text.contains(&format!("{name:?}")), "{name:?}: {text}");
        }
    }
    Ok(())
}

/// The error of every operation of both interfaces; fails if one of them works.
async fn every_refusal(caller: &LatticeCaller, name: &str) -> Result<Vec<ErrorAnswer>> {
    let keys = [MARKER];
    let pairs = [(MARKER, "overwritten")];
    let none: [&str; 0] = [];
    let mut refusals = vec![
        refused(caller.open_bucket(name).await?.map_err(ErrorAnswer::from))?,
        refused(caller.keys(name).await?.map_err(ErrorAnswer::from))?,
    ];
    for interface in BOTH {
        refusals.push(refused(interface.get_many(caller, name, &keys).await?)?);
        refusals.push(refused(interface.set_many(caller, name, &pairs).await?)?);
        refusals.push(refused(interface.delete_many(caller, name, &keys).await?)?);
        // An empty batch needs no bucket, but a grant all the same.
        refusals.push(refused(interface.get_many(caller, name, &none).await?)?);
    }
    Ok(refusals)
}
