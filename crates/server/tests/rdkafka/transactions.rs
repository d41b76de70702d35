use rdkafka::consumer::Consumer;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::{Broker, PATIENCE, eventually, numbers, take, values};

const COMMITTED: &[(&str, &str)] = &[("isolation.level", "read_committed")];
const ALL: &[(&str, &str)] = &[("isolation.level", "read_uncommitted")];

type Transactional = ThreadedProducer<DefaultProducerContext>;

fn producer(broker: &Broker) -> Transactional {
    let producer: Transactional = broker.client(&[("transactional.id", "service")]);
    producer.init_transactions(PATIENCE).expect("a producer id");
    producer
}

fn send(producer: &Transactional, topic: &str, value: &str) {
    let record = BaseRecord::<str, str>::to(topic).payload(value).partition(0);
    producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing_to_readers_of_what_is_committed() {
    let broker = Broker::start();
    broker.create("orders", 1, &[]).await;
    let producer = producer(&broker);
    for outcome in ["aborted", "kept", "aborted", "kept"] {
        producer.begin_transaction().expect("a transaction");
        (0..10).for_each(|_| send(&producer, "orders", outcome));
        producer.flush(PATIENCE).expect("all stored");
        match outcome {
            "kept" => producer.commit_transaction(PATIENCE).expect("a commit"),
            _ => producer.abort_transaction(PATIENCE).expect("an abort"),
        }
    }
    assert_eq!(broker.read("orders", 20, COMMITTED), ["kept"; 20]);
    assert_eq!(broker.read("orders", 40, ALL).iter().filter(|value| *value == "aborted").count(), 20);
}

#[tokio::test]
async fn what_is_read_and_made_of_it_is_one_transaction() {
    let broker = Broker::start();
    broker.create("orders", 1, &[]).await;
    broker.create("results", 1, &[]).await;
    broker.produce("orders", 20, &[]).await;
    // The first attempt fails after its work, and nothing of it stays.
    for fails in [true, false] {
        let producer = producer(&broker);
        let consumer = broker.consumer("service", COMMITTED);
        consumer.subscribe(&["orders"]).expect("a subscription");
        let read = take(&consumer, 20);
        producer.begin_transaction().expect("a transaction");
        values(&read).iter().for_each(|value| send(&producer, "results", value));
        let mut next = TopicPartitionList::new();
        next.add_partition_offset("orders", 0, Offset::Offset(20)).expect("a position");
        let group = consumer.group_metadata().expect("a member");
        producer.send_offsets_to_transaction(&next, &group, PATIENCE).expect("offsets");
        match fails {
            true => producer.abort_transaction(PATIENCE).expect("an abort"),
            false => producer.commit_transaction(PATIENCE).expect("a commit"),
        }
    }
    assert_eq!(broker.read("results", 20, COMMITTED), numbers(0..20));
    let consumer = broker.consumer("service", &[]);
    let mut orders = TopicPartitionList::new();
    orders.add_partition("orders", 0);
    eventually(|| {
        let committed = consumer.committed_offsets(orders.clone(), PATIENCE).expect("offsets");
        committed.elements()[0].offset() == Offset::Offset(20)
    });
}

#[tokio::test]
async fn a_newer_producer_fences_an_older_one() {
    let broker = Broker::start();
    broker.create("orders", 1, &[]).await;
    let older = producer(&broker);
    older.begin_transaction().expect("a transaction");
    send(&older, "orders", "older");
    older.flush(PATIENCE).expect("stored");
    let newer = producer(&broker);
    let refused = older.commit_transaction(PATIENCE).expect_err("the older one is fenced");
    assert!(refused.to_string().contains("fenced"), "{refused}");
    newer.begin_transaction().expect("a transaction");
    send(&newer, "orders", "newer");
    newer.commit_transaction(PATIENCE).expect("a commit");
    assert_eq!(broker.read("orders", 1, COMMITTED), ["newer"]);
}
