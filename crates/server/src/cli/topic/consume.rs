//! `cauce topic consume`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use cauce_core::partition::TopicPartition;
use clap::Args;
use tokio::time::Instant;

use super::printing::Form;
use crate::cli::failure::Failure;
use crate::cli::when::When;
use crate::kafka_client::{
    AtTime, Client, ClientError, ConnectOptions, EARLIEST, FetchLimits, LATEST, Offsets, PartitionLeader,
    Position, Reader,
};

const FETCH_BYTES_MAX: i32 = 16 << 20;
const PARTITION_BYTES_MAX: i32 = 1 << 20;
const WAIT_MS_MAX: i32 = 500;
const COMMIT_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("start").args(["from_beginning", "from_offset", "from_time", "last"]))]
pub(crate) struct Consume {
    #[arg(value_name = "TOPIC")]
    name: String,
    /// Only this partition; may be given again and again.
    #[arg(long = "partition", value_name = "NUMBER")]
    partitions: Vec<i32>,
    /// From the first record on, instead of only what comes from now on.
    #[arg(long)]
    from_beginning: bool,
    /// From this offset on, in each partition.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    from_offset: Option<i64>,
    /// From the first record of this time or later on: milliseconds since 1970, 2026-01-31T12:00:00Z, or 2h ago as 2h.
    #[arg(long, value_name = "TIME")]
    from_time: Option<When>,
    /// From so many offsets before the end on, in each partition.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i64).range(0..))]
    last: Option<i64>,
    /// Go on where this group stopped, and commit what was printed. Nobody may be a member of it meanwhile.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Stop after so many records.
    #[arg(long, value_name = "COUNT")]
    max: Option<u64>,
    /// Stop at what is the end when this begins.
    #[arg(long)]
    until_end: bool,
    /// Leave out what transactions have not committed.
    #[arg(long)]
    committed: bool,
    /// Print where and when, keys and headers too.
    #[arg(long, short, conflicts_with = "json")]
    verbose: bool,
    /// Print a JSON object on a line for each record.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectOptions,
}

impl Consume {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = Client::open(&self.connect).await?;
        let leaders = self.leaders(&mut client).await?;
        let starts = self.starts(&mut client, &leaders).await?;
        let ends = match self.until_end {
            true => Some(client.offsets_at(&at(&leaders, LATEST), self.committed.into()).await?),
            false => None,
        };
        let mut readers = self.readers(&client, &leaders, &starts).await?;
        let mut printer = Printer::new(&self);
        let ended = tokio::select! {
            ended = self.print(&mut client, &mut readers, ends.as_ref(), &mut printer) => ended,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        self.commit(&mut client, &mut printer).await?;
        ended
    }

    async fn leaders(&self, client: &mut Client) -> Result<Vec<PartitionLeader>, ClientError> {
        let mut leaders = client.leaders(&self.name).await?;
        for &partition in &self.partitions {
            if !leaders.iter().any(|leader| leader.place.partition == partition) {
                return Err(ClientError::NoPartition { topic: self.name.clone(), partition });
            }
        }
        leaders
            .retain(|leader| self.partitions.is_empty() || self.partitions.contains(&leader.place.partition));
        Ok(leaders)
    }

    async fn starts(&self, client: &mut Client, leaders: &[PartitionLeader]) -> Result<Offsets, ClientError> {
        let isolation_level = self.committed.into();
        let mut starts = client.offsets_at(&at(leaders, LATEST), isolation_level).await?;
        if let Some(offset) = self.from_offset {
            starts.values_mut().for_each(|start| *start = offset);
        } else if let Some(count) = self.last {
            let first = client.offsets_at(&at(leaders, EARLIEST), isolation_level).await?;
            starts.iter_mut().for_each(|(place, start)| *start = (*start - count).max(first[place]));
        } else if self.from_beginning || self.from_time.is_some() {
            let time = self.from_time.map_or(EARLIEST, |when| when.timestamp_ms(SystemTime::now()));
            starts.extend(client.offsets_at(&at(leaders, time), isolation_level).await?);
        }
        if let Some(group) = &self.group {
            let committed = client.committed(group).await?;
            starts.extend(
                committed.into_iter().filter(|(place, _)| leaders.iter().any(|of| of.place == *place)),
            );
        }
        Ok(starts)
    }

