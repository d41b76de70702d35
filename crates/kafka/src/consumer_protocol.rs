//! What members of consumer groups say to each other when they join and sync (the `metadata` of a protocol and
//! the `assignment`). The broker passes it on as bytes, and reads along to know the topics of a group.
//!
//! Both begin with a version in two bytes. Later versions only add fields at the end, so that what is newer
//! reads as the newest known, with bytes left over.

use bytes::Bytes;

use crate::define::messages;
use crate::text::Text;
use crate::versioned::{VersionedError, encode, open, plain};
use crate::wire::Field;

/// The protocol type of groups that speak it.
pub const PROTOCOL_TYPE: &str = "consumer";

const VERSION_MAX: i16 = 3;

messages! {
    Subscription {
        topics: Vec<Text> [0..],
        user_data: Option<Bytes> [0..],
        owned_partitions: Vec<TopicPartitions> [1..],
        generation_id: i32 [2..] = -1,
        rack_id: Option<Text> [3..],
    }

    Assignment {
        assigned_partitions: Vec<TopicPartitions> [0..],
        user_data: Option<Bytes> [0..],
    }

    TopicPartitions {
        topic: Text [0..],
        partitions: Vec<i32> [0..],
    }
}

/// The topics a member subscribes to, whatever else it says and in whichever version.
pub fn subscribed_topics(metadata: Bytes) -> Result<Vec<Text>, VersionedError> {
    let (_, mut reader) = open(metadata)?;
    Ok(Vec::read(&mut reader, plain(0))?)
}

impl Subscription {
    pub fn decode(metadata: Bytes) -> Result<Subscription, VersionedError> {
        decode(metadata)
    }

    pub fn encode(&self, version: i16) -> Vec<u8> {
        encode(plain(version), self)
    }
}

impl Assignment {
    pub fn decode(assignment: Bytes) -> Result<Assignment, VersionedError> {
        decode(assignment)
    }

    pub fn encode(&self, version: i16) -> Vec<u8> {
        encode(plain(version), self)
    }
}

fn decode<T: Field>(bytes: Bytes) -> Result<T, VersionedError> {
    let (version, mut reader) = open(bytes)?;
    Ok(T::read(&mut reader, plain(version.min(VERSION_MAX)))?)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;
    use crate::sample::Dice;
    use crate::wire::DecodeError;

    #[test]
    fn every_version_reads_as_it_was_written_and_the_oracle_agrees() {
        for (version, seed) in (0..=VERSION_MAX).flat_map(|version| (0..100).map(move |seed| (version, seed)))
        {
            let dice = &mut Dice(seed << 8 | version as u64);
            let subscription: Subscription = dice.message(version);
            let written = Bytes::from(subscription.encode(version));
            assert_eq!(subscribed_topics(written.clone()).as_ref(), Ok(&subscription.topics));
            assert_eq!(Subscription::decode(written.clone()), Ok(subscription));
            check_oracle::<ConsumerProtocolSubscription>(version, &written);

            let assignment: Assignment = dice.message(version);
            let written = Bytes::from(assignment.encode(version));
            assert_eq!(Assignment::decode(written.clone()), Ok(assignment));
            check_oracle::<ConsumerProtocolAssignment>(version, &written);
        }
    }

    #[test]
    fn what_is_newer_reads_as_the_newest_known() {
        let subscription = Subscription {
            topics: vec!["a".into(), "b".into()],
            rack_id: Some("r".into()),
            ..Subscription::default()
        };
        let mut newer = subscription.encode(VERSION_MAX);
        newer[1] = 9;
        newer.extend([1, 2, 3]);
        let newer = Bytes::from(newer);
        assert_eq!(subscribed_topics(newer.clone()), Ok(subscription.topics.clone()));
        assert_eq!(Subscription::decode(newer), Ok(subscription));
    }

    #[test]
    fn what_is_no_subscription_is_refused() {
        let refused = |bytes: &'static [u8]| subscribed_topics(Bytes::from_static(bytes)).unwrap_err();
        assert_eq!(refused(b""), VersionedError::Fields(DecodeError::Truncated));
        assert_eq!(refused(&[0xff, 0xff, 0, 0, 0, 0]), VersionedError::Version(-1));
        assert_eq!(
            refused(&[0, 0, 0x7f, 0xff, 0xff, 0xff]),
            VersionedError::Fields(DecodeError::Length(i32::MAX.into(), 0))
        );
    }

    fn check_oracle<T: Decodable + Encodable>(version: i16, written: &Bytes) {
        let mut left = written.slice(2..);
        let theirs = T::decode(&mut left, version).expect("the oracle reads it");
        let mut again = BytesMut::new();
        theirs.encode(&mut again, version).expect("the oracle writes it");
        assert_eq!((left.len(), &again[..]), (0, &written[2..]));
    }
}
