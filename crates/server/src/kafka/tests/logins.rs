use cauce_broker::Defaults;
use cauce_kafka::messages::api_versions::ApiVersionsRequest;
use cauce_kafka::messages::metadata::MetadataRequest;
use cauce_kafka::messages::sasl_authenticate::*;
use cauce_kafka::messages::sasl_handshake::*;
use cauce_kafka::{ErrorCode, Response};

use super::client::*;
use crate::kafka::Anonymous;

const GUEST: &[u8] = b"\0guest\0guest";
const WRONG: &[u8] = b"\0guest\0Guest";
const DELAY: (&str, &str) = ("connection.failed.authentication.delay.ms", "0");

#[tokio::test]
async fn a_user_logs_in_and_then_asks_in_every_version() {
    let broker = broker(&[DELAY]).await;
    for version in 0..=2 {
        let mut client = broker.connect().await;
        assert_eq!(versions(&mut client).await, 0);
        assert_eq!(handshake(&mut client, 1, "PLAIN").await, (ErrorCode::None, vec!["PLAIN".to_owned()]));
        let answer = authenticate(&mut client, version, GUEST).await;
        assert_eq!((answer.error_code, answer.error_message, answer.session_lifetime_ms), (0, None, 0));
        assert_eq!(brokers(&mut client).await, 1);
        assert_eq!(versions(&mut client).await, 0);
    }
}

