//! Direct: the binding key is the routing key.

use super::{Destination, Map, Targets};

#[derive(Debug, Default)]
pub(crate) struct Direct {
    by_key: Map<Box<str>, Targets>,
}

impl Direct {
    pub(crate) fn insert(&mut self, key: &str, destination: &Destination) {
        self.by_key.entry(key.into()).or_default().insert(destination);
    }

    pub(crate) fn remove(&mut self, key: &str, destination: &Destination) {
        let Some(targets) = self.by_key.get_mut(key) else {
            return;
        };
        targets.remove(destination);
        if targets.is_empty() {
            self.by_key.remove(key);
        }
    }

    pub(crate) fn route<'a>(&'a self, key: &str, found: &mut dyn FnMut(&'a Destination)) {
        if let Some(targets) = self.by_key.get(key) {
            targets.each(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::names_found;
    use super::*;

    #[test]
    fn a_key_reaches_exactly_the_queues_bound_with_it() {
        let mut direct = Direct::default();
        direct.insert("red", &Destination::queue("a"));
        direct.insert("red", &Destination::queue("b"));
        direct.insert("blue", &Destination::queue("b"));
        assert_eq!(names_found(|found| direct.route("red", found)), ["a", "b"]);
        assert_eq!(names_found(|found| direct.route("blue", found)), ["b"]);
        assert!(names_found(|found| direct.route("re", found)).is_empty());
    }

    #[test]
    fn a_destination_bound_twice_needs_two_removals() {
        let mut direct = Direct::default();
        direct.insert("red", &Destination::queue("a"));
        direct.insert("red", &Destination::queue("a"));
        direct.remove("red", &Destination::queue("a"));
        assert_eq!(names_found(|found| direct.route("red", found)), ["a"]);
        direct.remove("red", &Destination::queue("a"));
        assert!(direct.by_key.is_empty());
    }
}
