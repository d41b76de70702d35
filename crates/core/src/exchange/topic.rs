//! Topic: keys are words between dots; in a binding `*` is any one word and `#` any number of them.
//!
//! Bindings form a trie of words. Routing walks it once, carrying for each node the *set* of places
//! in the key it can have been reached at. So no node is visited twice for one key, however many `#`
//! a binding has, and bindings that do not match cost nothing beyond the words they share.

use super::{Destination, Map, Targets};

#[derive(Debug, Default)]
pub(crate) struct Topic {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    words: Map<Box<str>, Node>,
    /// The `*` child.
    one: Option<Box<Node>>,
    /// The `#` child.
    any: Option<Box<Node>>,
    /// Bindings that end here.
    targets: Targets,
}

impl Topic {
    pub(crate) fn insert(&mut self, pattern: &str, destination: &Destination) {
        let end = words(pattern).fold(&mut self.root, |node, word| node.child_or_new(word));
        end.targets.insert(destination);
    }

    pub(crate) fn remove(&mut self, pattern: &str, destination: &Destination) {
        self.root.remove(&mut words(pattern), destination);
    }

    pub(crate) fn route<'a>(&'a self, key: &str, found: &mut dyn FnMut(&'a Destination)) {
        self.walk(key, found);
    }

    /// Routes and says how many nodes it looked at.
    fn walk<'a>(&'a self, key: &str, found: &mut dyn FnMut(&'a Destination)) -> usize {
        let words: Vec<&str> = words(key).collect();
        let mut walk = Walk { words: &words, visited: 0, found };
        walk.visit(&self.root, &[0]);
        walk.visited
    }
}

impl Node {
    fn child_or_new(&mut self, word: &str) -> &mut Node {
        match word {
            "*" => self.one.get_or_insert_default(),
            "#" => self.any.get_or_insert_default(),
            _ => self.words.entry(word.into()).or_default(),
        }
    }

    /// Removes the destination at the end of `pattern`, and the nodes nothing hangs on any more.
    fn remove<'p>(&mut self, pattern: &mut impl Iterator<Item = &'p str>, destination: &Destination) {
        let Some(word) = pattern.next() else {
            return self.targets.remove(destination);
        };
        match word {
            "*" => remove_below(&mut self.one, pattern, destination),
            "#" => remove_below(&mut self.any, pattern, destination),
            _ => {
                let Some(child) = self.words.get_mut(word) else {
                    return;
                };
                child.remove(pattern, destination);
                if child.is_bare() {
                    self.words.remove(word);
                }
            }
        }
    }

    fn is_bare(&self) -> bool {
        self.words.is_empty() && self.one.is_none() && self.any.is_none() && self.targets.is_empty()
    }
}

fn remove_below<'p>(
    child: &mut Option<Box<Node>>,
    pattern: &mut impl Iterator<Item = &'p str>,
    destination: &Destination,
) {
    let Some(node) = child else { return };
    node.remove(pattern, destination);
    if node.is_bare() {
        *child = None;
    }
}

/// One routing: places are indexes into `words`, and `words.len()` is the end of the key.
struct Walk<'a, 'k, 'f> {
    words: &'k [&'k str],
    visited: usize,
    found: &'f mut dyn FnMut(&'a Destination),
}

impl<'a> Walk<'a, '_, '_> {
    /// `places` ascends and is never empty.
    fn visit(&mut self, node: &'a Node, places: &[usize]) {
        self.visited += 1;
        let end = self.words.len();
        if places.last() == Some(&end) {
            node.targets.each(self.found);
        }
        if let Some(any) = &node.any {
            let onwards: Vec<usize> = (places[0]..=end).collect();
            self.visit(any, &onwards);
        }
        let inside = places.strip_suffix(&[end]).unwrap_or(places);
        if let Some(one) = &node.one {
            self.visit_after(one, inside.iter());
        }
        if !node.words.is_empty() {
            self.visit_words(node, inside);
        }
    }

    /// Goes down by each different word that stands at one of the places.
    fn visit_words(&mut self, node: &'a Node, places: &[usize]) {
        for (index, &place) in places.iter().enumerate() {
            let word = self.words[place];
            if places[..index].iter().any(|&earlier| self.words[earlier] == word) {
                continue;
            }
            let Some(child) = node.words.get(word) else {
                continue;
            };
            let words = self.words;
            self.visit_after(child, places[index..].iter().filter(|&&later| words[later] == word));
        }
    }

    /// Visits a node one word further on. With no `#` above there is only one place, and no list.
    fn visit_after<'p>(&mut self, node: &'a Node, mut places: impl Iterator<Item = &'p usize>) {
        let Some(first) = places.next() else { return };
        let Some(second) = places.next() else {
            return self.visit(node, &[first + 1]);
        };
        let all = [first, second].into_iter().chain(places);
        let onwards: Vec<usize> = all.map(|place| place + 1).collect();
        self.visit(node, &onwards);
    }
}

