use rdkafka::admin::{AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::{Broker, PATIENCE};

#[tokio::test]
async fn topics_their_settings_and_their_records_are_administered() {
    let broker = Broker::start();
    let (admin, options) = (broker.admin(), AdminOptions::new());
    broker.create("orders", 2, &[("retention.ms", "60000")]).await;
    let refused = |name: &'static str, code| [Err((name.to_owned(), code))];
    let again = NewTopic::new("orders", 2, TopicReplication::Fixed(1));
    let made = admin.create_topics([&again], &options).await.expect("an answer");
    assert_eq!(made, refused("orders", RDKafkaErrorCode::TopicAlreadyExists));
    let replicated = NewTopic::new("replicated", 1, TopicReplication::Fixed(3));
    let made = admin.create_topics([&replicated], &options).await.expect("an answer");
    assert_eq!(made, refused("replicated", RDKafkaErrorCode::InvalidReplicationFactor));
    let misspelt = NewTopic::new("misspelt", 1, TopicReplication::Fixed(1)).set("retention.mss", "1");
    let made = admin.create_topics([&misspelt], &options).await.expect("an answer");
    assert_eq!(made, refused("misspelt", RDKafkaErrorCode::InvalidConfig));

    let grown = admin.create_partitions([&NewPartitions::new("orders", 4)], &options).await;
    assert_eq!(grown.expect("an answer"), [Ok("orders".to_owned())]);
    let metadata = admin.inner().fetch_metadata(Some("orders"), PATIENCE).expect("metadata");
    assert_eq!(metadata.topics()[0].partitions().len(), 4);
    let described = admin.describe_configs([&ResourceSpecifier::Topic("orders")], &options).await;
    let settings = described.expect("an answer").remove(0).expect("settings");
    assert_eq!(settings.get("retention.ms").and_then(|setting| setting.value.as_deref()), Some("60000"));

    broker.produce("orders", 10, &[]).await;
    let mut below = TopicPartitionList::new();
    below.add_partition_offset("orders", 0, Offset::Offset(4)).expect("a position");
    admin.delete_records(&below, &options).await.expect("an answer");
    let consumer = broker.consumer("nobody", &[]);
    assert_eq!(consumer.fetch_watermarks("orders", 0, PATIENCE).expect("watermarks"), (4, 10));
    assert_eq!(
        admin.delete_topics(&["orders"], &options).await.expect("an answer"),
        [Ok("orders".to_owned())]
    );
}

#[tokio::test]
async fn a_group_is_listed_and_deleted() {
    let broker = Broker::start();
    let (admin, options) = (broker.admin(), AdminOptions::new());
    broker.create("orders", 1, &[]).await;
    let consumer = broker.consumer("service", &[]);
    let mut next = TopicPartitionList::new();
    next.add_partition_offset("orders", 0, Offset::Offset(0)).expect("a position");
    consumer.assign(&next).expect("an assignment");
    consumer.commit(&next, CommitMode::Sync).expect("a commit");
    let known = || {
        let list = consumer.fetch_group_list(None, PATIENCE).expect("groups");
        list.groups().iter().map(|group| group.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(known(), ["service"]);
    assert_eq!(
        admin.delete_groups(&["service"], &options).await.expect("an answer"),
        [Ok("service".to_owned())]
    );
    assert!(known().is_empty());
}
