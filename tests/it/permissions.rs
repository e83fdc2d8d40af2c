//! The subjects that a login needs, as docs/permissions.md lists them: each operation works with
//! exactly these, and says which one is missing if one is taken away. And accounts, which never see
//! each other's buckets.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::time::Duration;

use crate::support::waiting::{eventually, open};
use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use testkit::async_nats::jetstream::{self, kv, stream};
use testkit::async_nats::{Client, ConnectOptions};
use testkit::{EventualBatchError, LatticeCaller, NatsServer, Stack};
use tokio::time::Instant;

on_oldest_and_newest! {
    each_operation_needs_exactly_what_the_page_lists,
    a_refused_operation_does_not_fail_other_operations,
    none_of_many_refused_writes_waits_for_its_answer,
    a_permission_granted_later_works_without_a_new_link,
    accounts_never_see_each_others_buckets,
}

/// Far more than a refusal takes, and far less than a call may.
const AT_ONCE: Duration = Duration::from_secs(20);
const TIMEOUT: &str = "30s";

const INBOX: &str = "_INBOX.>";

/// Keys enough to be asked for all at once.
const MANY: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PermittedOperation {
    Open,
    Create,
    GetOne,
    GetMany,
    Keys,
    Set,
    Delete,
}

const ALL: [PermittedOperation; 7] = [
    PermittedOperation::Open,
    PermittedOperation::Create,
    PermittedOperation::GetOne,
    PermittedOperation::GetMany,
    PermittedOperation::Keys,
    PermittedOperation::Set,
    PermittedOperation::Delete,
];

/// How a bucket is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Direct,
    Leader,
    /// As the first, with the keys of another bucket.
    Mirror,
}

impl Path {
    /// The bucket that the keys are of.
    fn origin(self, bucket: &str) -> &str {
        match self {
            Self::Direct | Self::Leader => bucket,
            Self::Mirror if bucket == "<mirror>" => "<origin>",
            Self::Mirror => "direct",
        }
    }
}

impl PermittedOperation {
    /// What a login has to be allowed to publish.
    fn needs(self, path: Path, bucket: &str) -> Vec<String> {
        let of_stream = |what: &str, more: &str| format!("$JS.API.{what}.KV_{bucket}{more}");
        let keys = format!("$KV.{}.>", path.origin(bucket));
        let mut needs = vec![of_stream("STREAM.INFO", "")];
        match (self, path) {
            (Self::Open, _) => {}
            (Self::Create, _) => needs.push(of_stream("STREAM.CREATE", "")),
            (Self::GetOne | Self::GetMany, Path::Direct | Path::Mirror) => {
                needs.push(of_stream("DIRECT.GET", &format!(".{keys}")));
            }
            (Self::GetOne | Self::GetMany, Path::Leader) => {
                needs.push(of_stream("STREAM.MSG.GET", ""));
            }
            (Self::Keys, _) => {
                needs.push(of_stream("CONSUMER.CREATE", ""));
                needs.push(of_stream("CONSUMER.MSG.NEXT", ".*"));
            }
            (Self::Set | Self::Delete, _) => needs.push(keys),
        }
        needs
    }

    /// What makes it better, and can be done without.
    fn likes(self, path: Path, bucket: &str) -> Vec<String> {
        match (self, path) {
            (Self::GetMany, Path::Direct | Path::Mirror) => {
                vec![format!("$JS.API.DIRECT.GET.KV_{bucket}")]
            }
            (Self::Keys, _) => vec![format!("$JS.API.CONSUMER.DELETE.KV_{bucket}.*")],
            _ => Vec::new(),
        }
    }

