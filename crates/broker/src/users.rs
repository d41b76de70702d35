//! Users and their permissions, behind one lock that is only held for a look-up.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use cauce_core::access::{Access, AccessError, Operation, Permissions, Resource};
use parking_lot::RwLock;

use crate::definitions::Change;

pub const GUEST: &str = "guest";

/// Of a name that anybody may make up, so much goes to the log.
const LOGGED_CHARS_MAX: usize = 64;

/// A salt for a password that is new, from the hash keys the system made random.
pub fn random_salt() -> [u8; 4] {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let number = RandomState::new().build_hasher().finish();
    *number.to_be_bytes().first_chunk().expect("eight bytes hold four")
}

/// Why somebody is not let in. Clients hear less than that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefusal {
    #[error("user '{user}' can only connect via localhost")]
    LoopbackOnly { user: String },
    #[error("user '{user}' - invalid credentials")]
    Credentials { user: String },
}

/// Whether somebody speaks from this machine.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[derive(Debug)]
pub struct Users {
    access: RwLock<Access>,
    /// Grows with every change; what was allowed in another generation has to be asked again.
    generation: AtomicU64,
    /// Who may log in from this machine only.
    loopback_only: RwLock<Vec<String>>,
}

impl Users {
    pub(crate) fn new(access: Access) -> Users {
        let loopback_only = RwLock::new(vec![GUEST.to_owned()]);
        Users { access: RwLock::new(access), generation: AtomicU64::new(0), loopback_only }
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn authenticate(&self, name: &str, password: &[u8]) -> Result<(), AccessError> {
        self.access.read().authenticate(name, password).map(drop)
    }

    /// Whether somebody at this address may go by that name.
    pub fn log_in(&self, name: &str, password: &[u8], from: IpAddr) -> Result<(), LoginRefusal> {
        let user = || name.chars().take(LOGGED_CHARS_MAX).collect();
        // Asked first: from afar nobody learns whether a password is right.
        if self.is_loopback_only(name) && !is_loopback(from) {
            return Err(LoginRefusal::LoopbackOnly { user: user() });
        }
        self.authenticate(name, password).map_err(|_| LoginRefusal::Credentials { user: user() })
    }

    /// Instead of `guest` alone.
    pub fn set_loopback_only(&self, users: Vec<String>) {
        *self.loopback_only.write() = users;
    }

    fn is_loopback_only(&self, name: &str) -> bool {
        self.loopback_only.read().iter().any(|user| user == name)
    }

    pub fn check_vhost(&self, user: &str, vhost: &str) -> Result<(), AccessError> {
        self.access.read().check_vhost(user, vhost)
    }

    pub fn check(
        &self,
        user: &str,
        vhost: &str,
        operation: Operation,
        resource: Resource<'_>,
    ) -> Result<(), AccessError> {
        self.access.read().check(user, vhost, operation, resource)
    }

    /// Whether a user may do this with what has that name.
    pub fn allows(&self, user: &str, vhost: &str, operation: Operation, name: &str) -> bool {
        self.access.read().allows(user, vhost, operation, name)
    }

    pub fn permissions(&self, user: &str, vhost: &str) -> Option<Permissions> {
        self.access.read().permissions(user, vhost).cloned()
    }

    /// For routing keys of topic exchanges, beside the exchange itself.
    pub fn check_topic(
        &self,
        user: &str,
        vhost: &str,
        operation: Operation,
        exchange: &str,
        key: &str,
    ) -> Result<(), AccessError> {
        self.access.read().check_topic(user, vhost, operation, exchange, key)
    }

    /// Whether the user carries this tag.
    pub fn has_tag(&self, user: &str, tag: &str) -> bool {
        self.access.read().user(user).is_some_and(|user| user.has_tag(tag))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.access.read().users().next().is_none()
    }

    /// Changes users under their lock, so that changes can be kept in the order they were made.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Access) -> T) -> T {
        let mut access = self.access.write();
        let outcome = change(&mut access);
        self.generation.fetch_add(1, Ordering::Release);
        outcome
    }

    pub(crate) fn access(&self) -> Access {
        self.access.read().clone()
    }

    pub(crate) fn snapshot(&self) -> Vec<Change> {
        let access = self.access.read();
        let users = access.users().map(Change::user);
        let permissions = access
            .all_permissions()
            .map(|(user, vhost, permissions)| Change::permissions(user, vhost, permissions));
        let topic_permissions = access.all_topic_permissions().map(|(user, vhost, exchange, permissions)| {
            Change::topic_permissions(user, vhost, exchange, permissions)
        });
        users.chain(permissions).chain(topic_permissions).collect()
    }
}
