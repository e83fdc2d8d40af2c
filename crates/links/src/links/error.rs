//! Why a call reaches no bucket.

use crate::settings::ConfigError;

/// Why a call reaches no bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The call does not say who its caller is.
    #[error("the call names no caller, so it belongs to no link")]
    NoCaller,
    /// There is no such link.
    #[error("there is no link named {link:?} from {caller:?}")]
    NotLinked {
        /// The calling component.
        caller: String,
        /// The link's name.
        link: String,
    },
    /// The link exists, but its configuration cannot be used.
    #[error("link {link:?} from {caller:?} was refused: {reason}")]
    Refused {
        /// The calling component.
        caller: String,
        /// The link's name.
        link: String,
        /// What is wrong with its configuration.
        reason: ConfigError,
    },
    /// The link does not grant a bucket of that name.
    #[error("link {link:?} grants no bucket named {name:?}")]
    NotGranted {
        /// The link's name.
        link: String,
        /// The name in the call.
        name: String,
    },
}
