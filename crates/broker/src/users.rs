//! Users and their permissions, behind one lock that is only held for a look-up.

use cauce_core::access::{Access, AccessError, Operation, PasswordHash, Permissions, Resource, User};
use parking_lot::RwLock;

use crate::definitions::Change;
use crate::node::DEFAULT_VHOST;

pub const GUEST: &str = "guest";

#[derive(Debug, Default)]
pub struct Users(RwLock<Access>);

impl Users {
    pub fn authenticate(&self, name: &str, password: &[u8]) -> Result<(), AccessError> {
        self.0.read().authenticate(name, password).map(drop)
    }

    pub fn check_vhost(&self, user: &str, vhost: &str) -> Result<(), AccessError> {
        self.0.read().check_vhost(user, vhost)
    }

    pub fn check(
        &self,
        user: &str,
        vhost: &str,
        operation: Operation,
        resource: Resource<'_>,
    ) -> Result<(), AccessError> {
        self.0.read().check(user, vhost, operation, resource)
    }

    /// Whether the user carries this tag.
    pub fn has_tag(&self, user: &str, tag: &str) -> bool {
        self.0.read().user(user).is_some_and(|user| user.has_tag(tag))
    }

    /// The user every newcomer knows; it may log in from this machine only.
    pub(crate) fn add_guest(&self, random: [u8; 8]) {
        let salt = *random.first_chunk::<4>().expect("eight bytes hold four");
        let mut access = self.0.write();
        access.put_user(User {
            name: GUEST.into(),
            password_hash: PasswordHash::with_salt(salt, GUEST.as_bytes()),
            tags: vec!["administrator".into()],
        });
        access.grant(GUEST, DEFAULT_VHOST, Permissions::all()).expect("the user was just added");
    }

    /// Applies a change from disk; one that is not about users changes nothing.
    pub(crate) fn apply(&self, change: Change) {
        let mut access = self.0.write();
        match change {
            Change::User { name, password_hash, tags } => {
                let password_hash =
                    PasswordHash::from_base64(&password_hash).unwrap_or_else(|_| PasswordHash::locked());
                access.put_user(User { name: name.into(), password_hash, tags });
            }
            Change::UserGone { name } => drop(access.remove_user(&name)),
            Change::Permissions { user, vhost, configure, write, read } => {
                if let Ok(permissions) = Permissions::parse(&configure, &write, &read) {
                    let _ = access.grant(&user, &vhost, permissions);
                }
            }
            Change::PermissionsGone { user, vhost } => drop(access.revoke(&user, &vhost)),
            _ => {}
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<Change> {
        let access = self.0.read();
        let users = access.users().map(|user| Change::User {
            name: user.name.to_string(),
            password_hash: user.password_hash.to_base64(),
            tags: user.tags.clone(),
        });
        let permissions = access.all_permissions().map(|(user, vhost, permissions)| Change::Permissions {
            user: user.to_owned(),
            vhost: vhost.to_owned(),
            configure: permissions.configure.as_str().to_owned(),
            write: permissions.write.as_str().to_owned(),
            read: permissions.read.as_str().to_owned(),
        });
        users.chain(permissions).collect()
    }
}
