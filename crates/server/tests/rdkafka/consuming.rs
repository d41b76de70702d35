use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Message, TopicPartitionList};

use crate::broker::{Broker, PATIENCE, eventually, numbers, take, values};

#[tokio::test]
async fn each_group_reads_everything_and_goes_on_where_it_committed() {
    let broker = Broker::start();
    broker.create("orders", 1, &[]).await;
    broker.produce("orders", 100, &[]).await;
    for group in ["billing", "shipping"] {
        for part in [0..40, 40..100] {
            let consumer = broker.consumer(group, &[]);
            consumer.subscribe(&["orders"]).expect("a subscription");
            let read = take(&consumer, part.len());
            assert_eq!(values(&read), numbers(part.clone()));
            let mut next = TopicPartitionList::new();
            next.add_partition_offset("orders", 0, Offset::Offset(part.end as i64)).expect("a position");
            consumer.commit(&next, CommitMode::Sync).expect("a commit");
        }
    }
}

#[tokio::test]
async fn members_share_a_topic_and_take_over() {
    let broker = Broker::start();
    broker.create("orders", 4, &[]).await;
    for strategy in ["range", "cooperative-sticky"] {
        let settings = [("partition.assignment.strategy", strategy), ("heartbeat.interval.ms", "100")];
        let member = || {
            let consumer = broker.consumer(strategy, &settings);
            consumer.subscribe(&["orders"]).expect("a subscription");
            consumer
        };
        let (first, second) = (member(), member());
        shared(&[&first, &second], &[2, 2]);
        drop(first);
        shared(&[&second], &[4]);
    }
}

fn shared(members: &[&BaseConsumer], shares: &[usize]) {
    eventually(|| {
        for member in members {
            assert!(member.poll(Duration::from_millis(50)).is_none());
        }
        let assigned = |member: &&BaseConsumer| member.assignment().expect("an assignment").count();
        members.iter().map(assigned).collect::<Vec<_>>() == shares
    });
}

#[tokio::test]
async fn a_consumer_rewinds_and_seeks_by_time() {
    let broker = Broker::start();
    broker.create("orders", 1, &[]).await;
    broker.produce("orders", 30, &[]).await;
    let consumer = broker.consumer("rewinding", &[]);
    consumer.subscribe(&["orders"]).expect("a subscription");
    let read = take(&consumer, 30);
    consumer.seek("orders", 0, Offset::Beginning, PATIENCE).expect("a seek");
    assert_eq!(values(&take(&consumer, 30)), numbers(0..30));
    let time = read[17].timestamp().to_millis().expect("a time");
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_offset("orders", 0, Offset::Offset(time)).expect("a time");
    let found = consumer.offsets_for_times(wanted, PATIENCE).expect("offsets");
    // The first of those that came in the same millisecond.
    let first =
        read.iter().position(|message| message.timestamp().to_millis() == Some(time)).expect("itself");
    assert_eq!(found.elements()[0].offset(), Offset::Offset(first as i64));
    consumer.seek("orders", 0, found.elements()[0].offset(), PATIENCE).expect("a seek");
    assert_eq!(values(&take(&consumer, 30 - first)), numbers(first..30));
    assert_eq!(consumer.fetch_watermarks("orders", 0, PATIENCE).expect("watermarks"), (0, 30));
}
