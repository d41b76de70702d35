//! The broker under test, and what every story does with it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message, Offset, TopicPartitionList};
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process of the test's own, on a free port, with data of its own.
pub(crate) struct Broker {
    _data: TempDir,
    address: String,
    process: Child,
}

impl Broker {
    pub(crate) fn start() -> Broker {
        let data = tempfile::tempdir().expect("a directory for the data");
        let mut process = Command::new(env!("CARGO_BIN_EXE_cauce"))
            .args(["serve", "--print-ports", "--amqp", "127.0.0.1:0", "--kafka", "127.0.0.1:0"])
            .args(["--set", "group.initial.rebalance.delay.ms=0", "--data"])
            .arg(data.path())
            .env("CAUCE_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary that cargo built");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line with the ports");
        let ports: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let address = ports["kafka"].as_str().expect("an address").to_owned();
        Broker { _data: data, address, process }
    }

    /// Any client, with these settings.
    pub(crate) fn client<C: FromClientConfig>(&self, settings: &[(&str, &str)]) -> C {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create().expect("settings that librdkafka knows")
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client(&[])
    }

    pub(crate) async fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let made = self.admin().create_topics([&new], &AdminOptions::new()).await.expect("an answer");
        assert_eq!(made, [Ok(topic.to_owned())]);
    }

    /// Records with the numbers below `count` as values, in partition 0; their offsets.
    pub(crate) async fn produce(&self, topic: &str, count: usize, settings: &[(&str, &str)]) -> Vec<i64> {
        let producer: FutureProducer = self.client(settings);
        let values: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        let sent: Vec<_> = values
            .iter()
            .map(|value| FutureRecord::<str, str>::to(topic).payload(value).partition(0))
            .map(|record| {
                producer.send_result(record).map_err(|(error, _)| error).expect("room in the queue")
            })
            .collect();
        let mut offsets = Vec::new();
        for delivery in sent {
            offsets.push(delivery.await.expect("an answer").expect("stored").offset);
        }
        offsets
    }

    pub(crate) fn consumer(&self, group: &str, settings: &[(&str, &str)]) -> BaseConsumer {
        let usual = [("group.id", group), ("enable.auto.commit", "false"), ("auto.offset.reset", "earliest")];
        self.client(&[&usual, settings].concat())
    }

    /// Reads partition 0 from its start.
    pub(crate) fn read(&self, topic: &str, count: usize, settings: &[(&str, &str)]) -> Vec<String> {
        let consumer = self.consumer("nobody", settings);
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(topic, 0, Offset::Beginning).expect("a position");
        consumer.assign(&partitions).expect("an assignment");
        values(&take(&consumer, count))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.process.kill().expect("a process of ours");
        self.process.wait().expect("our child");
    }
}

pub(crate) fn take(consumer: &BaseConsumer, count: usize) -> Vec<OwnedMessage> {
    let mut taken = Vec::new();
    eventually(|| {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            taken.push(message.expect("a message").detach());
        }
        taken.len() == count
    });
    taken
}

pub(crate) fn values(messages: &[OwnedMessage]) -> Vec<String> {
    let text =
        |message: &OwnedMessage| String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
    messages.iter().map(text).collect()
}

pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Asks again and again; what is asked waits by itself.
pub(crate) fn eventually(mut wanted: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < deadline, "waited in vain");
    }
}
