//! Who a client is: it logs in by SASL, with PLAIN, or says nothing about itself where that will do.
//!
//! ```text
//!                   ApiVersions
//!                     ┌────┐
//!                     ▼    │ SaslHandshake             SaslAuthenticate, or bare bytes after version 0
//!            ────▶ Unknown ┴────────────────▶ Chosen ──────────────────────────────────────────────▶ Known
//!                     └──────────────────── anything else, if it need not log in ─────────────────────▲
//! ```
//!
//! Anything out of this order ends the connection.

use std::net::IpAddr;
use std::time::Duration;

use cauce_amqp::sasl::parse_plain;
use cauce_broker::is_loopback;
use cauce_kafka::messages::sasl_authenticate::*;
use cauce_kafka::messages::sasl_handshake::*;
use cauce_kafka::{Encoded, ErrorCode, Request, RequestHeader, Text};
use clap::ValueEnum;
use serde::Deserialize;

use super::authorization::Principal;
use super::connection::{Connection, End};

const PLAIN: &str = "PLAIN";

/// The first version of SaslHandshake that is followed by requests, and not by bare bytes.
const REQUESTS_SINCE: i16 = 1;

/// Bytes that a client may say at once before it is known; as in Kafka.
pub(super) const REQUEST_BYTES_MAX: usize = 512 << 10;

const WRONG: &str = "Authentication failed: Invalid username or password";
const UNREADABLE: &str =
    "Authentication failed during authentication due to invalid credentials with SASL mechanism PLAIN";

/// From where clients are served that do not log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Anonymous {
    /// From this machine.
    Loopback,
    /// From wherever this node can be reached.
    Anywhere,
    /// From nowhere: everybody logs in.
    Never,
}

impl std::fmt::Display for Anonymous {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Anonymous::Loopback => "from this machine",
            Anonymous::Anywhere => "from anywhere",
            Anonymous::Never => "never",
        })
    }
}

impl Anonymous {
    pub(super) fn allows(self, from: IpAddr) -> bool {
        match self {
            Anonymous::Loopback => is_loopback(from),
            Anonymous::Anywhere => true,
            Anonymous::Never => false,
        }
    }
}

/// How far a client has come.
#[derive(Debug)]
pub(super) enum Login {
    Unknown,
    /// It will say who it is, in a request or in bare bytes.
    Chosen {
        bare: bool,
    },
    Known(Principal),
}

impl Connection {
    /// Takes what is about the login, and answers it. All else is given back, if the client may ask it.
    pub(super) async fn admit(
        &mut self,
        header: &RequestHeader,
        request: Request,
    ) -> Result<Option<(Principal, Request)>, End> {
        match (&self.login, request) {
            (Login::Known(_), Request::SaslHandshake(_)) => {
                let response = SaslHandshakeResponse {
                    error_code: ErrorCode::IllegalSaslState.code(),
                    ..SaslHandshakeResponse::default()
                };
                self.answer(header, response.into()).await?;
            }
            (Login::Known(_), Request::SaslAuthenticate(_)) => {
                let reason = "SaslAuthenticate request received after successful authentication";
                self.answer(header, refusal(ErrorCode::IllegalSaslState, reason).into()).await?;
            }
            (Login::Known(principal), request) => return Ok(Some((principal.clone(), request))),
            (Login::Unknown, Request::ApiVersions(request)) => {
                return Ok(Some((Principal::Anonymous, request.into())));
            }
            (Login::Unknown, Request::SaslHandshake(request)) => self.choose(header, &request).await?,
            (Login::Chosen { bare: false }, Request::SaslAuthenticate(request)) => {
                self.authenticate(header, &request.auth_bytes).await?;
            }
            (Login::Unknown, request)
                if !matches!(request, Request::SaslAuthenticate(_))
                    && self.service.anonymous.allows(self.peer.ip()) =>
            {
                self.login = Login::Known(Principal::Anonymous);
                return Ok(Some((Principal::Anonymous, request)));
            }
            (Login::Unknown | Login::Chosen { .. }, request) => return Err(End::LoginNeeded(request.api())),
        }
        Ok(None)
    }

    async fn choose(&mut self, header: &RequestHeader, request: &SaslHandshakeRequest) -> Result<(), End> {
        let is_plain = &*request.mechanism == PLAIN;
        let error_code = if is_plain { ErrorCode::None } else { ErrorCode::UnsupportedSaslMechanism };
        let mechanisms = vec![Text::from(PLAIN)];
        let response = SaslHandshakeResponse { error_code: error_code.code(), mechanisms };
        self.answer(header, response.into()).await?;
        match is_plain {
            true => self.login = Login::Chosen { bare: header.version < REQUESTS_SINCE },
            false => return Err(End::Mechanism),
        }
        Ok(())
    }

    async fn authenticate(&mut self, header: &RequestHeader, response: &[u8]) -> Result<(), End> {
        match self.log_in(response).await? {
            Ok(()) => {
                let welcome = SaslAuthenticateResponse { error_message: None, ..Default::default() };
                self.answer(header, welcome.into()).await
            }
            Err(reason) => {
                let refusal = refusal(ErrorCode::SaslAuthenticationFailed, reason);
                self.answer(header, refusal.into()).await?;
                Err(End::LoginRefused)
            }
        }
    }

    /// The same in bare bytes, which know no other refusal than the end.
    pub(super) async fn authenticate_bare(&mut self, response: &[u8]) -> Result<(), End> {
        match self.log_in(response).await? {
            Ok(()) => self.send_message(&no_bytes(), &[]).await,
            Err(_) => Err(End::LoginRefused),
        }
    }

    /// Either the client is known, or here is what it is told, a while later: so nobody tries many passwords.
    async fn log_in(&mut self, response: &[u8]) -> Result<Result<(), &'static str>, End> {
        let (why, told) = match parse_plain(response) {
            Ok(credentials) => {
                let users = &self.service.node.users;
                match users.log_in(credentials.user, credentials.password, self.peer.ip()) {
                    Ok(()) => {
                        self.become_known(Principal::User(credentials.user.into()));
                        return Ok(Ok(()));
                    }
                    Err(refusal) => (refusal.to_string(), WRONG),
                }
            }
            Err(error) => (error.to_string(), UNREADABLE),
        };
        tracing::warn!(peer = %self.peer, "PLAIN login refused: {why}");
        let delay_ms = self.service.node.settings().node.login_failure_delay_ms;
        self.pause(Duration::from_millis(delay_ms as u64)).await?;
        Ok(Err(told))
    }
}

fn refusal(code: ErrorCode, reason: &str) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error_code: code.code(),
        error_message: Some(Text::from(reason.to_owned())),
        ..SaslAuthenticateResponse::default()
    }
}

/// What PLAIN has left to say to who is welcome, with its length before it.
fn no_bytes() -> Encoded {
    Encoded { bytes: vec![0; 4], ..Encoded::default() }
}