/// The words of a key. The empty key has none, so `#` matches it and `*` does not; between two dots
/// there is an empty word.
fn words(key: &str) -> impl Iterator<Item = &str> {
    let words = if key.is_empty() { None } else { Some(key.split('.')) };
    words.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::names_found;
    use super::*;

    #[test]
    fn star_is_one_word_and_hash_any_number() {
        check("*.orange.*", &["quick.orange.rabbit"], &["quick.orange", "orange", "a.b.orange.c", ""]);
        check("lazy.#", &["lazy", "lazy.a", "lazy.a.b.c"], &["a.lazy", "lazyy", ""]);
        check("#", &["", "a", "a.b.c", "..."], &[]);
        check("*", &["a", "b"], &["", "a.b"]);
        check("#.b.#", &["b", "a.b", "b.c", "a.b.c", "b.b"], &["a", ""]);
        check("a.#.#.c", &["a.c", "a.b.c", "a.b.b.c"], &["a", "c", "a.c.d"]);
        check("#.*", &["a", "a.b"], &[""]);
        check("", &[""], &["a", "."]);
        check("a..b", &["a..b"], &["a.b", "a.x.b"]);
        check("*.*", &[".", "a.", "a.b"], &["a", "a.b.c"]);
    }

    #[test]
    fn bindings_that_do_not_match_are_not_looked_at() {
        let mut topic = Topic::default();
        for n in 0..100_000 {
            topic.insert(&format!("order.{n}.*.created"), &Destination::queue("other"));
        }
        topic.insert("payment.#", &Destination::queue("mine"));
        assert!(topic.walk("payment.card.accepted", &mut |_| {}) <= 3);
        assert!(topic.walk("order.77.eu.created", &mut |_| {}) <= 5);
        assert!(topic.walk("invoice.77.eu.created", &mut |_| {}) <= 1);
    }

    #[test]
    fn many_hashes_visit_each_node_once() {
        let mut topic = Topic::default();
        topic.insert(&["#.a"; 60].join("."), &Destination::queue("q"));
        topic.insert(&["#"; 120].join("."), &Destination::queue("r"));
        let key = ["a"; 120].join(".");
        assert!(topic.walk(&key, &mut |_| {}) <= 1 + 2 * 60 + 120);
        assert_eq!(names_found(|found| topic.route(&key, found)), ["q", "r"]);
    }

    #[test]
    fn what_is_removed_leaves_no_nodes_behind() {
        let mut topic = Topic::default();
        for pattern in ["a.b", "a.*.c", "#.d", "a"] {
            topic.insert(pattern, &Destination::queue("q"));
        }
        for pattern in ["a", "#.d", "a.*.c", "never.bound"] {
            topic.remove(pattern, &Destination::queue("q"));
        }
        assert_eq!(names_found(|found| topic.route("a.b", found)), ["q"]);
        topic.remove("a.b", &Destination::queue("q"));
        assert!(topic.root.is_bare());
    }

    proptest! {
        #[test]
        fn the_trie_agrees_with_reading_each_binding(
            bound in prop::collection::vec((pattern(), 0..4u8), 0..12),
            removed in prop::collection::vec(any::<bool>(), 12),
            keys in prop::collection::vec(key(), 1..8),
        ) {
            let mut topic = Topic::default();
            for (pattern, queue) in &bound {
                topic.insert(pattern, &Destination::queue(&queue.to_string()));
            }
            let mut kept = Vec::new();
            for ((pattern, queue), gone) in bound.iter().zip(&removed) {
                if *gone {
                    topic.remove(pattern, &Destination::queue(&queue.to_string()));
                } else {
                    kept.push((pattern, queue.to_string()));
                }
            }
            for key in &keys {
                let mut expected: Vec<String> = kept
                    .iter()
                    .filter(|(pattern, _)| matches_naively(pattern, key))
                    .map(|(_, queue)| queue.clone())
                    .collect();
                expected.sort();
                expected.dedup();
                prop_assert_eq!(names_found(|found| topic.route(key, found)), expected);
            }
        }
    }

    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let mut topic = Topic::default();
        topic.insert(pattern, &Destination::queue("q"));
        for key in matching {
            assert_eq!(names_found(|found| topic.route(key, found)), ["q"], "{pattern} and {key}");
        }
        for key in others {
            assert!(names_found(|found| topic.route(key, found)).is_empty(), "{pattern} and {key}");
        }
    }

    fn pattern() -> impl Strategy<Value = String> {
        words_of(&["a", "b", "", "*", "#"])
    }

    fn key() -> impl Strategy<Value = String> {
        words_of(&["a", "b", "c", ""])
    }

    fn words_of(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(choices), 0..7).prop_map(|words| words.join("."))
    }

    fn matches_naively(pattern: &str, key: &str) -> bool {
        fn matches(pattern: &[&str], key: &[&str]) -> bool {
            match (pattern, key) {
                ([], []) => true,
                (["#", rest @ ..], _) => (0..=key.len()).any(|skipped| matches(rest, &key[skipped..])),
                (["*", rest @ ..], [_, key @ ..]) => matches(rest, key),
                ([word, rest @ ..], [same, key @ ..]) => word == same && matches(rest, key),
                _ => false,
            }
        }
        matches(&words(pattern).collect::<Vec<_>>(), &words(key).collect::<Vec<_>>())
    }
}