    /// One for each broker that leads some of the partitions.
    async fn readers(
        &self,
        client: &Client,
        leaders: &[PartitionLeader],
        starts: &Offsets,
    ) -> Result<Vec<Reader>, ClientError> {
        let mut by_node: BTreeMap<i32, Vec<Position>> = BTreeMap::new();
        for leader in leaders {
            let position = Position { place: leader.place.clone(), offset: starts[&leader.place] };
            by_node.entry(leader.node).or_default().push(position);
        }
        let limits = FetchLimits {
            // They are asked in turn, so that none makes the others wait for long.
            wait_ms_max: WAIT_MS_MAX / by_node.len().max(1) as i32,
            bytes_max: FETCH_BYTES_MAX,
            partition_bytes_max: PARTITION_BYTES_MAX,
            committed_only: self.committed,
        };
        let mut readers = Vec::new();
        for (node, positions) in by_node {
            readers.push(Reader::new(client.connect(node).await?, positions, limits));
        }
        Ok(readers)
    }

    async fn print(
        &self,
        client: &mut Client,
        readers: &mut [Reader],
        ends: Option<&Offsets>,
        printer: &mut Printer,
    ) -> Result<(), Failure> {
        let mut committed_at = Instant::now();
        let is_at_end = |reader: &Reader| {
            ends.is_some_and(|ends| reader.positions().iter().all(|of| of.offset >= ends[&of.place]))
        };
        while !printer.is_full() && !readers.iter().all(is_at_end) {
            for reader in readers.iter_mut().filter(|reader| !is_at_end(reader)) {
                reader.read(|place, record| printer.take(place, record, ends)).await?;
                printer.flush()?;
            }
            if committed_at.elapsed() >= COMMIT_EVERY {
                self.commit(client, printer).await?;
                committed_at = Instant::now();
            }
        }
        Ok(())
    }

    async fn commit(&self, client: &mut Client, printer: &mut Printer) -> Result<(), ClientError> {
        let printed = std::mem::take(&mut printer.printed);
        match &self.group {
            Some(group) if !printed.is_empty() => client.commit(group, &printed).await,
            _ => Ok(()),
        }
    }
}

fn at(leaders: &[PartitionLeader], timestamp_ms: i64) -> Vec<AtTime> {
    leaders.iter().map(|leader| AtTime { partition: leader.clone(), timestamp_ms }).collect()
}

/// What is printed goes out whole, once for each answer of a broker.
struct Printer {
    form: Form,
    left: u64,
    out: Vec<u8>,
    /// Up to where each partition was printed since the last commit.
    printed: Offsets,
    ready: Offsets,
}

impl Printer {
    fn new(consume: &Consume) -> Printer {
        let form = match (consume.json, consume.verbose) {
            (true, _) => Form::Json,
            (false, true) => Form::Lines,
            (false, false) => Form::Values,
        };
        Printer {
            form,
            left: consume.max.unwrap_or(u64::MAX),
            out: Vec::new(),
            printed: Offsets::new(),
            ready: Offsets::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }

    fn take(&mut self, place: &TopicPartition, record: &cauce_log::Record<'_>, ends: Option<&Offsets>) {
        if self.left == 0 || ends.is_some_and(|ends| record.offset >= ends[place]) {
            return;
        }
        self.left -= 1;
        self.form.print(&mut self.out, place, record).expect("memory takes what is written");
        self.ready.insert(place.clone(), record.offset + 1);
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.out)?;
        stdout.flush()?;
        self.out.clear();
        self.printed.append(&mut self.ready);
        Ok(())
    }
}
