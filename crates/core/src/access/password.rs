//! Passwords as RabbitMQ's definitions hold them, so that users move over with theirs.
//!
//! ```text
//! base64 ( salt: 4 bytes | hash ( salt | password ): 32, 64 or 16 bytes )
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

const SALT_BYTES: usize = 4;

/// A salted hash, or none: then no password is right.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    algorithm: PasswordAlgorithm,
    /// Salt and hash; empty if no password is right.
    bytes: Box<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordAlgorithm {
    Sha256,
    Sha512,
    /// What RabbitMQ used before 3.6; its users still come along.
    Md5,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("the password hash is not base64")]
    NotBase64,
    #[error("a password hash of {bytes} bytes is not 4 bytes of salt and 32, 64 or 16 of a hash")]
    Length { bytes: usize },
    #[error("the password hash is one of {found} by its length")]
    Algorithm { found: &'static str },
}

impl PasswordAlgorithm {
    pub const ALL: [PasswordAlgorithm; 3] =
        [PasswordAlgorithm::Sha256, PasswordAlgorithm::Sha512, PasswordAlgorithm::Md5];

    /// The algorithm of that name.
    pub fn parse(name: &str) -> Option<PasswordAlgorithm> {
        PasswordAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The name definitions use.
    pub fn name(self) -> &'static str {
        match self {
            PasswordAlgorithm::Sha256 => "rabbit_password_hashing_sha256",
            PasswordAlgorithm::Sha512 => "rabbit_password_hashing_sha512",
            PasswordAlgorithm::Md5 => "rabbit_password_hashing_md5",
        }
    }

    fn hash(self, salt: &[u8], password: &[u8]) -> Box<[u8]> {
        match self {
            PasswordAlgorithm::Sha256 => salted::<Sha256>(salt, password),
            PasswordAlgorithm::Sha512 => salted::<Sha512>(salt, password),
            PasswordAlgorithm::Md5 => salted::<Md5>(salt, password),
        }
    }
}

impl PasswordHash {
    /// Hashes with SHA-256. Draw the salt at random for every password.
    pub fn with_salt(salt: [u8; SALT_BYTES], password: &[u8]) -> PasswordHash {
        PasswordHash::with_algorithm(PasswordAlgorithm::Sha256, salt, password)
    }

    pub fn with_algorithm(
        algorithm: PasswordAlgorithm,
        salt: [u8; SALT_BYTES],
        password: &[u8],
    ) -> PasswordHash {
        PasswordHash { algorithm, bytes: algorithm.hash(&salt, password) }
    }

    /// No password is right.
    pub fn locked() -> PasswordHash {
        PasswordHash { algorithm: PasswordAlgorithm::Sha256, bytes: Box::default() }
    }

    /// The length tells the algorithm; nothing at all is a locked user.
    pub fn from_base64(text: &str) -> Result<PasswordHash, PasswordError> {
        let bytes = STANDARD.decode(text).map_err(|_| PasswordError::NotBase64)?;
        let algorithm = match bytes.len() {
            0 => return Ok(PasswordHash::locked()),
            36 => PasswordAlgorithm::Sha256,
            68 => PasswordAlgorithm::Sha512,
            20 => PasswordAlgorithm::Md5,
            bytes => return Err(PasswordError::Length { bytes }),
        };
        Ok(PasswordHash { algorithm, bytes: bytes.into() })
    }

    /// The same, where somebody says which algorithm it is.
    pub fn from_base64_of(algorithm: PasswordAlgorithm, text: &str) -> Result<PasswordHash, PasswordError> {
        let hash = PasswordHash::from_base64(text)?;
        if hash.is_locked() || hash.algorithm == algorithm {
            return Ok(PasswordHash { algorithm, ..hash });
        }
        Err(PasswordError::Algorithm { found: hash.algorithm.name() })
    }

    pub fn is_locked(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    pub fn algorithm(&self) -> PasswordAlgorithm {
        self.algorithm
    }

    /// Takes the same time wherever the hashes differ. A blank password is never right, as somebody
    /// may have stored one by mistake.
    pub fn verify(&self, password: &[u8]) -> bool {
        let Some((salt, _)) = self.bytes.split_at_checked(SALT_BYTES) else {
            return false;
        };
        same_in_constant_time(&self.algorithm.hash(salt, password), &self.bytes) && !password.is_empty()
    }
}

/// Keeps hashes out of logs.
impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "PasswordHash({})", self.algorithm.name())
    }
}

fn salted<D: Digest>(salt: &[u8], password: &[u8]) -> Box<[u8]> {
    let hash = D::new().chain_update(salt).chain_update(password).finalize();
    [salt, &hash].concat().into()
}

fn same_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    let differing = left.iter().zip(right).fold(0, |bits, (left, right)| bits | (left ^ right));
    left.len() == right.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rabbitmqs_documentation_comes_out_the_same() {
        // "test12" with the salt 90 8D C6 0A.
        let hash = PasswordHash::with_salt([0x90, 0x8d, 0xc6, 0x0a], b"test12");
        assert_eq!(hash.to_base64(), "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR");
    }

    #[test]
    fn a_hash_comes_back_from_its_text_and_knows_its_password() {
        for algorithm in PasswordAlgorithm::ALL {
            assert_eq!(PasswordAlgorithm::parse(algorithm.name()), Some(algorithm));
            let hash = PasswordHash::with_algorithm(algorithm, [9, 8, 7, 6], "contraseña".as_bytes());
            let back = PasswordHash::from_base64(&hash.to_base64()).unwrap();
            assert_eq!(back, hash);
            assert_eq!(back.algorithm(), algorithm);
            assert_eq!(PasswordHash::from_base64_of(algorithm, &hash.to_base64()).as_ref(), Ok(&hash));
            assert!(back.verify("contraseña".as_bytes()));
            assert!(!back.verify(b"contrasena"));
        }
    }

    #[test]
    fn a_locked_user_and_a_blank_password_never_get_in() {
        let locked = PasswordHash::from_base64("").unwrap();
        assert_eq!(locked, PasswordHash::locked());
        assert!(!locked.verify(b"") && !locked.verify(b"secret"));
        assert!(!PasswordHash::with_salt([0; 4], b"").verify(b""));
    }

    #[test]
    fn text_that_is_no_hash_is_refused() {
        assert_eq!(PasswordHash::from_base64("not base64!"), Err(PasswordError::NotBase64));
        assert_eq!(PasswordHash::from_base64("AAAA"), Err(PasswordError::Length { bytes: 3 }));
        let text = PasswordHash::with_salt([1; 4], b"secret").to_base64();
        let error = PasswordHash::from_base64_of(PasswordAlgorithm::Md5, &text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the password hash is one of rabbit_password_hashing_sha256 by its length"
        );
    }

    #[test]
    fn a_hash_does_not_show_in_debug_output() {
        let shown = format!("{:?}", PasswordHash::with_salt([1; 4], b"secret"));
        assert_eq!(shown, "PasswordHash(rabbit_password_hashing_sha256)");
    }
}
