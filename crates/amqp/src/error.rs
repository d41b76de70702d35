use crate::reply::ReplyCode;

/// Why bytes of a peer could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{needed} bytes wanted where {left} are left")]
    Truncated { needed: usize, left: usize },
    #[error("{left} bytes follow the last field")]
    TrailingBytes { left: usize },
    #[error("unknown method {method} of class {class}")]
    UnknownMethod { class: u16, method: u16 },
    #[error("malformed UTF-8 in a short string")]
    NotUtf8,
    #[error("unknown type {letter:#04x} of a table field")]
    UnknownFieldType { letter: u8 },
    #[error("tables nested deeper than {depth_max} levels")]
    TooDeep { depth_max: usize },
    #[error("unknown property flags in {flags:#06x}")]
    UnknownPropertyFlags { flags: u16 },
    #[error("content header of weight {weight} instead of 0")]
    Weight { weight: u16 },
    #[error("unacceptable type in header '{name}', a list is expected")]
    HeaderIsNotAList { name: &'static str },
    #[error("login response without {wanted}")]
    Login { wanted: &'static str },
}

impl DecodeError {
    /// What the peer is told.
    pub fn reply_code(&self) -> ReplyCode {
        match *self {
            DecodeError::Truncated { .. }
            | DecodeError::TrailingBytes { .. }
            | DecodeError::UnknownPropertyFlags { .. }
            | DecodeError::Weight { .. } => ReplyCode::FrameError,
            DecodeError::NotUtf8
            | DecodeError::UnknownFieldType { .. }
            | DecodeError::TooDeep { .. }
            | DecodeError::Login { .. } => ReplyCode::SyntaxError,
            DecodeError::UnknownMethod { class: 10 | 20 | 30 | 40 | 50 | 60 | 85 | 90, .. } => {
                ReplyCode::CommandInvalid
            }
            DecodeError::UnknownMethod { .. } => ReplyCode::NotImplemented,
            DecodeError::HeaderIsNotAList { .. } => ReplyCode::PreconditionFailed,
        }
    }
}
