//! A user as definitions describe it.

use super::PasswordHash;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: Box<str>,
    pub password_hash: PasswordHash,
    /// What the user may do in the management pages, such as "administrator"; other tags are kept.
    pub tags: Vec<String>,
}

impl User {
    pub fn is_administrator(&self) -> bool {
        self.has_tag("administrator")
    }

    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_whole_word() {
        let tags = vec!["management".to_owned(), "administrators".to_owned()];
        let user = User { name: "ana".into(), password_hash: PasswordHash::locked(), tags };
        assert!(user.has_tag("management"));
        assert!(!user.is_administrator());
    }
}
