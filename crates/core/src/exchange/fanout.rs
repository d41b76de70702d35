//! Fanout: every binding matches, whatever the key.

use super::{Destination, Targets};

#[derive(Debug, Default)]
pub(crate) struct Fanout {
    targets: Targets,
}

impl Fanout {
    pub(crate) fn insert(&mut self, destination: &Destination) {
        self.targets.insert(destination);
    }

    pub(crate) fn remove(&mut self, destination: &Destination) {
        self.targets.remove(destination);
    }

    pub(crate) fn route<'a>(&'a self, found: &mut dyn FnMut(&'a Destination)) {
        self.targets.each(found);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::names_found;
    use super::*;

    #[test]
    fn everyone_bound_gets_it_until_unbound_as_often_as_bound() {
        let mut fanout = Fanout::default();
        for name in ["a", "b", "b"] {
            fanout.insert(&Destination::queue(name));
        }
        fanout.remove(&Destination::queue("b"));
        assert_eq!(names_found(|found| fanout.route(found)), ["a", "b"]);
        fanout.remove(&Destination::queue("b"));
        assert_eq!(names_found(|found| fanout.route(found)), ["a"]);
    }
}
