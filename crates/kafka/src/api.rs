//! The APIs served, in which versions, and the envelope around every request and response.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::messages::*;
use crate::text::Text;
use crate::wire::{DecodeError, Encoded, Field, Reader, Version, Writer};

/// No version is flexible.
const NEVER: i16 = i16::MAX;

/// A request, and what answers it.
pub trait Call: Into<Request> {
    type Response: TryFrom<Response, Error = Response>;
    const API: Api;
}

/// One line for each API: name, key, versions served, first flexible version, where its messages are.
macro_rules! apis {
    ($($name:ident = $key:literal, $versions:expr, $flexible:expr,
       $module:ident::($request:ident, $response:ident);)*) => {
        /// The APIs served.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Api {
            $($name = $key,)*
        }

        impl Api {
            pub const ALL: &[Api] = &[$(Api::$name,)*];

            pub fn from_key(key: i16) -> Option<Api> {
                match key {
                    $($key => Some(Api::$name),)*
                    _ => None,
                }
            }

            pub fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(Api::$name => $versions,)*
                }
            }

            fn first_flexible(self) -> i16 {
                match self {
                    $(Api::$name => $flexible,)*
                }
            }
        }

        /// Any request.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Request {
            $($name($module::$request),)*
        }

        impl Request {
            pub fn api(&self) -> Api {
                match self {
                    $(Request::$name(_) => Api::$name,)*
                }
            }

            fn read(api: Api, from: &mut Reader, version: Version) -> Result<Request, DecodeError> {
                match api {
                    $(Api::$name => Field::read(from, version).map(Request::$name),)*
                }
            }

            fn write(&self, to: &mut Writer, version: Version) {
                match self {
                    $(Request::$name(request) => request.write(to, version),)*
                }
            }

            #[cfg(test)]
            pub(crate) fn sample(api: Api, dice: &mut crate::sample::Dice, number: i16) -> Request {
                match api {
                    $(Api::$name => Request::$name(dice.message(number)),)*
                }
            }
        }

        /// Any response.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Response {
            $($name($module::$response),)*
        }

        impl Response {
            pub fn api(&self) -> Api {
                match self {
                    $(Response::$name(_) => Api::$name,)*
                }
            }

            fn read(api: Api, from: &mut Reader, version: Version) -> Result<Response, DecodeError> {
                match api {
                    $(Api::$name => Field::read(from, version).map(Response::$name),)*
                }
            }

            fn write(&self, to: &mut Writer, version: Version) {
                match self {
                    $(Response::$name(response) => response.write(to, version),)*
                }
            }

            #[cfg(test)]
            pub(crate) fn sample(api: Api, dice: &mut crate::sample::Dice, number: i16) -> Response {
                match api {
                    $(Api::$name => Response::$name(dice.message(number)),)*
                }
            }
        }

        $(
            impl From<$module::$request> for Request {
                fn from(request: $module::$request) -> Request {
                    Request::$name(request)
                }
            }

            impl From<$module::$response> for Response {
                fn from(response: $module::$response) -> Response {
                    Response::$name(response)
                }
            }

            impl TryFrom<Response> for $module::$response {
                type Error = Response;

                fn try_from(response: Response) -> Result<$module::$response, Response> {
                    match response {
                        Response::$name(response) => Ok(response),
                        other => Err(other),
                    }
                }
            }

            impl Call for $module::$request {
                type Response = $module::$response;
                const API: Api = Api::$name;
            }
        )*
    };
}

