//! Random sequences of the four operations against a plain model of a bucket: every answer is
//! compared.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use crate::support::interface::{BOTH, BatchInterface};
use anyhow::{Context as _, Result, bail, ensure};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use testkit::async_nats::jetstream::kv;
use testkit::{LatticeCaller, Stack, Value};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tokio::time::timeout;

on_oldest_and_newest!(
    random_operations_answer_as_the_model_does,
    random_operations_on_any_string_as_key_answer_as_the_model_does,
);

/// How long new sequences are begun.
const TIME: Duration = Duration::from_secs(5);

const MINUTE: Duration = Duration::from_secs(60);

/// Set to the seed that a failure printed, to run the same sequences again.
const SEED: &str = "MODEL_SEED";

#[derive(Clone, Debug)]
enum RandomOperation {
    Get(Vec<String>),
    Keys,
    Set(Vec<(String, RandomValue)>),
    Delete(Vec<String>),
}

/// A value, and the case in which `eventual-batch` is given it.
#[derive(Clone, Debug)]
enum RandomValue {
    Text(String),
    Base64(Vec<u8>),
}

/// An operation, over which of the links and through which interface.
#[derive(Clone, Debug)]
struct Step {
    link: Index,
    interface: BatchInterface,
    operation: RandomOperation,
}

/// Two links share the bucket `a`; the keys overlap over all of them.
const LINKS: [(&str, &str); 3] = [("one", "a"), ("two", "b"), ("again", "a")];

type Model = BTreeMap<String, Vec<u8>>;

impl RandomValue {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Base64(bytes) => bytes,
        }
    }

    fn as_value(&self) -> Value {
        use base64::Engine as _;
        match self {
            Self::Text(text) => Value::Utf8(text.clone()),
            Self::Base64(bytes) => {
                Value::Base64(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
        }
    }
}

fn given() -> impl Strategy<Value = RandomValue> {
    prop_oneof![
        2 => Just(RandomValue::Text(String::new())),
        4 => any::<String>().prop_map(RandomValue::Text),
        1 => Just(RandomValue::Base64(Vec::new())),
        4 => vec(any::<u8>(), 0..40).prop_map(RandomValue::Base64),
        1 => (any::<u8>(), 0..40_000_usize).prop_map(|(byte, size)| RandomValue::Base64(vec![byte; size])),
    ]
}

/// Few plain keys, so that batches hit the same ones; some are prefixes of others.
fn plain_key() -> impl Strategy<Value = String> {
    select(vec![
        "a", "b", "a.b", "a.b.c", "A", "a/b", "=", "-_", "k0", "k1", "k2", "k3", "k4", "k5", "k6",
    ])
    .prop_map(str::to_owned)
}

/// Plain keys, what no subject can hold, and anything else.
fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => plain_key(),
        2 => select(vec!["", "*", ">", ".", "a..b", " ", "\0", "\r\n", "ключ", "🗝", "a b"])
            .prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn steps(key: BoxedStrategy<String>) -> impl Strategy<Value = Vec<Step>> {
    let keys = vec(key.clone(), 0..20);
    let operation = prop_oneof![
        3 => keys.clone().prop_map(RandomOperation::Get),
        1 => Just(RandomOperation::Keys),
        3 => vec((key, given()), 0..20).prop_map(RandomOperation::Set),
        2 => keys.prop_map(RandomOperation::Delete),
    ];
    let step = (any::<Index>(), select(BOTH.to_vec()), operation);
    let step = step.prop_map(|(link, interface, operation)| Step {
        link,
        interface,
        operation,
    });
    vec(step, 1..40)
}

async fn random_operations_answer_as_the_model_does(version: &str) -> Result<()> {
    check(version, "none", plain_key().boxed()).await
}

async fn random_operations_on_any_string_as_key_answer_as_the_model_does(
    version: &str,
) -> Result<()> {
    check(version, "base64", any_key().boxed()).await
}

async fn check(version: &str, key_encoding: &str, key: BoxedStrategy<String>) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let buckets = Buckets::new(&stack, key_encoding).await?;
    let seed = match env::var(SEED) {
        Ok(seed) => seed.parse().context("the seed is not a number")?,
        Err(_) => RandomState::new().hash_one(0),
    };
    let mut runner = TestRunner::new_with_rng(
        Config {
            cases: 4,
            failure_persistence: None,
            max_shrink_time: 20_000,
            ..Config::default()
        },
        rng(seed),
    );
    let begun = Instant::now();
    let mut outcome = Ok(());
    while outcome.is_ok() && begun.elapsed() < TIME {
        let one_round = || runner.run(&steps(key.clone()), |steps| buckets.check(&steps));
        outcome = block_in_place(one_round);
    }
    if let Err(error) = outcome {
        bail!("{error}\nthe same again: {SEED}={seed}");
    }
    Ok(())
}

