//! The built-in adapters in composed components: what the components see, and which calls of the lattice
//! they make.
//!
//! The lattice is a map in memory, so nothing here depends on a server. A build without adapters has
//! nothing to test.

#![allow(clippy::unwrap_used)]

mod lattice;
mod support;

use anyhow::Result;

use crate::support::composed;

macro_rules! composed_or_return {
    ($component:literal) => {
        match composed($component)? {
            Some(composed) => composed,
            None => {
                println!("this build of eventual-batch has no adapters in it");
                return Ok(());
            }
        }
    };
}

#[test]
fn single_keys_are_one_call_each() -> Result<()> {
    let native = composed_or_return!("native");
    for (action, args, answer, call) in [
        ("get", &["default", "a"][..], "none", "get a"),
        ("exists", &["default", "a"], "false", "exists a"),
        ("set", &["default", "a", "one"], "set", "set-many a=one"),
        ("get", &["default", "a"], "one", "get a"),
        ("size", &["default", "a"], "3", "get a"),
        ("exists", &["default", "a"], "true", "exists a"),
        ("delete", &["default", "a"], "deleted", "delete-many a"),
        ("get", &["default", "a"], "none", "get a"),
    ] {
        native.expect(action, args, Ok(answer), &[call])?;
    }
    Ok(())
}

#[test]
fn batches_are_one_call_each() -> Result<()> {
    let native = composed_or_return!("native");
    for (action, args, answer, call) in [
        (
            "set-many",
            &["default", "a", "1", "b", "2"][..],
            "set",
            "set-many a=1 b=2",
        ),
        (
            "get-many",
            &["default", "b", "never", "a", "b"],
            "2 none 1 2",
            "get-many b never a b",
        ),
        ("keys", &["default"], "a b", "keys"),
        ("delete-many", &["default", "a"], "deleted", "delete-many a"),
    ] {
        native.expect(action, args, Ok(answer), &[call])?;
    }
    Ok(())
}

#[test]
fn numbers_are_one_call_each() -> Result<()> {
    let native = composed_or_return!("native");
    for (action, args, answer, call) in [
        (
            "increment",
            &["default", "n", "5"][..],
            "5",
            "increment n 5",
        ),
        ("swap", &["default", "n", "4", "9"], "false", "swap n 4 9"),
        ("swap", &["default", "n", "5", "9"], "true", "swap n 5 9"),
    ] {
        native.expect(action, args, Ok(answer), &[call])?;
    }
    Ok(())
}

#[test]
fn errors_of_the_lattice_arrive_with_their_sentence() -> Result<()> {
    let native = composed_or_return!("native");
    let refused = Err("no link grants \"payroll\"");
    native.expect("open", &["payroll"], refused, &[])?;
    for (action, args, call) in [
        ("get", &["default", "bad"][..], "get bad"),
        ("exists", &["default", "bad"], "exists bad"),
        ("set", &["default", "bad", "x"], "set-many bad=x"),
        ("delete", &["default", "bad"], "delete-many bad"),
        ("get-many", &["default", "bad"], "get-many bad"),
        ("increment", &["default", "bad", "1"], "increment bad 1"),
        ("swap", &["default", "bad", "1", "2"], "swap bad 1 2"),
    ] {
        let refused = Err("key \"bad\" is bad");
        native.expect(action, args, refused, &[call])?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_sent_is_an_error_without_a_call() -> Result<()> {
    let native = composed_or_return!("native");
    for action in ["set-unwritten", "set-while-open", "set-as-stream"] {
        let error = native.error(action, &["default", "the-key"])?;
        assert!(error.contains("outgoing-value-write-body-sync"), "{error}");
    }
    let error = native.error("set-unwritten", &["default", "the-key"])?;
    assert!(error.contains("\"the-key\" was never written"), "{error}");
    Ok(())
}

#[test]
fn a_value_that_is_no_base64_names_its_key() -> Result<()> {
    let native = composed_or_return!("native");
    for (action, call) in [("get", "get broken"), ("get-many", "get-many broken")] {
        let error = native.error(action, &["default", "broken"])?;
        assert!(error.contains("\"broken\" came as base64"), "{error}");
        assert_eq!(native.calls(), [call]);
    }
    Ok(())
}

#[test]
fn in_the_older_shape_a_value_is_consumed_once() -> Result<()> {
    let older = composed_or_return!("older_shape");
    let said = older.run_pair("a", "one")?;
    let (consumed, no_stream) = (
        "the value was consumed before",
        "incoming-value-consume-sync",
    );
    assert_eq!(said[..4], ["3", "one", consumed, "3"]);
    assert!(said[4].contains(no_stream), "{said:?}");
    assert_eq!(
        said[5..],
        ["one"],
        "no stream was made, so the value is there"
    );
    assert_eq!(older.calls(), ["set-many a=one", "get-many a a"]);
    Ok(())
}
