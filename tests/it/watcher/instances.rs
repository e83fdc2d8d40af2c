//! Several instances of the provider.

use std::time::Duration;

use super::setup::{
    assert_one_at_a_time, at_once, bucket, component, instance, link, of_key, stack, watch,
};
use anyhow::Result;
use testkit::{Reply, Told};

on_oldest_and_newest!(
    each_change_is_one_instances_work,
    an_instance_that_is_killed_is_replaced,
);

const KEYS: [&str; 3] = ["a", "b", "c"];

async fn each_change_is_one_instances_work(version: &str) -> Result<()> {
    const CHANGES: usize = 50;
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 64).await?;
    let component = component(&stack, at_once).await?;
    let link = link(&stack, ">").config("watch_timeout", "10s");
    watch(&stack, &link).await?;
    let _second = instance(&stack).link(link.clone()).start().await?;
    let _third = instance(&stack).link(link).start().await?;
    for change in 0..CHANGES {
        for key in KEYS {
            bucket.put(key, change.to_string().into()).await?;
        }
    }
    bucket.put("end", "".into()).await?;
    component.wait_for_text("end=").await?;
    let all = CHANGES * KEYS.len() + 1;
    let calls = component
        .wait_for("all", |calls| calls.len() >= all)
        .await?;
    assert_one_at_a_time(&calls);
    for key in KEYS {
        let expected: Vec<String> = (0..CHANGES)
            .map(|change| format!("{key}={change}"))
            .collect();
        assert_eq!(of_key(&calls, key), expected, "each once, in order");
    }
    Ok(())
}

/// The instance is killed with calls under way.
async fn an_instance_that_is_killed_is_replaced(version: &str) -> Result<()> {
    const CHANGES: usize = 30;
    let mut stack = stack(version).await?;
    let bucket = bucket(&stack, 64).await?;
    let slow = |_: &Told| Reply::After(Duration::from_millis(100));
    let component = component(&stack, slow).await?;
    let link = link(&stack, ">").config("watch_timeout", "1s");
    watch(&stack, &link).await?;
    for change in 0..CHANGES {
        for key in KEYS {
            bucket.put(key, change.to_string().into()).await?;
        }
    }
    component
        .wait_for("some calls", |calls| calls.len() >= 20)
        .await?;
    let _second = instance(&stack).link(link).start().await?;
    stack.provider.kill()?;

    let last = format!("{}", CHANGES - 1);
    let is_complete = |calls: &[Told]| {
        KEYS.iter().all(|key| {
            let text = format!("{key}={last}");
            calls
                .iter()
                .any(|told| told.returned.is_some() && told.text() == text)
        })
    };
    let calls = component.wait_for("the last changes", is_complete).await?;
    assert_one_at_a_time(&calls);
    for key in KEYS {
        let mut told = of_key(&calls, key);
        // What was under way comes again.
        told.dedup();
        let expected: Vec<String> = (0..CHANGES)
            .map(|change| format!("{key}={change}"))
            .collect();
        assert_eq!(told, expected);
    }
    Ok(())
}