fn rng(seed: u64) -> TestRng {
    let bytes: Vec<u8> = seed.to_le_bytes().repeat(4);
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// The buckets and the links to them.
struct Buckets {
    stores: Vec<kv::Store>,
    caller: LatticeCaller,
}

impl Buckets {
    async fn new(stack: &Stack, key_encoding: &str) -> Result<Self> {
        // With a history, what was written before is still there.
        let mut stores = Vec::new();
        for (name, history) in [("a", 1), ("b", 3)] {
            let config = kv::Config {
                history,
                ..kv::Config::default()
            };
            stores.push(stack.create_bucket(name, config).await?);
        }
        for (name, bucket) in LINKS {
            let link = stack.link("component", bucket).name(name);
            let link = link.config("key_encoding", key_encoding);
            stack
                .provider
                .put_link(&link.config("timeout", "30s"))
                .await?;
        }
        let caller = stack.caller("component");
        let caller = caller.with_timeout(Duration::from_secs(30));
        Ok(Self { stores, caller })
    }

    fn check(&self, steps: &[Step]) -> Result<(), TestCaseError> {
        let run = timeout(MINUTE, self.run(steps));
        match Handle::current().block_on(run) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(TestCaseError::fail(format!("{error:#}"))),
            Err(_) => Err(TestCaseError::fail("not done after a minute")),
        }
    }

    /// Carries the steps out on empty buckets.
    async fn run(&self, steps: &[Step]) -> Result<()> {
        for store in &self.stores {
            store.stream.purge().await?;
        }
        let mut models: BTreeMap<&str, Model> = BTreeMap::new();
        for (place, step) in steps.iter().enumerate() {
            let (link, bucket) = *step.link.get(&LINKS);
            let caller = self.caller.clone().with_link(link);
            let model = models.entry(bucket).or_default();
            carry_out(step, &caller, model)
                .await
                .with_context(|| format!("step {place}, over link {link:?}"))?;
        }
        for (link, bucket) in LINKS {
            let caller = self.caller.clone().with_link(link);
            let model = models.entry(bucket).or_default();
            same_keys(&caller, model).await?;
            let keys: Vec<_> = model.keys().cloned().collect();
            same_values(BatchInterface::Batch, &caller, model, &keys).await?;
        }
        Ok(())
    }
}

async fn carry_out(step: &Step, caller: &LatticeCaller, model: &mut Model) -> Result<()> {
    let interface = step.interface;
    match &step.operation {
        RandomOperation::Get(keys) => same_values(interface, caller, model, keys).await,
        RandomOperation::Keys => same_keys(caller, model).await,
        RandomOperation::Set(pairs) => {
            for (key, value) in pairs {
                model.insert(key.clone(), value.bytes().to_vec());
            }
            if interface == BatchInterface::Batch {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| (key, value.bytes()))
                    .collect();
                interface.set_many(caller, "", &pairs).await??;
            } else {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_value()))
                    .collect();
                caller.set_many_raw("", &pairs).await??;
            }
            Ok(())
        }
        RandomOperation::Delete(keys) => {
            for key in keys {
                model.remove(key);
            }
            interface.delete_many(caller, "", keys).await??;
            Ok(())
        }
    }
}

async fn same_values(
    interface: BatchInterface,
    caller: &LatticeCaller,
    model: &Model,
    keys: &[String],
) -> Result<()> {
    let answered = interface.get_many(caller, "", keys).await??;
    let expected: Vec<_> = keys.iter().map(|key| model.get(key).cloned()).collect();
    ensure!(
        answered == expected,
        "get-many answered {answered:?}, not {expected:?}"
    );
    if interface == BatchInterface::EventualBatch {
        // Text crosses as text, and nothing else does.
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let raw = caller.get_many_raw("", &keys).await??;
        let expected = expected
            .iter()
            .map(|value| value.as_deref().map(Value::from_bytes));
        ensure!(
            raw.iter().cloned().eq(expected),
            "get-many answered {raw:?}"
        );
    }
    Ok(())
}

async fn same_keys(caller: &LatticeCaller, model: &Model) -> Result<()> {
    let answered = caller.keys("").await??;
    let distinct: BTreeSet<&String> = answered.iter().collect();
    ensure!(
        distinct.len() == answered.len(),
        "a key twice: {answered:?}"
    );
    let expected: BTreeSet<&String> = model.keys().collect();
    ensure!(
        distinct == expected,
        "keys answered {distinct:?}, not {expected:?}"
    );
    Ok(())
}
