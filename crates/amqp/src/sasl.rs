//! Login responses: who a client says it is, and the proof.

use crate::error::DecodeError;
use crate::table::RawTable;

/// What [`parse_plain`] and [`parse_amqplain`] find. The password stays out of debug output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    pub user: &'a str,
    pub password: &'a [u8],
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// PLAIN (RFC 4616): identity to act as, NUL, user, NUL, password. Nobody acts for somebody else
/// here, so the identity is empty or the user.
pub fn parse_plain(response: &[u8]) -> Result<Credentials<'_>, DecodeError> {
    let mut parts = response.split(|byte| *byte == 0);
    let (Some(identity), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(DecodeError::Login { wanted: "identity, user and password" });
    };
    if !identity.is_empty() && identity != user {
        return Err(DecodeError::Login { wanted: "the identity of the user" });
    }
    credentials(user, password)
}

/// AMQPLAIN: a table without its length that holds `LOGIN` and `PASSWORD`.
pub fn parse_amqplain(response: &[u8]) -> Result<Credentials<'_>, DecodeError> {
    let table = RawTable(response);
    credentials(text(table, "LOGIN")?, text(table, "PASSWORD")?)
}

fn text<'a>(table: RawTable<'a>, name: &'static str) -> Result<&'a [u8], DecodeError> {
    let value = table.find(name)?;
    value.and_then(|value| value.as_text()).ok_or(DecodeError::Login { wanted: name })
}

fn credentials<'a>(user: &'a [u8], password: &'a [u8]) -> Result<Credentials<'a>, DecodeError> {
    let user = std::str::from_utf8(user).map_err(|_| DecodeError::NotUtf8)?;
    Ok(Credentials { user, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: Credentials<'static> = Credentials { user: "guest", password: b"secret" };

    #[test]
    fn plain_is_three_parts() {
        assert_eq!(parse_plain(b"\0guest\0secret"), Ok(GUEST));
        assert_eq!(parse_plain(b"guest\0guest\0secret"), Ok(GUEST));
        for bad in [&b""[..], b"guest", b"\0guest", b"\0guest\0secret\0", b"root\0guest\0secret"] {
            assert!(matches!(parse_plain(bad), Err(DecodeError::Login { .. })), "{bad:?}");
        }
        assert_eq!(parse_plain(b"\0\xFF\0secret"), Err(DecodeError::NotUtf8));
    }

    #[test]
    fn amqplain_is_a_table() {
        let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret";
        assert_eq!(parse_amqplain(response), Ok(GUEST));
        assert_eq!(parse_amqplain(&response[..16]), Err(DecodeError::Login { wanted: "PASSWORD" }));
        assert_eq!(parse_amqplain(b"\x05LOGINt\x01"), Err(DecodeError::Login { wanted: "LOGIN" }));
        assert!(parse_amqplain(&response[..20]).is_err());
    }

    #[test]
    fn a_password_does_not_reach_the_log() {
        assert_eq!(format!("{GUEST:?}"), r#"Credentials { user: "guest", .. }"#);
    }
}
