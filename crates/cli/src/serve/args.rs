//! The command line of `eventual-batch serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

/// Runs an HTTP component, with key-value buckets on NATS.
///
/// The component exports wasi:http/incoming-handler and imports wasi:keyvalue. It is served as it comes
/// out of its build: nothing is composed into it. Each request gets an instance of its own.
///
/// A component that exports wasi:keyvalue/watcher is told of the changes of buckets, if the file of
/// --links says of which.
///
/// Say which bucket the component uses with --bucket, or describe several in a file with --links.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("buckets").required(true).args(["links", "bucket"]),
    after_long_help = EXAMPLES
)]
pub(crate) struct ServeArgs {
    /// The component: a .wasm file.
    #[arg(value_name = "COMPONENT.wasm")]
    pub(super) component: PathBuf,

    /// Where to listen for HTTP requests. With port 0 the system picks a port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    pub(super) http: String,

    /// A file of links, each with a bucket, a server and a login, and of watches.
    #[arg(long, value_name = "FILE.toml")]
    pub(super) links: Option<PathBuf>,

    /// The one bucket that the component uses.
    #[arg(long, value_name = "NAME")]
    pub(super) bucket: Option<String>,

    /// The NATS server of --bucket.
    #[arg(
        long,
        value_name = "URL",
        default_value = "nats://127.0.0.1:4222",
        conflicts_with = "links"
    )]
    pub(super) nats: String,

    /// Create the bucket of --bucket if it does not exist.
    #[arg(long, conflicts_with = "links")]
    pub(super) create: bool,

    /// How many requests run at once. Further ones are answered 503.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) max_requests: u32,

    /// How long one request may take. Then it is ended, and answered 504.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(super) request_timeout: Duration,

    /// How much memory the instance of a request may use. The host holds as many bytes of keys and
    /// values for it at most.
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = size)]
    pub(super) memory: usize,
}

const EXAMPLES: &str = "\
Examples:
  eventual-batch serve shop.wasm --bucket orders --create
  eventual-batch serve shop.wasm --links links.toml --http 0.0.0.0:8080

A file of links:
  [links.default]                    # the component reaches it as `default`
  bucket = \"orders\"
  cluster_uri = \"nats://127.0.0.1:4222\"

  [links.archive]                    # the component reaches it as `archive`
  bucket = \"orders-archive\"
  username = \"archivist\"
  [links.archive.secrets]
  password = { env = \"ARCHIVE_PASSWORD\" }     # or { file = \"/run/secrets/archive\" }

  [watch.orders]                     # the component is told of the changes of this bucket
  bucket = \"orders\"
  watch = \"orders.>\"

SIGTERM and Ctrl-C end the program after the requests under way; a second one ends it at once.
The log goes to stderr. RUST_LOG sets its level, for example RUST_LOG=debug.";

fn duration(text: &str) -> Result<Duration, String> {
    let accepted = Duration::from_millis(10)..=Duration::from_hours(1);
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| accepted.contains(duration))
        .ok_or_else(|| "expected a time such as `500ms` or `30s`, from 10ms to 1h".to_owned())
}

/// A number of bytes, from 1 MiB to 4 GiB, which is what a component can address.
fn size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..) {
        Some("") => Some(1),
        Some("KiB") => Some(1 << 10),
        Some("MiB") => Some(1 << 20),
        Some("GiB") => Some(1 << 30),
        _ => None,
    };
    let bytes = digits.parse().ok().zip(factor);
    bytes
        .and_then(|(number, factor): (usize, usize)| number.checked_mul(factor))
        .filter(|bytes| (1 << 20..=1 << 32).contains(bytes))
        .ok_or_else(|| "expected a size such as `128MiB`, from 1MiB to 4GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("128MiB"), Ok(128 * 1024 * 1024));
        assert_eq!(size("2GiB"), Ok(2 * 1024 * 1024 * 1024));
        assert_eq!(size("1048576"), Ok(1024 * 1024));
        for bad in [
            "",
            "MiB",
            "0",
            "1KiB",
            "8GiB",
            "1 MiB",
            "128MB",
            "-1MiB",
            "99999999999999999999GiB",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_units_and_bounds() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "30", "0s", "2h", "-1s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
