//! What goes into the machine and what comes out of it.

use std::collections::HashSet;
use std::time::Duration;

/// What the leader says of the stream, as far as it matters to a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::replica) struct StreamState {
    /// When the stream was created, as the server writes it.
    pub(in crate::replica) created: String,
    /// The node that answered, if the stream has several.
    pub(in crate::replica) leader: Option<String>,
    pub(in crate::replica) first_sequence: u64,
    pub(in crate::replica) last_sequence: u64,
    /// When the message of the last sequence was stored, in nanoseconds since 1970. 0: unknown.
    pub(in crate::replica) last_time: u64,
    /// How many subjects have a message.
    pub(in crate::replica) subjects: u64,
    pub(in crate::replica) bytes: u64,
    pub(in crate::replica) consumers: u64,
    /// The leader's clock, in nanoseconds since 1970. 0: unknown.
    pub(in crate::replica) server_time: u64,
    /// How long messages live, in nanoseconds. 0: for ever.
    pub(in crate::replica) max_age: u64,
    /// Whether messages may have a time to live of their own.
    pub(in crate::replica) message_ttl: bool,
    /// Why no copy of such a stream can be kept, if so.
    pub(in crate::replica) unfit: Option<&'static str>,
}

/// How long a message lives by its own header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::replica) enum MessageTtl {
    /// It has no such header.
    #[default]
    None,
    /// It outlives the stream's maximum age.
    Never,
    /// In nanoseconds.
    After(u64),
    /// The header cannot be read.
    Unclear,
}

/// A message that the consumer delivered.
#[derive(Clone, Copy, Debug)]
pub(in crate::replica) struct Delivery<'a> {
    /// The key as it stands in the bucket.
    pub(in crate::replica) key: &'a str,
    /// `None`: the message is a marker.
    pub(in crate::replica) value: Option<&'a [u8]>,
    pub(in crate::replica) sequence: u64,
    /// How many messages the consumer has delivered, with this one.
    pub(in crate::replica) delivered: u64,
    /// When the message was stored, in nanoseconds since 1970.
    pub(in crate::replica) time: u64,
    pub(in crate::replica) ttl: MessageTtl,
    /// Whether the message has taken the place of every other one in the stream.
    pub(in crate::replica) replaces_all: bool,
}

/// What came of a question about the stream.
#[derive(Clone, Debug)]
pub(in crate::replica) enum Answered {
    State(StreamState),
    /// There is no such stream.
    Missing,
    /// The server does not let this login ask.
    Denied,
    /// No answer in time.
    Silent,
}

/// What came of creating the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) enum Creation {
    Created,
    /// The server will not have it.
    Refused,
    /// The server does not let this login ask.
    Denied,
    Silent,
}

/// What came of asking after the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) enum ConsumerCheck {
    /// It exists, and has delivered so many messages.
    Delivered(u64),
    Gone,
    /// The server does not let this login ask.
    Denied,
    Silent,
}

/// What came of asking for all subjects.
#[derive(Clone, Debug)]
pub(in crate::replica) enum Listed {
    /// Every key that has had a message all the while. The state is of before they were listed.
    Keys {
        state: StreamState,
        keys: HashSet<String>,
    },
    /// The stream changed so much between two pages that they could not be put together.
    Changed,
    /// They would take more memory than the copy may.
    TooLarge,
    Silent,
}

/// How a request for messages has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) enum PullEnd {
    /// Its time is over, or it has brought all messages that it asked for.
    Over,
    /// The next message would make its answer too large.
    Full,
    Trouble,
}

/// What has happened. Numbers tell what an answer is to; answers to what nobody waits for are
/// ignored.
#[derive(Debug)]
pub(in crate::replica) enum ReplicaEvent<'a> {
    /// Somebody reads. With `question`, the leader has to be asked from now on.
    Wanted {
        question: bool,
    },
    Connected,
    Disconnected,
    Answered {
        number: u64,
        answered: Answered,
    },
    Created {
        number: u64,
        creation: Creation,
    },
    Checked {
        number: u64,
        check: ConsumerCheck,
    },
    Delivered(Delivery<'a>),
    /// A message that cannot be read.
    Unreadable,
    /// The server does not let this login ask the consumer for messages.
    PullDenied,
    /// The bucket has a message that breaks the client's parser.
    Quarantined,
    /// The consumer has delivered so many messages, and looked at all up to this sequence.
    Heartbeat {
        pull: u64,
        delivered: u64,
        position: u64,
    },
    /// A request for messages has ended.
    PullEnded {
        pull: u64,
        end: PullEnd,
    },
    Listed {
        number: u64,
        listed: Listed,
    },
    Tick,
}

