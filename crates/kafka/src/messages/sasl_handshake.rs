//! SaslHandshake (17): the mechanism a login will use.

use crate::define::messages;
use crate::text::Text;

messages! {
    SaslHandshakeRequest {
        mechanism: Text [0..],
    }

    SaslHandshakeResponse {
        error_code: i16 [0..],
        mechanisms: Vec<Text> [0..],
    }
}