// The versions of clients from Kafka 2.1 on (KIP-896), up to those of Kafka 4.1.
apis! {
    Produce = 0, 3..=13, 9, produce::(ProduceRequest, ProduceResponse);
    Fetch = 1, 4..=18, 12, fetch::(FetchRequest, FetchResponse);
    ListOffsets = 2, 1..=10, 6, list_offsets::(ListOffsetsRequest, ListOffsetsResponse);
    Metadata = 3, 0..=13, 9, metadata::(MetadataRequest, MetadataResponse);
    OffsetCommit = 8, 2..=9, 8, offset_commit::(OffsetCommitRequest, OffsetCommitResponse);
    OffsetFetch = 9, 1..=9, 6, offset_fetch::(OffsetFetchRequest, OffsetFetchResponse);
    FindCoordinator = 10, 0..=6, 3, find_coordinator::(FindCoordinatorRequest, FindCoordinatorResponse);
    JoinGroup = 11, 0..=9, 6, join_group::(JoinGroupRequest, JoinGroupResponse);
    Heartbeat = 12, 0..=4, 4, heartbeat::(HeartbeatRequest, HeartbeatResponse);
    LeaveGroup = 13, 0..=5, 4, leave_group::(LeaveGroupRequest, LeaveGroupResponse);
    SyncGroup = 14, 0..=5, 4, sync_group::(SyncGroupRequest, SyncGroupResponse);
    DescribeGroups = 15, 0..=6, 5, describe_groups::(DescribeGroupsRequest, DescribeGroupsResponse);
    ListGroups = 16, 0..=5, 3, list_groups::(ListGroupsRequest, ListGroupsResponse);
    SaslHandshake = 17, 0..=1, NEVER, sasl_handshake::(SaslHandshakeRequest, SaslHandshakeResponse);
    ApiVersions = 18, 0..=4, 3, api_versions::(ApiVersionsRequest, ApiVersionsResponse);
    CreateTopics = 19, 2..=7, 5, create_topics::(CreateTopicsRequest, CreateTopicsResponse);
    DeleteTopics = 20, 1..=6, 4, delete_topics::(DeleteTopicsRequest, DeleteTopicsResponse);
    DeleteRecords = 21, 0..=2, 2, delete_records::(DeleteRecordsRequest, DeleteRecordsResponse);
    InitProducerId = 22, 0..=5, 2, init_producer_id::(InitProducerIdRequest, InitProducerIdResponse);
    OffsetForLeaderEpoch = 23, 2..=4, 4, offset_for_leader_epoch::(OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse);
    AddPartitionsToTxn = 24, 0..=5, 3, add_partitions_to_txn::(AddPartitionsToTxnRequest, AddPartitionsToTxnResponse);
    AddOffsetsToTxn = 25, 0..=4, 3, add_offsets_to_txn::(AddOffsetsToTxnRequest, AddOffsetsToTxnResponse);
    EndTxn = 26, 0..=5, 3, end_txn::(EndTxnRequest, EndTxnResponse);
    WriteTxnMarkers = 27, 1..=1, 1, write_txn_markers::(WriteTxnMarkersRequest, WriteTxnMarkersResponse);
    TxnOffsetCommit = 28, 0..=5, 3, txn_offset_commit::(TxnOffsetCommitRequest, TxnOffsetCommitResponse);
    DescribeConfigs = 32, 1..=4, 4, describe_configs::(DescribeConfigsRequest, DescribeConfigsResponse);
    AlterConfigs = 33, 0..=2, 2, alter_configs::(AlterConfigsRequest, AlterConfigsResponse);
    DescribeLogDirs = 35, 1..=4, 2, describe_log_dirs::(DescribeLogDirsRequest, DescribeLogDirsResponse);
    SaslAuthenticate = 36, 0..=2, 2, sasl_authenticate::(SaslAuthenticateRequest, SaslAuthenticateResponse);
    CreatePartitions = 37, 0..=3, 2, create_partitions::(CreatePartitionsRequest, CreatePartitionsResponse);
    DeleteGroups = 42, 0..=2, 2, delete_groups::(DeleteGroupsRequest, DeleteGroupsResponse);
    ElectLeaders = 43, 0..=2, 2, elect_leaders::(ElectLeadersRequest, ElectLeadersResponse);
    IncrementalAlterConfigs = 44, 0..=1, 1, incremental_alter_configs::(IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse);
    OffsetDelete = 47, 0..=0, NEVER, offset_delete::(OffsetDeleteRequest, OffsetDeleteResponse);
    DescribeCluster = 60, 0..=2, 0, describe_cluster::(DescribeClusterRequest, DescribeClusterResponse);
    DescribeProducers = 61, 0..=0, 0, describe_producers::(DescribeProducersRequest, DescribeProducersResponse);
    DescribeTransactions = 65, 0..=0, 0, describe_transactions::(DescribeTransactionsRequest, DescribeTransactionsResponse);
    ListTransactions = 66, 0..=2, 0, list_transactions::(ListTransactionsRequest, ListTransactionsResponse);
    ListConfigResources = 74, 0..=1, 0, list_config_resources::(ListConfigResourcesRequest, ListConfigResourcesResponse);
    DescribeTopicPartitions = 75, 0..=0, 0, describe_topic_partitions::(DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse);
}

impl Api {
    pub fn key(self) -> i16 {
        self as i16
    }