    async fn run(self, caller: &LatticeCaller) -> Result<Result<(), EventualBatchError>> {
        let many: Vec<_> = (0..MANY).map(|n| format!("key-{n}")).collect();
        // The last one is not there.
        let whole = |values: Vec<Option<Vec<u8>>>| {
            let found = values.iter().flatten().count();
            assert_eq!(found, values.len() - 1, "{values:?}");
        };
        Ok(match self {
            Self::Open | Self::Create => caller.open_bucket("default").await?,
            Self::GetOne => {
                let values = caller.get_many("default", &["missing"]).await?;
                values.map(whole)
            }
            Self::GetMany => {
                let asked: Vec<_> = many.iter().map(String::as_str).collect();
                let asked = [asked, vec!["missing"]].concat();
                caller.get_many("default", &asked).await?.map(whole)
            }
            Self::Keys => {
                let keys = caller.keys("default").await?;
                keys.map(|keys| assert!(keys.len() >= MANY, "{keys:?}"))
            }
            Self::Set => {
                caller
                    .set_many("default", &[("set", "1"), ("set-2", "2")])
                    .await?
            }
            Self::Delete => caller.delete_many("default", &["gone", "gone-2"]).await?,
        })
    }
}

/// One login, and what comes of one operation with it.
struct RestrictedLogin {
    user: String,
    operation: PermittedOperation,
    bucket: String,
    publish: Vec<String>,
    inbox: bool,
    /// What is missing; `None`: nothing that it needs.
    missing: Option<String>,
}

fn every_way() -> impl Iterator<Item = (Path, PermittedOperation)> {
    let paths = [Path::Direct, Path::Leader, Path::Mirror].into_iter();
    let every = paths.flat_map(|path| ALL.map(|operation| (path, operation)));
    // No link creates a mirror.
    every.filter(|way| *way != (Path::Mirror, PermittedOperation::Create))
}

/// A login for each operation with all that it needs, one without what it likes, and one for each
/// subject that it needs without that subject.
fn logins() -> Vec<RestrictedLogin> {
    let mut logins: Vec<RestrictedLogin> = Vec::new();
    for (path, operation) in every_way() {
        let bucket = match (operation, path) {
            // Of its own for each login.
            (PermittedOperation::Create, _) => None,
            (_, Path::Direct) => Some("direct"),
            (_, Path::Leader) => Some("leader"),
            (_, Path::Mirror) => Some("mirror"),
        };
        let mut add = |without: Option<usize>, likes: bool, inbox: bool| {
            let user = format!("user-{}", logins.len());
            let bucket = bucket.map_or_else(|| format!("made-{user}"), ToOwned::to_owned);
            let mut publish = operation.needs(path, &bucket);
            let missing = without.map(|index| publish.remove(index));
            if likes {
                publish.extend(operation.likes(path, &bucket));
            }
            logins.push(RestrictedLogin {
                user,
                operation,
                bucket,
                publish,
                inbox,
                missing: missing.or_else(|| (!inbox).then(|| "_INBOX.".to_owned())),
            });
        };
        add(None, true, true);
        add(None, false, true);
        add(None, true, false);
        for index in 0..operation.needs(path, "any").len() {
            add(Some(index), true, true);
        }
    }
    logins
}

fn server_config(logins: &[RestrictedLogin]) -> Result<String> {
    let mut config = "authorization { users: [ { user: admin, password: secret }\n".to_owned();
    for RestrictedLogin {
        user,
        publish,
        inbox,
        ..
    } in logins
    {
        // An empty list would allow everything.
        let quoted: Vec<_> = ["nothing".to_owned()]
            .iter()
            .chain(publish)
            .map(|subject| format!("{subject:?}"))
            .collect();
        let subscribe = if *inbox { INBOX } else { "nothing" };
        writeln!(
            config,
            "{{ user: {user}, password: secret, permissions: {{ \
             publish: {{ allow: [{}] }}, subscribe: {{ allow: [{subscribe:?}] }} }} }}",
            quoted.join(", ")
        )?;
    }
    config.push_str("] }");
    Ok(config)
}

async fn each_operation_needs_exactly_what_the_page_lists(version: &str) -> Result<()> {
    let logins = logins();
    let stack = crate::support::stack(version)
        .separate_lattice()
        .nats(|nats| nats.config(server_config(&logins).unwrap()))
        .start()
        .await?;
    let admin = admin(&stack.nats).await?;
    create(&admin, "direct", true).await?;
    create(&admin, "leader", false).await?;
    mirror(&admin).await?;
    for login in &logins {
        let RestrictedLogin {
            user,
            operation,
            publish,
            ..
        } = login;
        let caller = linked(&stack, login).await?;
        let begun = Instant::now();
        let answer = operation.run(&caller).await?;
        let took = begun.elapsed();
        let place = format!("{operation:?} by {user} with {publish:?} on {version}: {answer:?}");
        match (&login.missing, answer) {
            (None, answer) => ensure!(answer.is_ok(), "{place}"),
            (Some(_), Ok(())) => anyhow::bail!("{place}"),
            (Some(missing), Err(error)) => {
                assert_eq!(error.case(), "access-denied", "{place}");
                let named = missing.trim_end_matches(['*', '>']);
                ensure!(
                    error.text().contains(named),
                    "{missing} is not named: {place}"
                );
            }
        }
        ensure!(took < AT_ONCE, "{place} after {took:?}");
    }
    Ok(())
}

