//! Permissions: three patterns that names are held against.

use fancy_regex::{Regex, RegexBuilder, escape};

use super::Operation;

/// A pattern of a few dozen bytes may ask for gigabytes; this is what one may have.
const COMPILED_PATTERN_BYTES_MAX: usize = 1 << 20;

/// Steps back a pattern with look-around may take over one name; past it the name does not match.
const STEPS_BACK_MAX: usize = 100_000;

/// What a user may do in one virtual host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    pub configure: Pattern,
    pub write: Pattern,
    pub read: Pattern,
}

impl Permissions {
    pub fn parse(configure: &str, write: &str, read: &str) -> Result<Permissions, PatternError> {
        Ok(Permissions {
            configure: Pattern::parse(configure)?,
            write: Pattern::parse(write)?,
            read: Pattern::parse(read)?,
        })
    }

    /// Everything.
    pub fn all() -> Permissions {
        Permissions::parse(".*", ".*", ".*").expect("'.*' is a regular expression")
    }

    pub fn allow(&self, operation: Operation, name: &str) -> bool {
        match operation {
            Operation::Configure => self.configure.matches(name),
            Operation::Write => self.write.matches(name),
            Operation::Read => self.read.matches(name),
        }
    }
}

/// What a user may do with the routing keys of one topic exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPermissions {
    pub write: Pattern,
    pub read: Pattern,
}

impl TopicPermissions {
    /// `{username}` and `{vhost}` in the patterns stand for these names, letter by letter.
    pub fn parse(write: &str, read: &str, user: &str, vhost: &str) -> Result<TopicPermissions, PatternError> {
        let expand =
            |source: &str| source.replace("{username}", &escape(user)).replace("{vhost}", &escape(vhost));
        Ok(TopicPermissions {
            write: Pattern::with_source(write, &expand(write))?,
            read: Pattern::with_source(read, &expand(read))?,
        })
    }

    /// There is nothing to configure about a routing key.
    pub fn allow(&self, operation: Operation, key: &str) -> bool {
        match operation {
            Operation::Configure => false,
            Operation::Write => self.write.matches(key),
            Operation::Read => self.read.matches(key),
        }
    }
}

/// A regular expression that matches anywhere in a name unless it says otherwise. The empty pattern
/// matches only the empty name, and so in effect nothing. Look-around is understood, as RabbitMQ's
/// users write `^(?!secret)`.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: Box<str>,
    regex: Regex,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid pattern '{pattern}': {reason}")]
pub struct PatternError {
    pub pattern: String,
    pub reason: String,
}

impl Pattern {
    pub fn parse(source: &str) -> Result<Pattern, PatternError> {
        Pattern::with_source(source, source)
    }

    /// A pattern that was written as `source` and means `expanded`.
    fn with_source(source: &str, expanded: &str) -> Result<Pattern, PatternError> {
        let effective = if expanded.is_empty() { "^$" } else { expanded };
        let mut builder = RegexBuilder::new(effective);
        builder.delegate_size_limit(COMPILED_PATTERN_BYTES_MAX).backtrack_limit(STEPS_BACK_MAX);
        match builder.build() {
            Ok(regex) => Ok(Pattern { source: source.into(), regex }),
            Err(error) => Err(PatternError { pattern: source.to_owned(), reason: error.to_string() }),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name).unwrap_or(false)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_anywhere_unless_anchored() {
        check("order", &["order", "my.orders"], &["Order", ""]);
        check("^order$", &["order"], &["orders", "my.order"]);
        check("^(amq\\.gen.*|amq\\.default)$", &["amq.gen-x", "amq.default"], &["amq.direct"]);
        check(".*", &["", "anything"], &[]);
        check("^(?!secret)", &["order", "a.secret"], &["secret", "secret.order"]);
    }

    #[test]
    fn the_empty_pattern_allows_no_name() {
        check("", &[""], &["a", "amq.default"]);
        assert_eq!(Pattern::parse("").unwrap().as_str(), "");
    }

    #[test]
    fn a_pattern_that_is_broken_or_huge_is_refused() {
        assert!(Pattern::parse("(").is_err());
        assert!(Pattern::parse("((a{1000}){1000}){1000}").is_err());
        assert!(Pattern::parse("(?=b)((a{1000}){1000}){1000}").is_err());
    }

    #[test]
    fn a_pattern_that_would_take_forever_matches_nothing() {
        check("^(a|aa)+(?!c)\\1b$", &["aab"], &[&("a".repeat(200) + "c")]);
    }

    #[test]
    fn a_topic_pattern_knows_who_asks_and_takes_the_name_literally() {
        let permissions =
            TopicPermissions::parse("^{username}\\.", "^{vhost}-{username}$", "a.b", "v").unwrap();
        assert!(permissions.allow(Operation::Write, "a.b.orders"));
        assert!(!permissions.allow(Operation::Write, "axb.orders"));
        assert!(permissions.allow(Operation::Read, "v-a.b"));
        assert!(!permissions.allow(Operation::Read, "w-a.b"));
        assert_eq!(permissions.write.as_str(), "^{username}\\.");
        assert!(TopicPermissions::parse("(", "", "a", "v").is_err());
    }

    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let pattern = Pattern::parse(pattern).unwrap();
        for name in matching {
            assert!(pattern.matches(name), "{pattern:?} and '{name}'");
        }
        for name in others {
            assert!(!pattern.matches(name), "{pattern:?} and '{name}'");
        }
    }
}
