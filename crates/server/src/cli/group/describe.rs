//! `cauce group describe`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use cauce_core::partition::TopicPartition;
use cauce_kafka::ErrorCode;
use cauce_kafka::consumer_protocol::{Assignment, PROTOCOL_TYPE};
use cauce_kafka::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use clap::Args;
use serde::Serialize;

use super::list;
use crate::cli::failure::{Failure, all_done};
use crate::cli::output::{Output, Row, or_dash, table};
use crate::kafka_client::{Client, ClientError, ConnectOptions, Offsets, check};

const DEAD: &str = "Dead";

#[derive(Debug, Args)]
pub(crate) struct Describe {
    #[arg(required = true, value_name = "GROUP")]
    names: Vec<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: ConnectOptions,
}

#[derive(Debug, Serialize)]
struct Described {
    group: String,
    state: String,
    /// How partitions are shared out.
    assignor: Option<String>,
    /// Of all partitions whose lag is known.
    lag: i64,
    members: Vec<Member>,
    partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
struct Member {
    id: String,
    instance: Option<String>,
    client: String,
    host: String,
    partitions: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Partition {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    end_offset: Option<i64>,
    lag: Option<i64>,
    member: Option<String>,
}

impl Row for Member {
    const TITLES: &'static [&'static str] = &["member", "instance", "client", "host", "partitions"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            or_dash(self.instance.as_ref()),
            self.client.clone(),
            self.host.clone(),
            self.partitions.join(","),
        ]
    }
}

impl Row for Partition {
    const TITLES: &'static [&'static str] =
        &["topic", "partition", "committed", "end offset", "lag", "member"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            or_dash(self.committed),
            or_dash(self.end_offset),
            or_dash(self.lag),
            or_dash(self.member.as_ref()),
        ]
    }
}

impl Describe {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = Client::open(&self.connect).await?;
        let (mut described, mut failures) = (Vec::new(), Vec::new());
        for name in &self.names {
            match describe(&mut client, name).await {
                Ok(group) => described.push(group),
                Err(failure) => failures.push(failure),
            }
        }
        match self.output.json {
            true => self.output.json(&described)?,
            false => described.iter().try_for_each(print)?,
        }
        all_done(failures)
    }
}

async fn describe(client: &mut Client, name: &str) -> Result<Described, ClientError> {
    let group = look_up(client, name).await?;
    let members: Vec<Member> =
        group.members.iter().map(|member| Member::new(member, &group.protocol_type)).collect();
    let committed = client.committed(name).await?;
    let owners = owners(&group);
    let places: Vec<TopicPartition> = committed.keys().chain(owners.keys()).cloned().collect();
    let ends = ends(client, places).await?;
    let partitions: Vec<Partition> = ends
        .into_iter()
        .map(|(place, end_offset)| {
            let committed = committed.get(&place).copied();
            let lag = end_offset.zip(committed).map(|(end, committed)| (end - committed).max(0));
            let member = owners.get(&place).cloned();
            Partition {
                topic: place.topic.to_string(),
                partition: place.partition,
                committed,
                end_offset,
                lag,
                member,
            }
        })
        .collect();
    Ok(Described {
        group: name.to_owned(),
        state: group.group_state.to_string(),
        assignor: Some(group.protocol_data.to_string()).filter(|name| !name.is_empty()),
        lag: partitions.iter().filter_map(|partition| partition.lag).sum(),
        members,
        partitions,
    })
}

/// Groups of other kinds than the classic one are found in the list only: no members are known of them.
pub(super) async fn look_up(client: &mut Client, name: &str) -> Result<DescribedGroup, ClientError> {
    let request = DescribeGroupsRequest { groups: vec![name.to_owned().into()], ..Default::default() };
    let check = |answer: &DescribeGroupsResponse| {
        let not_found = ErrorCode::GroupIdNotFound.code();
        let groups = answer.groups.iter().filter(|group| group.error_code != not_found);
        groups.into_iter().try_for_each(|group| {
            check(group.error_code, group.error_message.as_ref(), || format!("group {name:?}"))
        })
    };
    let found = client.ask_coordinator(name, request, check).await?.groups.pop();
    if let Some(group) = found.filter(|group| group.error_code == 0 && *group.group_state != *DEAD) {
        return Ok(group);
    }
    let mut listed = list::all(client).await?.into_iter();
    let listed = listed.find(|group| *group.group_id == *name);
    let listed = listed.ok_or_else(|| ClientError::NoGroup(name.to_owned()))?;
    Ok(DescribedGroup {
        group_id: listed.group_id,
        group_state: listed.group_state,
        ..DescribedGroup::default()
    })
}

/// The end of each partition; none where the topic or the partition is gone.
async fn ends(
    client: &mut Client,
    places: Vec<TopicPartition>,
) -> Result<BTreeMap<TopicPartition, Option<i64>>, ClientError> {
    let mut ends: BTreeMap<TopicPartition, Option<i64>> =
        places.into_iter().map(|place| (place, None)).collect();
    let mut topics: Vec<_> = ends.keys().map(|place| place.topic.clone()).collect();
    topics.dedup();
    for topic in topics {
        let leaders = match client.leaders(&topic).await {
            Err(ClientError::NoTopic(_)) => continue,
            leaders => leaders?,
        };
        let (_, found): (Offsets, Offsets) = client.bounds(&leaders).await?;
        for (place, end) in found {
            ends.entry(place).and_modify(|known| *known = Some(end));
        }
    }
    Ok(ends)
}

fn owners(group: &DescribedGroup) -> BTreeMap<TopicPartition, String> {
    let mut owners = BTreeMap::new();
    for member in &group.members {
        for place in assigned(member, &group.protocol_type) {
            owners.insert(place, member.member_id.to_string());
        }
    }
    owners
}

/// What members of other kinds of groups say to each other is theirs alone.
fn assigned(member: &DescribedGroupMember, protocol_type: &str) -> Vec<TopicPartition> {
    if protocol_type != PROTOCOL_TYPE || member.member_assignment.is_empty() {
        return Vec::new();
    }
    let Ok(assignment) = Assignment::decode(member.member_assignment.clone()) else { return Vec::new() };
    let topics = assignment.assigned_partitions.into_iter();
    topics
        .flat_map(|of| {
            let topic: std::sync::Arc<str> = of.topic.as_str().into();
            of.partitions.into_iter().map(move |partition| TopicPartition { topic: topic.clone(), partition })
        })
        .collect()
}

impl Member {
    fn new(member: &DescribedGroupMember, protocol_type: &str) -> Member {
        Member {
            id: member.member_id.to_string(),
            instance: member.group_instance_id.as_ref().map(|id| id.to_string()),
            client: member.client_id.to_string(),
            host: member.client_host.to_string(),
            partitions: assigned(member, protocol_type).iter().map(TopicPartition::to_string).collect(),
        }
    }
}

fn print(group: &Described) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let assignor = group.assignor.as_ref().map_or(String::new(), |name| format!(", shared out by {name}"));
    writeln!(out, "{} ({}{assignor}, lag {})\n", group.group, group.state, group.lag)?;
    writeln!(out, "{}", table(&group.partitions))?;
    if !group.members.is_empty() {
        writeln!(out, "{}", table(&group.members))?;
    }
    Ok(())
}