#[test]
fn the_page_lists_what_each_operation_needs() {
    let page = include_str!("../../docs/permissions.md");
    for (path, operation) in every_way() {
        let needs = match path {
            Path::Mirror
                if operation == PermittedOperation::GetOne
                    || operation == PermittedOperation::Set =>
            {
                operation.needs(path, "<mirror>").split_off(1)
            }
            Path::Mirror => continue,
            Path::Direct | Path::Leader => operation.needs(path, "<bucket>"),
        };
        for subject in needs.into_iter().chain(operation.likes(path, "<bucket>")) {
            assert!(page.contains(&format!("`{subject}`")), "{subject}");
        }
    }
    assert!(page.contains(&format!("`{INBOX}`")));
}

async fn create(jetstream: &jetstream::Context, bucket: &str, direct: bool) -> Result<kv::Store> {
    jetstream
        .create_stream(stream::Config {
            name: format!("KV_{bucket}"),
            subjects: vec![format!("$KV.{bucket}.>")],
            max_messages_per_subject: 1,
            allow_direct: direct,
            allow_rollup: true,
            deny_delete: true,
            discard: stream::DiscardPolicy::New,
            ..stream::Config::default()
        })
        .await?;
    let store = jetstream.get_key_value(bucket).await?;
    for n in 0..MANY {
        store.put(format!("key-{n}"), "value".into()).await?;
    }
    Ok(store)
}

/// A mirror of the bucket `direct`, which has all that that has.
async fn mirror(jetstream: &jetstream::Context) -> Result<()> {
    let config = kv::Config {
        bucket: "mirror".to_owned(),
        mirror: Some(stream::Source {
            name: "direct".to_owned(),
            ..stream::Source::default()
        }),
        ..kv::Config::default()
    };
    let mut mirror = jetstream.create_key_value(config).await?.stream;
    eventually("the mirror to have all", async || {
        let messages = mirror.info().await?.state.messages;
        Ok((messages == MANY as u64).then_some(()))
    })
    .await
}

async fn admin(nats: &NatsServer) -> Result<jetstream::Context> {
    Ok(jetstream::new(client(nats, "admin").await?))
}

async fn client(nats: &NatsServer, user: &str) -> Result<Client> {
    let login = ConnectOptions::with_user_and_password(user.to_owned(), "secret".to_owned());
    nats.client_with(login).await
}

async fn linked(stack: &Stack, login: &RestrictedLogin) -> Result<LatticeCaller> {
    let link = stack
        .link(&login.user, &login.bucket)
        .config("username", &login.user)
        .secret("password", "secret")
        .config(
            "enable_bucket_auto_create",
            (login.operation == PermittedOperation::Create).to_string(),
        )
        .config("timeout", TIMEOUT);
    stack.provider.put_link(&link).await?;
    Ok(stack
        .caller(&login.user)
        .with_timeout(Duration::from_secs(60)))
}

