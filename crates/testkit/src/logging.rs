use tracing::level_filters::LevelFilter;

/// Installs a subscriber that writes warnings and errors to stderr; does nothing if one is
/// installed already.
///
/// Every process that makes wRPC calls needs a subscriber, or its figures mean nothing: the NATS
/// transport formats each buffer as a span field, and without a subscriber `tracing` evaluates the
/// fields all the same.
pub fn init_tracing() {
    // An error only says that a subscriber is there, which is all that is wanted.
    let _ = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .try_init();
}
