//! What a caller or an operator of a wasmCloud 1.x lattice can do about an error.
//!
//! The errors of the engine and of the links are plain sentences, and the links add which setting
//! helps. This file adds what only this front end knows: headers and `wash` commands.

use eventual_batch_links::{
    CallError, ConfigError, LinkError, LinkOutage, connection_hint, is_secret_setting, with_hint,
};

/// Why a link that has been put may not be there. Whoever put it was told that all is well.
const NOT_HANDED_OVER: &str = "if it has been put, the host did not hand it over, for instance \
                               because it could not fetch a secret: see the host's log";

/// The whole text of an error, as its caller gets it.
pub(crate) fn lattice_error_message(error: &CallError) -> String {
    match error {
        CallError::Link(LinkError::NoCaller) => {
            with_hint(error, Some("a host names it in the header `source-id`"))
        }
        CallError::Link(LinkError::NotLinked { .. }) => with_hint(
            &with_hint(error, Some("add one to this provider with `wash link put`")),
            Some(NOT_HANDED_OVER),
        ),
        CallError::Link(LinkError::NotGranted { .. }) => with_hint(
            &eventual_batch_links::error_message(error),
            Some(NOT_HANDED_OVER),
        ),
        CallError::Link(LinkError::Refused { reason, .. }) => with_hint(error, secret_hint(reason)),
        _ => eventual_batch_links::error_message(error),
    }
}

/// The whole text of why a link is refused, for the log.
pub(crate) fn refusal_text(error: &ConfigError) -> String {
    with_hint(error, secret_hint(error))
}

/// How a secret that did not arrive gets to a link.
fn secret_hint(error: &ConfigError) -> Option<&'static str> {
    let is_missing = match error {
        ConfigError::NoSuchSecret { .. } => true,
        ConfigError::Pair { missing, .. } => is_secret_setting(missing),
        _ => false,
    };
    is_missing.then_some(
        "a secret arrives only if the link lists it, and under its `name` in the manifest or the \
         NAME of `wash secrets put NAME`",
    )
}

/// The whole text of a link that is down, as the health check and `wash` show it.
pub(crate) fn outage_text(link: &LinkOutage) -> String {
    let hint = link.outage.error.as_ref().and_then(connection_hint);
    with_hint(link, hint)
}

/// What to tell of a link for an interface that a host cannot carry; `None` if the link is fine.
///
/// The interfaces of `wasi:keyvalue@0.1.0` hand out resources, which do not cross a lattice. A
/// component that was not composed with the adapter asks its host for such a link, and every call
/// then fails in the host.
pub(crate) fn interface_hint(
    namespace: &str,
    package: &str,
    interfaces: &[String],
) -> Option<String> {
    const OF_ADAPTER: [&str; 5] = [
        "eventual-batch",
        "eventual",
        "atomic",
        "types",
        "wasi-keyvalue-error",
    ];
    if (namespace, package) != ("wasi", "keyvalue") {
        return None;
    }
    let is_named = |known: &&str| interfaces.iter().any(|name| name == known);
    let interface = OF_ADAPTER.into_iter().find(is_named)?;
    let atomic = if is_named(&"atomic") {
        " --interface atomic"
    } else {
        ""
    };
    Some(format!(
        "a wasmCloud 1.x host cannot carry `wasi:keyvalue/{interface}`: calls of this component fail. \
         Compose the adapter into the component with `eventual-batch compose`, and put the link that it \
         prints (`wash link put COMPONENT PROVIDER wrpc keyvalue --interface eventual-batch{atomic}`)"
    ))
}

/// Why a link that begins at this provider is refused; `None` if it is one that the provider can
/// serve.
pub(crate) fn source_hint(
    namespace: &str,
    package: &str,
    interfaces: &[String],
) -> Option<&'static str> {
    let is_watcher = matches!(namespace, "wasi" | "wrpc")
        && package == "keyvalue"
        && interfaces.iter().any(|interface| interface == "watcher");
    (!is_watcher).then_some(
        "this provider calls components only to tell them of changes: put such a link for \
         `wasi:keyvalue/watcher` (`wash link put PROVIDER COMPONENT wasi keyvalue --interface watcher \
         --source-config NAME`)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_did_not_arrive_is_told_with_how_it_would() {
        let pair = |given, missing| ConfigError::Pair { given, missing };
        let named = ConfigError::NoSuchSecret {
            setting: "password_secret".to_owned(),
            name: "archive-password".to_owned(),
            arrived: Box::default(),
        };
        for error in [named, pair("username", "password")] {
            let text = refusal_text(&error);
            assert!(text.starts_with(&error.to_string()), "{text}");
            assert!(text.contains("wash secrets put NAME"), "{text}");
        }
        let other = pair("tls_key", "tls_cert");
        assert_eq!(refusal_text(&other), other.to_string());
    }

    #[test]
    fn only_links_for_the_watcher_begin_at_the_provider() {
        let interfaces = |name: &str| [name.to_owned()];
        assert_eq!(
            source_hint("wasi", "keyvalue", &interfaces("watcher")),
            None
        );
        assert!(source_hint("wasi", "keyvalue", &interfaces("batch")).is_some());
        assert!(source_hint("wasi", "http", &interfaces("incoming-handler")).is_some());
    }

    #[test]
    fn a_link_for_an_interface_of_the_adapter_is_told_of() {
        let hint = |namespace: &str, package: &str, interfaces: &[&str]| {
            let interfaces: Vec<_> = interfaces.iter().map(ToString::to_string).collect();
            interface_hint(namespace, package, &interfaces)
        };
        for interfaces in [&["eventual-batch"][..], &["types", "eventual"], &["atomic"]] {
            assert!(
                hint("wasi", "keyvalue", interfaces).is_some(),
                "{interfaces:?}"
            );
        }
        assert_eq!(hint("wrpc", "keyvalue", &["eventual-batch"]), None);
        assert_eq!(
            hint("wasi", "keyvalue", &["batch", "store", "atomics"]),
            None
        );
        assert_eq!(hint("wasi", "blobstore", &["types"]), None);
    }
}