/// A login, and the connection that goes with it, may be shared by many calls: what the server
/// refuses one of them, no other one suffers from.
async fn a_refused_operation_does_not_fail_other_operations(version: &str) -> Result<()> {
    const CALLS: usize = 20;
    const KEYS: usize = 1000;
    let writer = r#"authorization { users: [ { user: admin, password: secret }
        { user: writer, password: secret, permissions: { subscribe: "_INBOX.>", publish: { allow: [
            "$JS.API.STREAM.INFO.KV_direct", "$JS.API.DIRECT.GET.KV_direct.$KV.direct.>",
            "$KV.direct.open.>" ] } } } ] }"#;
    let stack = crate::support::stack(version)
        .separate_lattice()
        .nats(|nats| nats.config(writer))
        .start()
        .await?;
    create(&admin(&stack.nats).await?, "direct", true).await?;
    let link = stack
        .link("writer", "direct")
        .config("username", "writer")
        .secret("password", "secret")
        .config("timeout", TIMEOUT);
    stack.provider.put_link(&link).await?;
    let caller = stack.caller("writer").with_timeout(Duration::from_secs(60));
    let keys: Vec<_> = (0..KEYS).map(|n| format!("open.{n}")).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (key, "value")).collect();
    let allowed = async {
        for _ in 0..CALLS {
            caller.set_many("default", &pairs).await??;
            let values = caller.get_many("default", &keys).await??;
            ensure!(values.iter().all(Option::is_some));
        }
        Ok(())
    };
    let refused = async {
        loop {
            let error = caller.keys("default").await?.unwrap_err();
            assert_eq!(error.case(), "access-denied", "{error:?}");
            let pairs = [("closed.1", "value"), ("closed.2", "value")];
            let error = caller.set_many("default", &pairs).await?.unwrap_err();
            assert_eq!(error.case(), "access-denied", "{error:?}");
            ensure!(error.text().contains("2 of 2 keys"), "{error:?}");
        }
    };
    tokio::select! {
        done = allowed => done,
        failed = refused => failed,
    }
}

/// The server refuses more writes at once than the client keeps complaints of. None of the batches waits
/// for answers that never come: of 8 MiB in flight, for the link's 30 s.
async fn none_of_many_refused_writes_waits_for_its_answer(version: &str) -> Result<()> {
    const BATCHES: usize = 3;
    const KEYS: usize = 1100;
    const WAITS: Duration = Duration::from_secs(25);
    let reader = r#"authorization { users: [ { user: admin, password: secret }
        { user: reader, password: secret, permissions: { subscribe: "_INBOX.>", publish: { allow: [
            "$JS.API.STREAM.INFO.KV_direct" ] } } } ] }"#;
    let stack = crate::support::stack(version)
        .separate_lattice()
        .nats(|nats| nats.config(reader))
        .start()
        .await?;
    create(&admin(&stack.nats).await?, "direct", true).await?;
    let link = stack
        .link("reader", "direct")
        .config("username", "reader")
        .secret("password", "secret")
        .config("max_concurrency", "4096")
        .config("timeout", TIMEOUT);
    stack.provider.put_link(&link).await?;
    let caller = stack.caller("reader").with_timeout(Duration::from_secs(60));
    open(&caller).await?;
    let value = "v".repeat(7 * 1024);
    let batches = (0..BATCHES).map(|batch| {
        let (caller, value) = (&caller, &value);
        async move {
            let keys = (0..KEYS).map(|n| format!("closed.{batch}.{n}"));
            let pairs: Vec<_> = keys.map(|key| (key, value.as_str())).collect();
            let begun = Instant::now();
            let error = caller.set_many("default", &pairs).await?.unwrap_err();
            let took = begun.elapsed();
            assert_eq!(error.case(), "access-denied", "{error:?}");
            ensure!(error.text().contains("1100 of 1100 keys"), "{error:?}");
            ensure!(took < WAITS, "{error:?} after {took:?}");
            Ok(())
        }
    });
    try_join_all(batches).await.map(drop)
}

async fn a_permission_granted_later_works_without_a_new_link(version: &str) -> Result<()> {
    let all = PermittedOperation::Keys.needs(Path::Direct, "direct");
    for missing in 0..=all.len() {
        let login = |publish: Vec<String>, inbox| RestrictedLogin {
            user: "shop".to_owned(),
            operation: PermittedOperation::Keys,
            bucket: "direct".to_owned(),
            publish,
            inbox,
            missing: None,
        };
        let mut some = all.clone();
        // At the end of the list the inbox is missing.
        if missing < all.len() {
            some.remove(missing);
        }
        let mut stack = crate::support::stack(version)
            .separate_lattice()
            .nats(|nats| nats.config(server_config(&[login(some, missing < all.len())]).unwrap()))
            .start()
            .await?;
        create(&admin(&stack.nats).await?, "direct", true).await?;
        let login = login(all.clone(), true);
        let caller = linked(&stack, &login).await?;
        for _ in 0..3 {
            let begun = Instant::now();
            let error = caller.keys("default").await?.unwrap_err();
            assert_eq!(error.case(), "access-denied", "{error:?}");
            ensure!(begun.elapsed() < AT_ONCE, "{error:?}");
        }
        stack.nats.set_config(server_config(&[login])?);
        stack.nats.reload()?;
        eventually("what is allowed", async || {
            Ok(caller.keys("default").await?.ok().map(drop))
        })
        .await
        .with_context(|| format!("without {:?}", all.get(missing)))?;
    }
    Ok(())
}

