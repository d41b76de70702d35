//! SaslAuthenticate (36): one step of a login.

use bytes::Bytes;

use crate::define::messages;
use crate::text::Text;

messages! {
    SaslAuthenticateRequest {
        auth_bytes: Bytes [0..],
    }

    SaslAuthenticateResponse {
        error_code: i16 [0..],
        error_message: Option<Text> [0..] = Some(Default::default()),
        auth_bytes: Bytes [0..],
        session_lifetime_ms: i64 [1..],
    }
}