#[tokio::test]
async fn after_the_first_handshake_come_bare_bytes() {
    let broker = broker(&[DELAY]).await;
    let mut client = broker.connect().await;
    assert_eq!(handshake(&mut client, 0, "PLAIN").await.0, ErrorCode::None);
    client.send_raw(&with_length(GUEST)).await;
    assert_eq!(client.frame().await.as_deref(), Some(&b""[..]));
    assert_eq!(brokers(&mut client).await, 1);

    let mut client = broker.connect().await;
    handshake(&mut client, 0, "PLAIN").await;
    client.send_raw(&with_length(WRONG)).await;
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn a_wrong_password_is_answered_and_then_the_door_closes() {
    let broker = broker(&[DELAY]).await;
    let unreadable =
        "Authentication failed during authentication due to invalid credentials with SASL mechanism PLAIN";
    let wrong = "Authentication failed: Invalid username or password";
    for (response, told) in [
        (WRONG, wrong),
        (b"\0nobody\0guest", wrong),
        (b"", unreadable),
        (b"guest", unreadable),
        (b"other\0guest\0guest", unreadable),
    ] {
        let mut client = broker.connect().await;
        handshake(&mut client, 1, "PLAIN").await;
        let answer = authenticate(&mut client, 2, response).await;
        assert_eq!(answer.error_code, ErrorCode::SaslAuthenticationFailed.code());
        assert_eq!(answer.error_message.as_deref(), Some(told), "{response:?}");
        assert_eq!(client.frame().await, None);
    }
}

#[tokio::test]
async fn the_answer_to_a_wrong_password_takes_a_while() {
    let broker = broker(&[("connection.failed.authentication.delay.ms", "60000")]).await;
    let mut client = broker.connect().await;
    handshake(&mut client, 1, "PLAIN").await;
    let request = SaslAuthenticateRequest { auth_bytes: WRONG.into() };
    client.send(2, &request.into()).await;
    let mut other = broker.connect().await;
    handshake(&mut other, 1, "PLAIN").await;
    assert_eq!(authenticate(&mut other, 2, GUEST).await.error_code, 0);
    assert!(!client.is_answered().await, "nobody waits so long in a test");
    // A broker that stops does not wait for it.
    broker.node.close_connections("the test is over");
    broker.node.all_disconnected().await;
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn another_mechanism_is_told_which_there_are() {
    let broker = broker(&[DELAY]).await;
    for (version, mechanism) in [(0, "GSSAPI"), (1, "SCRAM-SHA-256"), (1, "plain"), (1, "")] {
        let mut client = broker.connect().await;
        let told = handshake(&mut client, version, mechanism).await;
        assert_eq!(told, (ErrorCode::UnsupportedSaslMechanism, vec!["PLAIN".to_owned()]));
        assert_eq!(client.frame().await, None);
    }
}

#[tokio::test]
async fn whoever_has_to_log_in_is_hung_up_on_for_anything_else() {
    let broker = broker(&[DELAY]).await;
    let mut early = broker.connect().await;
    early.send(1, &MetadataRequest::default().into()).await;
    assert_eq!(early.frame().await, None);

    let mut without_handshake = broker.connect().await;
    without_handshake.send(1, &SaslAuthenticateRequest { auth_bytes: GUEST.into() }.into()).await;
    assert_eq!(without_handshake.frame().await, None);

    for request in [MetadataRequest::default().into(), ApiVersionsRequest::default().into()] {
        let mut between = broker.connect().await;
        handshake(&mut between, 1, "PLAIN").await;
        between.send(0, &request).await;
        assert_eq!(between.frame().await, None);
    }
    let mut large = broker.connect().await;
    large.send_raw(&(513i32 << 10).to_be_bytes()).await;
    assert_eq!(large.frame().await, None);
}

#[tokio::test]
async fn nobody_logs_in_twice() {
    let broker = broker(&[DELAY]).await;
    let mut client = broker.logged_in("guest", "guest").await;
    for _ in 0..2 {
        assert_eq!(handshake(&mut client, 1, "PLAIN").await.0, ErrorCode::IllegalSaslState);
        let answer = authenticate(&mut client, 2, GUEST).await;
        assert_eq!(answer.error_code, ErrorCode::IllegalSaslState.code());
    }
    assert_eq!(brokers(&mut client).await, 1);
}

#[tokio::test]
async fn a_neighbour_may_log_in_and_need_not() {
    let broker = Broker::with(&[DELAY]).await;
    broker.node.define(&Defaults::default());
    assert_eq!(brokers(&mut broker.logged_in("guest", "guest").await).await, 1);
    let mut anonymous = broker.connect().await;
    assert_eq!(brokers(&mut anonymous).await, 1);
    assert_eq!(handshake(&mut anonymous, 1, "PLAIN").await.0, ErrorCode::IllegalSaslState);
    // Whoever begins to log in has to go on with it.
    let mut between = broker.connect().await;
    handshake(&mut between, 1, "PLAIN").await;
    between.send(1, &MetadataRequest::default().into()).await;
    assert_eq!(between.frame().await, None);
}

#[test]
fn where_clients_need_not_log_in() {
    let allows = |anonymous: Anonymous| {
        ["127.0.0.1", "::1", "::ffff:127.0.0.2", "10.0.0.1"]
            .map(|from| anonymous.allows(from.parse().unwrap()))
    };
    assert_eq!(allows(Anonymous::Loopback), [true, true, true, false]);
    assert_eq!(allows(Anonymous::Anywhere), [true; 4]);
    assert_eq!(allows(Anonymous::Never), [false; 4]);
}

/// One where everybody logs in.
async fn broker(set: &[(&str, &str)]) -> Broker {
    let broker = Broker::with_logins(set, Anonymous::Never).await;
    broker.node.define(&Defaults::default());
    broker
}

async fn versions(client: &mut Client) -> i16 {
    match client.ask(3, ApiVersionsRequest::default()).await {
        Response::ApiVersions(response) => response.error_code,
        other => panic!("{other:?}"),
    }
}

async fn brokers(client: &mut Client) -> usize {
    client.metadata(1, MetadataRequest::default()).await.brokers.len()
}

async fn handshake(client: &mut Client, version: i16, mechanism: &str) -> (ErrorCode, Vec<String>) {
    match client.ask(version, SaslHandshakeRequest { mechanism: mechanism.to_owned().into() }).await {
        Response::SaslHandshake(SaslHandshakeResponse { error_code, mechanisms }) => {
            let mechanisms = mechanisms.iter().map(|mechanism| mechanism.to_string()).collect();
            (ErrorCode::from_code(error_code).unwrap(), mechanisms)
        }
        other => panic!("{other:?}"),
    }
}

async fn authenticate(client: &mut Client, version: i16, response: &[u8]) -> SaslAuthenticateResponse {
    let request = SaslAuthenticateRequest { auth_bytes: response.to_vec().into() };
    match client.ask(version, request).await {
        Response::SaslAuthenticate(response) => response,
        other => panic!("{other:?}"),
    }
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as i32).to_be_bytes(), bytes].concat()
}