async fn accounts_never_see_each_others_buckets(version: &str) -> Result<()> {
    const ACCOUNTS: &str = "accounts {
        red { jetstream: enabled, users: [ { user: red, password: secret } ] }
        blue { jetstream: enabled, users: [ { user: blue, password: secret } ] }
    }";
    let stack = crate::support::stack(version)
        .separate_lattice()
        .nats(|nats| nats.config(ACCOUNTS))
        .start()
        .await?;
    let link = |component: &str, account: &str, bucket: &str| {
        stack
            .link(component, bucket)
            .name(account)
            .config("username", account)
            .secret("password", "secret")
            .config("timeout", TIMEOUT)
    };
    let caller = |component: &str, account: &str| {
        let caller = stack.caller(component).with_link(account);
        caller.with_timeout(Duration::from_secs(60))
    };
    // One component with a link to each account, and another one.
    for account in ["red", "blue"] {
        let link = link("shop", account, "orders").config("enable_bucket_auto_create", "true");
        stack.provider.put_link(&link).await?;
        open(&caller("shop", account)).await?;
    }
    stack
        .provider
        .put_link(&link("guest", "blue", "orders"))
        .await?;
    let (red, blue) = (caller("shop", "red"), caller("shop", "blue"));
    let guest = caller("guest", "blue");

    let keys: Vec<_> = (0..MANY).map(|n| format!("key-{n}")).collect();
    let all = |value: &'static str| -> Vec<_> { keys.iter().map(|key| (key, value)).collect() };
    red.set_many("default", &all("red")).await??;
    let values = blue.get_many("default", &keys).await??;
    ensure!(values.iter().all(Option::is_none), "{values:?}");
    assert_eq!(blue.keys("default").await??, Vec::<String>::new());

    // At the same time, and over one connection each.
    let both = (0..20).map(|_| async {
        let writes = [("shared", "blue"), ("of-blue", "blue")];
        blue.set_many("default", &writes).await??;
        red.set_many("default", &[("shared", "red")]).await??;
        let one = |values: Vec<Option<Vec<u8>>>| values.into_iter().flatten().collect::<Vec<_>>();
        let red = one(red.get_many("default", &["shared", "of-blue"]).await??);
        let blue = one(blue.get_many("default", &["shared", "of-blue"]).await??);
        assert_eq!(red, [b"red".to_vec()]);
        assert_eq!(blue, [b"blue".to_vec(), b"blue".to_vec()]);
        anyhow::Ok(())
    });
    try_join_all(both).await?;
    blue.delete_many("default", &keys).await??;
    let values = red.get_many("default", &keys).await??;
    ensure!(values.iter().flatten().all(|value| value == b"red"));
    assert_eq!(values.iter().flatten().count(), MANY);
    let values = guest.get_many("default", &["shared", "key-1"]).await??;
    assert_eq!(values, [Some(b"blue".to_vec()), None]);
    let mut keys = guest.keys("default").await??;
    keys.sort_unstable();
    assert_eq!(keys, ["of-blue", "shared"]);

    // A bucket that only the other account has does not exist.
    let link = link("shop", "red", "of-red").config("enable_bucket_auto_create", "true");
    stack.provider.put_link(&link.name("of-red")).await?;
    open(&caller("shop", "of-red")).await?;
    let guests = stack
        .link("guest", "of-red")
        .name("of-red")
        .config("username", "blue")
        .secret("password", "secret");
    stack.provider.put_link(&guests).await?;
    let error = caller("guest", "of-red").open_bucket("default").await?;
    assert_eq!(error.unwrap_err().case(), "no-such-bucket");
    Ok(())
}
