//! Who may do what: users, their passwords, and their permissions in each virtual host.

mod password;
mod permission;
mod user;

use std::collections::BTreeMap;
use std::fmt;

pub use password::{PasswordAlgorithm, PasswordError, PasswordHash};
pub use permission::{Pattern, PatternError, Permissions, TopicPermissions};
pub use user::User;

/// Every user and permission of the broker.
#[derive(Debug, Clone, Default)]
pub struct Access {
    users: BTreeMap<Box<str>, User>,
    /// By user, then by virtual host.
    permissions: BTreeMap<Box<str>, BTreeMap<Box<str>, Permissions>>,
    /// By user. Whoever has none for an exchange may use any key.
    topic_permissions: BTreeMap<Box<str>, ByExchange>,
}

/// By virtual host and exchange.
type ByExchange = BTreeMap<(Box<str>, Box<str>), TopicPermissions>;

/// What somebody wants to do with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Configure,
    Write,
    Read,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    Exchange(&'a str),
    Queue(&'a str),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Unknown user and wrong password look the same on purpose.
    #[error("login refused for user '{user}'")]
    LoginRefused { user: String },
    #[error("no user '{user}'")]
    NoSuchUser { user: String },
    #[error("access to vhost '{vhost}' refused for user '{user}'")]
    VhostRefused { user: String, vhost: String },
    #[error("{operation} access to {resource} in vhost '{vhost}' refused for user '{user}'")]
    Refused { user: String, vhost: String, operation: Operation, resource: String },
    #[error(
        "{operation} access to topic '{key}' in exchange '{exchange}' in vhost '{vhost}' refused \
         for user '{user}'"
    )]
    TopicRefused { user: String, vhost: String, operation: Operation, exchange: String, key: String },
}

impl Access {
    pub fn new() -> Access {
        Access::default()
    }

    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// Adds the user, or replaces the one of that name and keeps its permissions.
    pub fn put_user(&mut self, user: User) {
        self.users.insert(user.name.clone(), user);
    }

    /// Removes the user with all its permissions.
    pub fn remove_user(&mut self, name: &str) -> Option<User> {
        self.permissions.remove(name);
        self.topic_permissions.remove(name);
        self.users.remove(name)
    }

    pub fn authenticate(&self, name: &str, password: &[u8]) -> Result<&User, AccessError> {
        let user = self.users.get(name).filter(|user| user.password_hash.verify(password));
        user.ok_or_else(|| AccessError::LoginRefused { user: name.to_owned() })
    }

    pub fn permissions(&self, user: &str, vhost: &str) -> Option<&Permissions> {
        self.permissions.get(user)?.get(vhost)
    }

    /// Every user, virtual host and what the one may do in the other.
    pub fn all_permissions(&self) -> impl Iterator<Item = (&str, &str, &Permissions)> {
        self.permissions.iter().flat_map(|(user, vhosts)| {
            vhosts.iter().map(|(vhost, permissions)| (&**user, &**vhost, permissions))
        })
    }

    pub fn grant(&mut self, user: &str, vhost: &str, permissions: Permissions) -> Result<(), AccessError> {
        if !self.users.contains_key(user) {
            return Err(AccessError::NoSuchUser { user: user.to_owned() });
        }
        self.permissions.entry(user.into()).or_default().insert(vhost.into(), permissions);
        Ok(())
    }

    pub fn revoke(&mut self, user: &str, vhost: &str) -> Option<Permissions> {
        self.permissions.get_mut(user)?.remove(vhost)
    }

    /// Forgets the permissions everybody had in a virtual host that is gone.
    pub fn remove_vhost(&mut self, vhost: &str) {
        self.permissions.values_mut().for_each(|vhosts| drop(vhosts.remove(vhost)));
        for exchanges in self.topic_permissions.values_mut() {
            exchanges.retain(|(of, _), _| **of != *vhost);
        }
    }

    pub fn topic_permissions(&self, user: &str, vhost: &str, exchange: &str) -> Option<&TopicPermissions> {
        self.topic_permissions.get(user)?.get(&(vhost.into(), exchange.into()))
    }

    /// Every user, virtual host, exchange and what the first may do with keys of the last.
    pub fn all_topic_permissions(&self) -> impl Iterator<Item = (&str, &str, &str, &TopicPermissions)> {
        self.topic_permissions.iter().flat_map(|(user, exchanges)| {
            exchanges
                .iter()
                .map(|((vhost, exchange), permissions)| (&**user, &**vhost, &**exchange, permissions))
        })
    }

    pub fn grant_topic(
        &mut self,
        user: &str,
        vhost: &str,
        exchange: &str,
        permissions: TopicPermissions,
    ) -> Result<(), AccessError> {
        if !self.users.contains_key(user) {
            return Err(AccessError::NoSuchUser { user: user.to_owned() });
        }
        let exchanges = self.topic_permissions.entry(user.into()).or_default();
        exchanges.insert((vhost.into(), exchange.into()), permissions);
        Ok(())
    }

    pub fn revoke_topic(&mut self, user: &str, vhost: &str, exchange: &str) -> Option<TopicPermissions> {
        self.topic_permissions.get_mut(user)?.remove(&(vhost.into(), exchange.into()))
    }

    /// A user may enter the virtual hosts it has permissions in, even if these allow nothing.
    pub fn check_vhost(&self, user: &str, vhost: &str) -> Result<(), AccessError> {
        match self.permissions(user, vhost) {
            Some(_) => Ok(()),
            None => Err(AccessError::VhostRefused { user: user.to_owned(), vhost: vhost.to_owned() }),
        }
    }

