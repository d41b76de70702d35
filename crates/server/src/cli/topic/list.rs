//! `cauce topic list`.

use clap::Args;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output::{Output, Row};
use crate::kafka_client::{Client, ConnectOptions};

#[derive(Debug, Args)]
pub(crate) struct List {
    /// The topics that the broker keeps for itself, too.
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: ConnectOptions,
}

#[derive(Debug, Serialize)]
struct Listed {
    topic: String,
    partitions: usize,
    replication_factor: usize,
    internal: bool,
}

impl Row for Listed {
    const TITLES: &'static [&'static str] = &["topic", "partitions", "replicas", "internal"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partitions.to_string(),
            self.replication_factor.to_string(),
            if self.internal { "yes" } else { "no" }.to_owned(),
        ]
    }
}

impl List {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = Client::open(&self.connect).await?;
        let topics = client.metadata(None).await?.topics.into_iter();
        let mut rows: Vec<Listed> = topics
            .filter(|topic| self.internal || !topic.is_internal)
            .map(|topic| Listed {
                topic: topic.name.as_deref().unwrap_or_default().to_owned(),
                partitions: topic.partitions.len(),
                replication_factor: topic.partitions.first().map_or(0, |first| first.replica_nodes.len()),
                internal: topic.is_internal,
            })
            .collect();
        rows.sort_by(|one, other| one.topic.cmp(&other.topic));
        self.output.rows(&rows)?;
        Ok(())
    }
}