/// A request for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) struct MessagePull {
    /// The consumer's number.
    pub(in crate::replica) number: u64,
    /// The number of this request.
    pub(in crate::replica) pull: u64,
    /// How many messages it asks for.
    pub(in crate::replica) messages: u64,
    /// Whether the answer is bounded in bytes.
    pub(in crate::replica) bounded: bool,
    /// Over another inbox than before.
    pub(in crate::replica) anew: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) enum ReplicaAction {
    /// Ask the leader for the stream's state.
    Ask { number: u64 },
    /// Create a consumer of this number.
    Create { number: u64 },
    /// Ask after the consumer.
    Check { number: u64 },
    /// Ask the consumer for messages.
    Pull(MessagePull),
    /// Delete the consumer, and forget what it still delivers.
    Delete { number: u64 },
    /// Ask the leader for all subjects.
    List { number: u64 },
}

/// Why there is no copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) enum OffReason {
    /// Nobody has read for some time.
    Unused,
    NoBucket,
    /// The login lacks a permission.
    Denied(DeniedRequest),
    /// The bucket is of a kind of which no copy can be kept.
    Unfit(&'static str),
    /// The copy would be over its limit.
    TooLarge,
    /// All replicas together would be over theirs.
    NoMemory,
    ConsumerRefused,
    /// The connection was lost again and again while the copy was read.
    LosesConnection,
    /// The bucket has a message that breaks the client's parser.
    Unparsable,
    /// The task that looked after the copy ended. That is a fault of this program.
    Ended,
}

/// A request that the server does not let a login make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) enum DeniedRequest {
    StreamInfo,
    CreateConsumer,
    ConsumerInfo,
    NextMessages,
}

impl OffReason {
    pub(in crate::replica) fn text(self) -> &'static str {
        match self {
            Self::Unused => "nobody reads it",
            Self::NoBucket => "there is no such bucket",
            Self::Denied(DeniedRequest::StreamInfo) => {
                "the login may not publish to `$JS.API.STREAM.INFO.<stream>`, or not subscribe to its \
                 inboxes"
            }
            Self::Denied(DeniedRequest::CreateConsumer) => {
                "the login may not publish to `$JS.API.CONSUMER.CREATE.<stream>.*`"
            }
            Self::Denied(DeniedRequest::ConsumerInfo) => {
                "the login may not publish to `$JS.API.CONSUMER.INFO.<stream>.*`"
            }
            Self::Denied(DeniedRequest::NextMessages) => {
                "the login may not publish to `$JS.API.CONSUMER.MSG.NEXT.<stream>.*`"
            }
            Self::Unfit(why) => why,
            Self::TooLarge => "it would be larger than `replica_max_bytes`",
            Self::NoMemory => "there is no memory left beside the other copies",
            Self::ConsumerRefused => "the server refused a consumer",
            Self::LosesConnection => {
                "the connection was lost over it again and again, as by a message that the NATS client \
                 cannot parse"
            }
            Self::Unparsable => "another client has written what the NATS client cannot parse",
            Self::Ended => "the task that looked after it ended: please report this",
        }
    }
}

/// What a replica does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) enum Phase {
    /// There is no copy.
    Off(OffReason),
    /// The copy is being read, and is not complete.
    Syncing,
    /// The copy follows the stream.
    Live,
    /// The copy was live, and its consumer does not answer.
    Behind,
}

/// What the users of a replica ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) struct ReplicaDemand {
    /// How old the copy may be for the one who is most particular.
    pub(in crate::replica) staleness: Duration,
    /// How many bytes of memory the copy may take.
    pub(in crate::replica) max_bytes: usize,
}