    pub fn check(
        &self,
        user: &str,
        vhost: &str,
        operation: Operation,
        resource: Resource<'_>,
    ) -> Result<(), AccessError> {
        if self.allows(user, vhost, operation, resource.checked_name()) {
            return Ok(());
        }
        Err(AccessError::Refused {
            user: user.to_owned(),
            vhost: vhost.to_owned(),
            operation,
            resource: resource.to_string(),
        })
    }

    /// The same for whatever has a name.
    pub fn allows(&self, user: &str, vhost: &str, operation: Operation, name: &str) -> bool {
        self.permissions(user, vhost).is_some_and(|permissions| permissions.allow(operation, name))
    }

    /// Whether the user may use this routing key of a topic exchange it may otherwise use.
    pub fn check_topic(
        &self,
        user: &str,
        vhost: &str,
        operation: Operation,
        exchange: &str,
        key: &str,
    ) -> Result<(), AccessError> {
        match self.topic_permissions(user, vhost, exchange) {
            Some(permissions) if !permissions.allow(operation, key) => Err(AccessError::TopicRefused {
                user: user.to_owned(),
                vhost: vhost.to_owned(),
                operation,
                exchange: exchange.to_owned(),
                key: key.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl Resource<'_> {
    /// The default exchange has no name to write a pattern for, so it borrows one.
    fn checked_name(&self) -> &str {
        match self {
            Resource::Exchange("") => "amq.default",
            Resource::Exchange(name) | Resource::Queue(name) => name,
        }
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.checked_name();
        match self {
            Resource::Exchange(_) => write!(out, "exchange '{name}'"),
            Resource::Queue(_) => write!(out, "queue '{name}'"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Operation::Configure => "configure",
            Operation::Write => "write",
            Operation::Read => "read",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_needs_the_right_password_and_says_no_more_than_that() {
        let access = with_ana();
        assert_eq!(&*access.authenticate("ana", b"secret").unwrap().name, "ana");
        let wrong = access.authenticate("ana", b"Secret").unwrap_err();
        let unknown = access.authenticate("eva", b"secret").unwrap_err();
        assert_eq!(wrong.to_string(), "login refused for user 'ana'");
        assert_eq!(unknown.to_string(), "login refused for user 'eva'");
    }

    #[test]
    fn each_operation_asks_its_own_pattern() {
        let mut access = with_ana();
        access.grant("ana", "/", Permissions::parse("^ana-", "^shop", "").unwrap()).unwrap();
        let check = |operation, resource| access.check("ana", "/", operation, resource);
        assert!(check(Operation::Configure, Resource::Queue("ana-1")).is_ok());
        assert!(check(Operation::Write, Resource::Exchange("shop.orders")).is_ok());
        let error = check(Operation::Read, Resource::Queue("ana-1")).unwrap_err();
        assert_eq!(error.to_string(), "read access to queue 'ana-1' in vhost '/' refused for user 'ana'");
    }

    #[test]
    fn the_default_exchange_is_known_as_amq_default() {
        let mut access = with_ana();
        access.grant("ana", "/", Permissions::parse("", "^amq\\.default$", "").unwrap()).unwrap();
        assert!(access.check("ana", "/", Operation::Write, Resource::Exchange("")).is_ok());
        access.grant("ana", "/", Permissions::parse("", "", "").unwrap()).unwrap();
        assert!(access.check("ana", "/", Operation::Write, Resource::Exchange("")).is_err());
    }

    #[test]
    fn a_vhost_is_closed_without_permissions_in_it() {
        let mut access = with_ana();
        access.grant("ana", "/", Permissions::all()).unwrap();
        assert!(access.check_vhost("ana", "/").is_ok());
        assert!(access.check_vhost("ana", "other").is_err());
        access.revoke("ana", "/");
        assert!(access.check_vhost("ana", "/").is_err());
    }

    #[test]
    fn a_user_takes_its_permissions_along() {
        let mut access = with_ana();
        access.grant("ana", "/", Permissions::all()).unwrap();
        access.remove_user("ana");
        assert_eq!(access.all_permissions().count(), 0);
        assert!(access.grant("ana", "/", Permissions::all()).is_err());
    }

    #[test]
    fn a_key_is_free_until_somebody_restricts_the_keys_of_its_exchange() {
        let mut access = with_ana();
        let check = |access: &Access, operation, exchange| {
            access
                .check_topic("ana", "/", operation, exchange, "eu.orders")
                .map_err(|error| error.to_string())
        };
        assert_eq!(check(&access, Operation::Write, "amq.topic"), Ok(()));
        let permissions = TopicPermissions::parse("^us\\.", ".*", "ana", "/").unwrap();
        access.grant_topic("ana", "/", "amq.topic", permissions).unwrap();
        let text =
            "write access to topic 'eu.orders' in exchange 'amq.topic' in vhost '/' refused for user 'ana'";
        assert_eq!(check(&access, Operation::Write, "amq.topic"), Err(text.to_owned()));
        assert_eq!(check(&access, Operation::Read, "amq.topic"), Ok(()));
        assert_eq!(check(&access, Operation::Write, "other"), Ok(()));
        access.remove_vhost("/");
        assert_eq!(check(&access, Operation::Write, "amq.topic"), Ok(()));
    }

    fn with_ana() -> Access {
        let mut access = Access::new();
        let password_hash = PasswordHash::with_salt([1, 2, 3, 4], b"secret");
        access.put_user(User { name: "ana".into(), password_hash, tags: Vec::new() });
        access
    }
}
