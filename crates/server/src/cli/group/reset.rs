//! `cauce group reset-offsets`.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::SystemTime;

use cauce_core::partition::TopicPartition;
use clap::Args;
use serde::Serialize;

use super::describe;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Row, or_dash};
use crate::cli::when::When;
use crate::kafka_client::{AtTime, Client, ClientError, ConnectOptions, Offsets, PartitionLeader};

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("to")
        .args(["to_earliest", "to_latest", "to_offset", "to_timestamp", "shift"])
        .required(true),
    group = clap::ArgGroup::new("what").args(["topics", "all_topics"]).required(true)
)]
pub(crate) struct Reset {
    #[arg(value_name = "GROUP")]
    name: String,
    /// A topic, or some of its partitions; may be given again and again.
    #[arg(long = "topic", value_name = "TOPIC[:0,1,…]")]
    topics: Vec<TopicChoice>,
    /// All partitions that the group has committed something for.
    #[arg(long)]
    all_topics: bool,
    /// To the first record there is.
    #[arg(long)]
    to_earliest: bool,
    /// To the end, so that only what comes from now on is read.
    #[arg(long)]
    to_latest: bool,
    /// To this offset, or the nearest there is.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// To the first record of this time or later: milliseconds since 1970, 2026-01-31T12:00:00Z, or 2h ago as 2h.
    #[arg(long, value_name = "TIME")]
    to_timestamp: Option<When>,
    /// By so many records from where the group is, back if negative, and never past the ends.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    shift: Option<i64>,
    /// Print where the group would go on, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: ConnectOptions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TopicChoice {
    topic: String,
    /// All if empty.
    partitions: Vec<i32>,
}

impl FromStr for TopicChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<TopicChoice, String> {
        // No topic has a colon in its name.
        let Some((topic, partitions)) = text.split_once(':') else {
            return Ok(TopicChoice { topic: text.to_owned(), partitions: Vec::new() });
        };
        let partitions: Result<Vec<i32>, _> = partitions.split(',').map(str::parse).collect();
        let partitions = partitions.map_err(|_| "expected TOPIC or TOPIC:0,1".to_owned())?;
        Ok(TopicChoice { topic: topic.to_owned(), partitions })
    }
}

#[derive(Debug, Serialize)]
struct Moved {
    topic: String,
    partition: i32,
    before: Option<i64>,
    after: i64,
}

impl Row for Moved {
    const TITLES: &'static [&'static str] = &["topic", "partition", "before", "after"];

    fn cells(&self) -> Vec<String> {
        vec![self.topic.clone(), self.partition.to_string(), or_dash(self.before), self.after.to_string()]
    }
}

impl Reset {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = Client::open(&self.connect).await?;
        let committed = client.committed(&self.name).await?;
        let leaders = self.leaders(&mut client, &committed).await?;
        if leaders.is_empty() {
            return Err(ClientError::NoGroup(self.name).into());
        }
        self.refuse_members(&mut client).await?;
        let after = self.targets(&mut client, &leaders, &committed).await?;
        if !self.dry_run {
            client.commit(&self.name, &after).await?;
        }
        let rows: Vec<Moved> = after
            .into_iter()
            .map(|(place, after)| Moved {
                before: committed.get(&place).copied(),
                topic: place.topic.to_string(),
                partition: place.partition,
                after,
            })
            .collect();
        self.output.rows(&rows)?;
        Ok(())
    }

    /// The broker would refuse too, but for one partition after the other and in words of its own. A group that is not
    /// there comes to be.
    async fn refuse_members(&self, client: &mut Client) -> Result<(), Failure> {
        match describe::look_up(client, &self.name).await {
            Ok(group) if !matches!(group.group_state.as_str(), "Empty" | "Dead") => {
                let members = group.members.len();
                Err(Failure::Input(format!(
                    "group {:?} is {} with {members} members: stop them first",
                    self.name, group.group_state
                )))
            }
            Ok(_) | Err(ClientError::NoGroup(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn leaders(
        &self,
        client: &mut Client,
        committed: &Offsets,
    ) -> Result<Vec<PartitionLeader>, ClientError> {
        let mut chosen: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for place in committed.keys().filter(|_| self.all_topics) {
            chosen.entry(&place.topic).or_default().push(place.partition);
        }
        for choice in &self.topics {
            chosen.entry(&choice.topic).or_default().extend(&choice.partitions);
        }
        let mut leaders = Vec::new();
        for (topic, partitions) in chosen {
            let all = client.leaders(topic).await?;
            let is_there = |partition| all.iter().any(|leader| leader.place.partition == partition);
            if let Some(&partition) = partitions.iter().find(|partition| !is_there(**partition)) {
                return Err(ClientError::NoPartition { topic: topic.to_owned(), partition });
            }
            let is_chosen = |leader: &PartitionLeader| {
                partitions.is_empty() || partitions.contains(&leader.place.partition)
            };
            leaders.extend(all.into_iter().filter(is_chosen));
        }
        Ok(leaders)
    }

    async fn targets(
        &self,
        client: &mut Client,
        leaders: &[PartitionLeader],
        committed: &Offsets,
    ) -> Result<Offsets, ClientError> {
        let (starts, ends) = client.bounds(leaders).await?;
        let by_time = match self.to_timestamp {
            Some(when) => {
                let timestamp_ms = when.timestamp_ms(SystemTime::now());
                let at = |leader: &PartitionLeader| AtTime { partition: leader.clone(), timestamp_ms };
                client.offsets_at(&leaders.iter().map(at).collect::<Vec<_>>(), 0).await?
            }
            None => Offsets::new(),
        };
        let mut targets = Offsets::new();
        for (place, &end) in &ends {
            let start = starts.get(place).copied().unwrap_or(0);
            let wanted = self.wanted(place, committed, start, end, &by_time);
            targets.insert(place.clone(), wanted.clamp(start, end.max(start)));
        }
        Ok(targets)
    }

    /// A group that has committed nothing is at the start.
    fn wanted(
        &self,
        place: &TopicPartition,
        committed: &Offsets,
        start: i64,
        end: i64,
        by_time: &Offsets,
    ) -> i64 {
        if self.to_earliest {
            return start;
        }
        if let Some(offset) = self.to_offset {
            return offset;
        }
        if let Some(count) = self.shift {
            return committed.get(place).copied().unwrap_or(start).saturating_add(count);
        }
        // The latest, and what is later than all there is.
        by_time.get(place).copied().unwrap_or(end)
    }
}
