//! `cauce topic alter`.

use cauce_kafka::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use cauce_kafka::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::pair;
use crate::kafka_client::{Client, ClientError, ConnectOptions, check};

/// Kinds and operations in the protocol's numbers.
const TOPIC_RESOURCE: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").args(["set", "unset", "partitions"]).required(true).multiple(true))]
pub(crate) struct Alter {
    #[arg(value_name = "TOPIC")]
    name: String,
    /// Configuration, such as retention.ms=3600000; may be given again and again.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Configuration that goes back to what it is for all topics; may be given again and again.
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
    /// Partitions from now on. There can only become more, and keys will go to other partitions.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Ask whether it would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: ConnectOptions,
}

impl Alter {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = Client::open(&self.connect).await?;
        // An unknown topic is told so, whatever the broker thinks of the configuration.
        client.topic(&self.name).await?;
        if !self.set.is_empty() || !self.unset.is_empty() {
            self.configure(&mut client).await?;
        }
        if let Some(count) = self.partitions {
            self.add_partitions(&mut client, count).await?;
        }
        Ok(())
    }

    async fn configure(&self, client: &mut Client) -> Result<(), ClientError> {
        let set = self.set.iter().map(|(name, value)| AlterableConfig {
            name: name.clone().into(),
            config_operation: SET,
            value: Some(value.clone().into()),
        });
        let unset = self.unset.iter().map(|name| AlterableConfig {
            name: name.clone().into(),
            config_operation: DELETE,
            value: None,
        });
        let resource = AlterConfigsResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: self.name.clone().into(),
            configs: set.chain(unset).collect(),
        };
        let request =
            IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: self.dry_run };
        for result in client.ask_controller(request).await?.responses {
            check(result.error_code, result.error_message.as_ref(), || format!("topic {:?}", self.name))?;
        }
        Ok(())
    }

    async fn add_partitions(&self, client: &mut Client, count: i32) -> Result<(), ClientError> {
        let topic = CreatePartitionsTopic { name: self.name.clone().into(), count, assignments: None };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: client.request_timeout_ms(),
            validate_only: self.dry_run,
        };
        for result in client.ask_controller(request).await?.results {
            check(result.error_code, result.error_message.as_ref(), || format!("topic {:?}", self.name))?;
        }
        Ok(())
    }
}
