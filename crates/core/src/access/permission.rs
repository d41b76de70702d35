//! Permissions: three patterns that names are held against.

use regex::{Regex, RegexBuilder};

use super::Operation;

/// A pattern of a few dozen bytes may ask for gigabytes; this is what one may have.
const COMPILED_PATTERN_BYTES_MAX: usize = 1 << 20;

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

/// A regular expression that matches anywhere in a name unless it says otherwise. The empty pattern
/// matches only the empty name, and so in effect nothing.
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
        let effective = if source.is_empty() { "^$" } else { source };
        let built = RegexBuilder::new(effective).size_limit(COMPILED_PATTERN_BYTES_MAX).build();
        match built {
            Ok(regex) => Ok(Pattern { source: source.into(), regex }),
            Err(error) => Err(PatternError { pattern: source.to_owned(), reason: error.to_string() }),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
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
