//! Mistakes in a file of links. All of them are tested in the parser; here, that they are told.

use anyhow::Result;

use crate::support::{ServeBuilder, example};

async fn refused(links: &str) -> Result<String> {
    ServeBuilder::new(&example()?)?
        .links(links)?
        .refused()
        .await
}

#[tokio::test]
async fn a_mistake_is_told_with_file_link_and_key() -> Result<()> {
    for (links, expected) in [
        ("[links.default", "links.toml: line 1: this is not TOML"),
        (
            "[links.archive]\nbucket = \"a\"",
            "links.toml: no link is named `default`",
        ),
        (
            "[links.default]\nbuckt = \"a\"",
            "links.toml: link `default`: `buckt` is no setting of a link; did you mean `bucket`?",
        ),
        (
            "[links.default]",
            "links.toml: link `default`: `bucket` is missing",
        ),
        (
            "[links.default]\nbucket = \"a\"\nmax_batch_keys = 0",
            "links.toml: link `default`: `max_batch_keys` = \"0\" is not accepted: expected",
        ),
        (
            "[links.default]\nbucket = \"a\"\nusername = \"a\"",
            "links.toml: link `default`: `username` needs `password` beside it",
        ),
        (
            "[links.default]\nbucket = \"a\"\n[links.default.secrets]\ntoken = { env = \"NO_SUCH_VARIABLE\" }",
            "link `default`: secret `token`: the environment variable `NO_SUCH_VARIABLE` is not set",
        ),
    ] {
        let said = refused(links).await?;
        assert!(said.contains(expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() -> Result<()> {
    let args = ["--links", "/no/such/links.toml"];
    let said = ServeBuilder::new(&example()?)?
        .args(&args)
        .refused()
        .await?;
    assert!(
        said.contains("/no/such/links.toml: cannot be read"),
        "{said}"
    );
    Ok(())
}