    /// What ApiVersions says. Produce is said to be served from version 0 on, though it is not: librdkafka
    /// before 2.8 takes its compression from what it finds there (KAFKA-18659).
    pub fn advertised(self) -> RangeInclusive<i16> {
        match self {
            Api::Produce => 0..=*self.versions().end(),
            _ => self.versions(),
        }
    }

    pub fn version(self, number: i16) -> Version {
        Version { number, flexible: number >= self.first_flexible() }
    }
}

/// What goes before every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    pub api: Api,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Text>,
}

/// A request that cannot be answered with the response it asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("no API with key {key} is served (version {version} was asked for)")]
    UnknownApi { key: i16, version: i16 },
    #[error("{api:?} is not served in version {version}, only in {}-{}", api.versions().start(), api.versions().end())]
    UnsupportedVersion { api: Api, version: i16, correlation_id: i32 },
    #[error("the header of a request cannot be read: {0}")]
    Header(DecodeError),
    #[error("a request to {api:?}, version {version}, cannot be read: {error}")]
    Body { api: Api, version: i16, error: DecodeError },
}

/// Reads a request from its frame, the length before it taken off.
pub fn read_request(frame: Bytes) -> Result<(RequestHeader, Request), RequestError> {
    let mut from = Reader::new(frame);
    let plain = Version { number: 0, flexible: false };
    let (key, number, correlation_id) =
        (|| Ok((i16::read(&mut from, plain)?, i16::read(&mut from, plain)?, i32::read(&mut from, plain)?)))()
            .map_err(RequestError::Header)?;
    let Some(api) = Api::from_key(key) else {
        return Err(RequestError::UnknownApi { key, version: number });
    };
    if !api.versions().contains(&number) {
        return Err(RequestError::UnsupportedVersion { api, version: number, correlation_id });
    }
    let version = api.version(number);
    // The client id stayed in its plain form when headers became flexible (KIP-482).
    let client_id = Option::<Text>::read(&mut from, plain).map_err(RequestError::Header)?;
    if version.flexible {
        from.tagged(|_, _| Ok(false)).map_err(RequestError::Header)?;
    }
    let in_body = |error| RequestError::Body { api, version: number, error };
    // What follows is left alone, as Kafka does: librdkafka 2.16 asks for the metadata of all topics with three bytes
    // too many.
    let request = Request::read(api, &mut from, version).map_err(in_body)?;
    Ok((RequestHeader { api, version: number, correlation_id, client_id }, request))
}

/// The frame of a request, the length before it included.
pub fn write_request(
    version: i16,
    correlation_id: i32,
    client_id: Option<Text>,
    request: &Request,
) -> Encoded {
    let api = request.api();
    let (plain, version) = (Version { number: 0, flexible: false }, api.version(version));
    framed(|to| {
        api.key().write(to, plain);
        version.number.write(to, plain);
        correlation_id.write(to, plain);
        client_id.write(to, plain);
        if version.flexible {
            to.varint(0);
        }
        request.write(to, version);
    })
}

/// The frame of a response, the length before it included.
pub fn write_response(version: i16, correlation_id: i32, response: &Response) -> Encoded {
    let api = response.api();
    let version = api.version(version);
    framed(|to| {
        correlation_id.write(to, version);
        if has_flexible_header(api, version) {
            to.varint(0);
        }
        response.write(to, version);
    })
}

/// Reads a response from its frame, the length before it taken off: its correlation id, and what it says.
pub fn read_response(api: Api, version: i16, frame: Bytes) -> Result<(i32, Response), DecodeError> {
    let mut from = Reader::new(frame);
    let version = api.version(version);
    let correlation_id = i32::read(&mut from, version)?;
    if has_flexible_header(api, version) {
        from.tagged(|_, _| Ok(false))?;
    }
    let response = Response::read(api, &mut from, version)?;
    from.finish()?;
    Ok((correlation_id, response))
}

/// A client that does not know yet what we serve must be able to read the answer to ApiVersions (KIP-511).
fn has_flexible_header(api: Api, version: Version) -> bool {
    version.flexible && api != Api::ApiVersions
}

fn framed(write: impl FnOnce(&mut Writer)) -> Encoded {
    let mut to = Writer::default();
    to.raw(&[0; 4]);
    write(&mut to);
    let mut encoded = to.encoded;
    let length = i32::try_from(encoded.len() - 4).expect("frames stay below 2 GiB");
    encoded.bytes[..4].copy_from_slice(&length.to_be_bytes());
    encoded
}
