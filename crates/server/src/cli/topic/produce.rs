//! `cauce topic produce`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use cauce_core::topic::partition_of;
use cauce_kafka::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use cauce_kafka::wire::Records;
use cauce_log::BatchBuilder;
use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::cli::failure::Failure;
use crate::cli::pair;
use crate::kafka_client::{Client, ClientError, Compression, ConnectOptions, PartitionLeader, check};

/// Lines that are read ahead of the broker.
const LINES_MAX: usize = 1024;
/// Bytes after which lines wait for the next request; a batch has to stay below the broker's max.message.bytes.
const BATCH_BYTES_MAX: usize = 512 << 10;
const ACKS_ALL: i16 = -1;

#[derive(Debug, Args)]
pub(crate) struct Produce {
    #[arg(value_name = "TOPIC")]
    name: String,
    /// The key of all records.
    #[arg(long, value_name = "KEY", conflicts_with = "key_separator")]
    key: Option<String>,
    /// What stands between the key and the value in each line.
    #[arg(long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// A header of all records; may be given again and again.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// The partition of all records; by key if not given.
    #[arg(long, value_name = "NUMBER")]
    partition: Option<i32>,
    /// Make records of empty lines, or of lines with nothing behind the key, that delete their key when compacted.
    #[arg(long)]
    empty_is_null: bool,
    #[arg(long, value_enum, default_value = "none")]
    compression: Compression,
    /// Print a JSON object on a line for each batch that was written.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectOptions,
}

#[derive(Debug, Serialize)]
struct Written<'a> {
    topic: &'a str,
    partition: i32,
    first_offset: i64,
    records: usize,
}

type Line = io::Result<Vec<u8>>;

impl Produce {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = Client::open(&self.connect).await?;
        let leaders = client.leaders(&self.name).await?;
        let mut target = Target::new(&self, leaders)?;
        let mut lines = read_lines();
        let (mut waiting, mut records) = (Vec::new(), 0);
        while lines.recv_many(&mut waiting, LINES_MAX).await > 0 {
            // Lines without a key go together, to another partition each time.
            target.turn += 1;
            let mut taken = waiting.drain(..).peekable();
            while taken.peek().is_some() {
                let mut batches = BTreeMap::new();
                let mut bytes = 0;
                while bytes < BATCH_BYTES_MAX
                    && let Some(line) = taken.next()
                {
                    let line = line?;
                    bytes += line.len();
                    records += 1;
                    self.add(&line, records, &target, &mut batches)?;
                }
                for (at, batch) in batches {
                    self.write(&mut client, &target.leaders[at], batch).await?;
                }
            }
        }
        if !self.json {
            eprintln!("{records} records written to {}", self.name);
        }
        Ok(())
    }

    /// Puts a line into the batch of its partition.
    fn add(
        &self,
        line: &[u8],
        number: usize,
        target: &Target,
        batches: &mut BTreeMap<usize, BatchBuilder>,
    ) -> Result<(), Failure> {
        let (key, value) = self.split(line).ok_or_else(|| {
            let separator = self.key_separator.as_deref().unwrap_or_default();
            Failure::Input(format!("line {number} has no {separator:?} behind a key"))
        })?;
        let batch = batches.entry(target.partition(key)).or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        if batch.is_empty() {
            batch.start(0, now);
        }
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name, [value.as_bytes()])).collect();
        let headers: Vec<(&[u8], &[&[u8]])> =
            headers.iter().map(|(name, value)| (name.as_bytes(), &value[..])).collect();
        let parts = [value];
        let is_null = value.is_empty() && self.empty_is_null;
        batch.push(batch.record_count() as i64, now, key, (!is_null).then_some(&parts), &headers);
        Ok(())
    }

    fn split<'a>(&'a self, line: &'a [u8]) -> Option<(Option<&'a [u8]>, &'a [u8])> {
        let Some(separator) = self.key_separator.as_deref().filter(|separator| !separator.is_empty()) else {
            return Some((self.key.as_deref().map(str::as_bytes), line));
        };
        let at = line.windows(separator.len()).position(|part| part == separator.as_bytes())?;
        Some((Some(&line[..at]), &line[at + separator.len()..]))
    }

    async fn write(
        &self,
        client: &mut Client,
        leader: &PartitionLeader,
        mut batch: BatchBuilder,
    ) -> Result<(), Failure> {
        let records = batch.record_count();
        let data = PartitionProduceData {
            index: leader.place.partition,
            records: Some(Records::Bytes(self.compression.compress(batch.finish()))),
        };
        let topic = TopicProduceData {
            name: self.name.clone().into(),
            partition_data: vec![data],
            ..TopicProduceData::default()
        };
        let request = ProduceRequest {
            acks: ACKS_ALL,
            timeout_ms: client.request_timeout_ms(),
            topic_data: vec![topic],
            ..ProduceRequest::default()
        };
        let answer = |response: &ProduceResponse| first_offset(response, leader);
        let first_offset = client.ask_leader(leader, request, answer).await?;
        if self.json {
            let partition = leader.place.partition;
            let written = Written { topic: &self.name, partition, first_offset, records };
            let text = serde_json::to_string(&written).map_err(io::Error::other)?;
            writeln!(io::stdout(), "{text}")?;
        }
        Ok(())
    }
}

fn first_offset(response: &ProduceResponse, leader: &PartitionLeader) -> Result<i64, ClientError> {
    let answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    let mut offset = Err(ClientError::Nonsense("no answer for the partition".to_owned()));
    for answer in answers {
        check(answer.error_code, answer.error_message.as_ref(), || format!("write to {}", leader.place))?;
        offset = Ok(answer.base_offset);
    }
    offset
}

/// Where records go.
struct Target {
    leaders: Vec<PartitionLeader>,
    fixed: Option<usize>,
    turn: usize,
}

impl Target {
    fn new(produce: &Produce, leaders: Vec<PartitionLeader>) -> Result<Target, ClientError> {
        let fixed = produce.partition.map(|partition| {
            leaders
                .iter()
                .position(|leader| leader.place.partition == partition)
                .ok_or_else(|| ClientError::NoPartition { topic: produce.name.clone(), partition })
        });
        Ok(Target { fixed: fixed.transpose()?, turn: std::process::id() as usize, leaders })
    }

    fn partition(&self, key: Option<&[u8]>) -> usize {
        match (self.fixed, key) {
            (Some(fixed), _) => fixed,
            (None, Some(key)) => partition_of(key, self.leaders.len() as u32) as usize,
            (None, None) => self.turn % self.leaders.len(),
        }
    }
}

/// A thread of its own, because nothing else can wait for a terminal.
fn read_lines() -> mpsc::Receiver<Line> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let is_over = line.is_err();
            if sender.blocking_send(line).is_err() || is_over {
                return;
            }
        }
    });
    lines
}
