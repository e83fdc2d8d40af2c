//! What the tests of this subject share.

use std::time::Duration;

use crate::support::waiting::eventually;
use anyhow::Result;
use testkit::async_nats::ConnectOptions;
use testkit::async_nats::jetstream::{self, kv};
use testkit::{LinkDefinition, Provider, Reply, Stack, Told, ToldComponent};

pub(super) const COMPONENT: &str = "index";
pub(super) const BUCKET: &str = "orders";

pub(super) async fn stack(version: &str) -> Result<Stack> {
    crate::support::stack(version).start().await
}

pub(super) async fn bucket(stack: &Stack, history: i64) -> Result<kv::Store> {
    let config = kv::Config {
        history,
        ..kv::Config::default()
    };
    stack.create_bucket(BUCKET, config).await
}

/// A link over which the component is told of these changes.
pub(super) fn link(stack: &Stack, watch: &str) -> LinkDefinition {
    LinkDefinition::to_watcher(COMPONENT)
        .config("cluster_uri", stack.nats.url())
        .config("bucket", BUCKET)
        .config("watch", watch)
}

/// The component, which does this about each call.
pub(super) async fn component(
    stack: &Stack,
    behaviour: impl FnMut(&Told) -> Reply + Send + 'static,
) -> Result<ToldComponent> {
    let (url, lattice) = (stack.lattice().url(), stack.provider.lattice().to_owned());
    ToldComponent::serve(&url, &lattice, COMPONENT, behaviour).await
}

/// Puts the link, and waits until the bucket is watched.
pub(super) async fn watch(stack: &Stack, link: &LinkDefinition) -> Result<()> {
    stack.provider.put_link(link).await?;
    consumers(stack, 1).await
}

/// Waits until the bucket has so many consumers.
pub(super) async fn consumers(stack: &Stack, count: usize) -> Result<()> {
    eventually(&format!("{count} consumers"), async || {
        Ok((consumers_now(stack).await? == count).then_some(()))
    })
    .await
}

/// Waits until the only consumer of the bucket has all up to this revision acknowledged, and no more.
/// A component has returned a little earlier.
pub(super) async fn acknowledged(bucket: &kv::Store, revision: u64) -> Result<()> {
    eventually("the acknowledgements", async || {
        let mut infos = bucket.stream.consumers();
        let info = futures::StreamExt::next(&mut infos).await.transpose()?;
        let done = info.is_some_and(|info| {
            info.num_ack_pending == 0 && info.ack_floor.stream_sequence == revision
        });
        Ok(done.then_some(()))
    })
    .await
}

pub(super) async fn consumers_now(stack: &Stack) -> Result<usize> {
    let jetstream = stack.nats.jetstream().await?;
    let stream = jetstream.get_stream(format!("KV_{BUCKET}")).await?;
    Ok(stream.get_info().await?.state.consumer_count)
}

/// Starts the provider again, with this link.
pub(super) async fn started_again(stack: &Stack, link: &LinkDefinition) -> Result<Provider> {
    instance(stack).link(link.clone()).start().await
}

/// One more instance of the provider.
pub(super) fn instance(stack: &Stack) -> testkit::ProviderBuilder {
    Provider::builder(stack.lattice().url())
        .binary(crate::support::PROVIDER)
        .instance_of(&stack.provider)
}

/// Returns at once.
pub(super) fn at_once(_: &Told) -> Reply {
    Reply::NOW
}

/// Waits until a call with this text has returned.
pub(super) async fn returned(component: &ToldComponent, text: &str) -> Result<Vec<Told>> {
    let is = |calls: &[Told]| {
        let mut returned = calls.iter().filter(|told| told.returned.is_some());
        returned.any(|told| told.text() == text)
    };
    component.wait_for(text, is).await
}

pub(super) fn texts(calls: &[Told]) -> Vec<String> {
    calls.iter().map(Told::text).collect()
}

/// What each key was told of, in order.
pub(super) fn of_key(calls: &[Told], key: &str) -> Vec<String> {
    let of_key = calls.iter().filter(|told| told.key == key);
    of_key.map(Told::text).collect()
}

/// Checks that no call began while another one for the same key was under way, save those that never
/// returned.
pub(super) fn assert_one_at_a_time(calls: &[Told]) {
    for (place, one) in calls.iter().enumerate() {
        for other in &calls[..place] {
            let is_over = other.returned.is_none_or(|returned| returned <= one.at);
            assert!(other.key != one.key || is_over, "{other:?} and {one:?}");
        }
    }
}

pub(super) const SHORT: Duration = Duration::from_millis(300);

/// The login of the user `admin`; a server without users takes it too.
pub(super) async fn admin(stack: &Stack) -> Result<jetstream::Context> {
    let admin = ConnectOptions::with_user_and_password("admin".to_owned(), "padmin".to_owned());
    Ok(jetstream::new(stack.nats.client_with(admin).await?))
}

/// A stack whose buckets' NATS has the bucket, the user `admin` and these users, who may publish to
/// these subjects. A user's password is `p` and the name.
pub(super) async fn with_logins(version: &str, users: &[&str], publish: &[&str]) -> Result<Stack> {
    let quoted = |subject: &&str| format!("{subject:?}");
    let publish: Vec<String> = publish.iter().map(quoted).collect();
    let publish = publish.join(", ");
    let user = |user: &&str| {
        format!(
            "{{ user: {user}, password: p{user}, permissions: {{ subscribe: {{ allow: [ \
             \"_INBOX.>\" ] }}, publish: {{ allow: [ {publish} ] }} }} }}"
        )
    };
    let users: Vec<String> = users.iter().map(user).collect();
    let users = format!(
        "authorization {{ users: [ {{ user: admin, password: padmin }}, {} ] }}",
        users.join(", ")
    );
    let stack = crate::support::stack(version).separate_lattice();
    let stack = stack.nats(|nats| nats.config(users)).start().await?;
    let config = kv::Config {
        bucket: BUCKET.to_owned(),
        history: 5,
        ..kv::Config::default()
    };
    admin(&stack).await?.create_key_value(config).await?;
    Ok(stack)
}

/// A stack whose buckets' NATS has the user `watcher` with these permissions, and `admin`.
pub(super) async fn with_login(version: &str, publish: &[&str]) -> Result<(Stack, kv::Store)> {
    let stack = with_logins(version, &["watcher"], publish).await?;
    let bucket = admin(&stack).await?.get_key_value(BUCKET).await?;
    Ok((stack, bucket))
}

/// The link, with the login of the user `watcher`.
pub(super) fn with_password(link: LinkDefinition) -> LinkDefinition {
    link.config("username", "watcher")
        .secret("password", "pwatcher")
}
