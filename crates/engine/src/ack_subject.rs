//! The reply subject of a message that a consumer delivers. It is where the message is
//! acknowledged, and it says where the message stands.

/// What the reply subject says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AckSubject {
    /// How often the message has been delivered, with this time.
    pub(super) deliveries: u64,
    /// The message's sequence in the stream.
    pub(super) stream_sequence: u64,
    /// How many messages the consumer has delivered, with this one.
    pub(super) consumer_sequence: u64,
    /// When the message was stored, in nanoseconds since 1970.
    pub(super) time: u64,
    /// How many messages the consumer had still to deliver.
    pub(super) pending: u64,
}

impl AckSubject {
    /// Reads `$JS.ACK`, then the domain and the account's hash or neither of them, then stream,
    /// consumer, number of deliveries, the message's sequence, the consumer's sequence, the time
    /// and how many messages are left.
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.split('.').collect();
        let first = match tokens.len() {
            9 => 2,
            11.. => 4,
            _ => return None,
        };
        if tokens[..2] != ["$JS", "ACK"] {
            return None;
        }
        let number = |place: usize| tokens[first + place].parse().ok();
        Some(Self {
            deliveries: number(2)?,
            stream_sequence: number(3)?,
            consumer_sequence: number(4)?,
            time: number(5)?,
            pending: number(6)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_reply_subject_are_read() {
        let expected = AckSubject {
            deliveries: 1,
            stream_sequence: 11,
            consumer_sequence: 9,
            time: 1_795_835_495,
            pending: 7,
        };
        let short = "$JS.ACK.KV_b.rep.1.11.9.1795835495.7";
        let long = "$JS.ACK._.hash.KV_b.rep.1.11.9.1795835495.7";
        let longer = "$JS.ACK.hub.hash.KV_b.rep.1.11.9.1795835495.7.random";
        for reply in [short, long, longer] {
            assert_eq!(AckSubject::parse(reply), Some(expected), "{reply}");
        }
        assert_eq!(AckSubject::parse("_INBOX.a.b"), None);
        assert_eq!(
            AckSubject::parse("$JS.ACK.KV_b.rep.1.11.x.1795835495.0"),
            None
        );
    }
}
