//! Consistent hash: each message goes to exactly one destination, chosen by what is hashed; the
//! binding key is the destination's weight.
//!
//! Weighted rendezvous hashing: every destination draws a number from its name and the hashed value,
//! and the best wins. The draw depends on nothing else, so binding order and restarts do not move
//! messages, and adding a destination takes from each other one only its fair share.

use super::{Destination, LazyFacts, Map, Property};
use crate::value::{Table, Value};

const HASH_HEADER: &str = "hash-header";
const HASH_PROPERTY: &str = "hash-property";

#[derive(Debug)]
pub(crate) struct ConsistentHash {
    hashed: Hashed,
    /// By destination and weight. Two that agree in both always score the same.
    buckets: Map<(Destination, u32), Bucket>,
}

#[derive(Debug)]
enum Hashed {
    RoutingKey,
    Header(String),
    Property(Property),
}

#[derive(Debug)]
struct Bucket {
    seed: u64,
    /// How many bindings stand for it.
    bindings: u32,
}

impl ConsistentHash {
    pub(crate) fn new(arguments: &Table) -> ConsistentHash {
        let header = arguments.get(HASH_HEADER).and_then(Value::as_str);
        let property = arguments.get(HASH_PROPERTY).and_then(parse_property);
        let hashed = match (header, property) {
            (Some(name), _) => Hashed::Header(name.to_owned()),
            (None, Some(property)) => Hashed::Property(property),
            (None, None) => Hashed::RoutingKey,
        };
        ConsistentHash { hashed, buckets: Map::default() }
    }

    pub(crate) fn insert(&mut self, key: &str, destination: &Destination) {
        let Ok(weight) = weight(key) else { return };
        let bucket = self.buckets.entry((destination.clone(), weight));
        bucket.or_insert_with(|| Bucket { seed: seed_of(destination), bindings: 0 }).bindings += 1;
    }

    pub(crate) fn remove(&mut self, key: &str, destination: &Destination) {
        let Ok(weight) = weight(key) else { return };
        let end = (destination.clone(), weight);
        let Some(bucket) = self.buckets.get_mut(&end) else {
            return;
        };
        bucket.bindings -= 1;
        if bucket.bindings == 0 {
            self.buckets.remove(&end);
        }
    }

    pub(crate) fn route<'a>(
        &'a self,
        keys: &[&str],
        facts: &LazyFacts<'_>,
        found: &mut dyn FnMut(&'a Destination),
    ) {
        if self.buckets.is_empty() {
            return;
        }
        let hash = self.hash(keys, facts);
        let scores = self
            .buckets
            .iter()
            .map(|((destination, weight), bucket)| (bucket.score(*weight, hash), destination));
        if let Some((_, destination)) = scores.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1))) {
            found(destination);
        }
    }

    /// A message without the header or property hashes as an empty one, so these stay together.
    fn hash(&self, keys: &[&str], facts: &LazyFacts<'_>) -> u64 {
        match &self.hashed {
            Hashed::RoutingKey => fnv(keys.first().unwrap_or(&"").as_bytes()),
            Hashed::Header(name) => hash_value(facts.headers().get(name)),
            Hashed::Property(property) => fnv(facts.property(*property).unwrap_or_default().as_bytes()),
        }
    }
}

impl Bucket {
    fn score(&self, weight: u32, hash: u64) -> f64 {
        // The top 53 bits as a fraction strictly between 0 and 1.
        let draw = ((mix(hash ^ self.seed) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -f64::from(weight) / draw.ln()
    }
}

/// The weight a binding key stands for; if it stands for none, why.
pub(crate) fn weight(key: &str) -> Result<u32, String> {
    match key.parse::<u32>() {
        Ok(0) => Err("the binding key must be greater than 0".to_owned()),
        Ok(weight) => Ok(weight),
        Err(_) => Err(format!("the binding key must be an integer: '{key}'")),
    }
}

/// Whether the arguments of the exchange say clearly what to hash; if not, which one and why.
pub(crate) fn check(arguments: &Table) -> Result<(), (&'static str, String)> {
    let header = arguments.get(HASH_HEADER);
    let property = arguments.get(HASH_PROPERTY);
    if header.is_some() && property.is_some() {
        return Err((HASH_PROPERTY, "hash-header and hash-property are mutually exclusive".to_owned()));
    }
    if header.is_some_and(|name| name.as_str().is_none()) {
        return Err((HASH_HEADER, "must be text".to_owned()));
    }
    if property.is_some_and(|name| parse_property(name).is_none()) {
        return Err((HASH_PROPERTY, "must be message_id, correlation_id or timestamp".to_owned()));
    }
    Ok(())
}

fn parse_property(name: &Value) -> Option<Property> {
    match name.as_str()? {
        "message_id" => Some(Property::MessageId),
        "correlation_id" => Some(Property::CorrelationId),
        "timestamp" => Some(Property::Timestamp),
        _ => None,
    }
}

fn hash_value(value: Option<&Value>) -> u64 {
    match value {
        None => fnv(b""),
        Some(Value::Text(bytes) | Value::Bytes(bytes)) => fnv(bytes),
        Some(value) => match value.as_integer() {
            Some(number) => fnv(&number.to_be_bytes()),
            None => fnv(format!("{value:?}").as_bytes()),
        },
    }
}

fn seed_of(destination: &Destination) -> u64 {
    let kind = match destination {
        Destination::Queue(_) => 0,
        Destination::Exchange(_) => 1,
    };
    mix(fnv(destination.name().as_bytes()) ^ kind)
}

/// FNV-1a, 64 bits: fixed for ever, unlike the hashes of a library.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// SplitMix64's finish: spreads every bit over all of them, which FNV's last bytes lack.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_weights() {
        let hash = exchange(&Table::new(), &[("a", "1"), ("b", "1"), ("c", "2")]);
        let share =
            |name: &str| (0..40_000).filter(|n| chosen(&hash, &n.to_string(), &Table::new()) == name).count();
        assert!((9_500..10_500).contains(&share("a")));
        assert!((9_500..10_500).contains(&share("b")));
        assert!((19_500..20_500).contains(&share("c")));
    }

    #[test]
    fn the_choice_does_not_depend_on_binding_order() {
        let one = exchange(&Table::new(), &[("a", "1"), ("b", "3"), ("c", "2")]);
        let other = exchange(&Table::new(), &[("c", "2"), ("a", "1"), ("b", "3")]);
        for n in 0..1_000 {
            let key = n.to_string();
            assert_eq!(chosen(&one, &key, &Table::new()), chosen(&other, &key, &Table::new()));
        }
    }

    #[test]
    fn removing_a_queue_moves_only_its_own_messages() {
        let mut hash = exchange(&Table::new(), &[("a", "1"), ("b", "1"), ("c", "1")]);
        let before: Vec<String> = (0..1_000).map(|n| chosen(&hash, &n.to_string(), &Table::new())).collect();
        hash.remove("1", &Destination::queue("b"));
        for (n, old) in before.iter().enumerate() {
            let new = chosen(&hash, &n.to_string(), &Table::new());
            assert!(new == *old || old == "b");
            assert_ne!(new, "b");
        }
    }

    #[test]
    fn the_placement_of_known_keys_is_pinned() {
        // A change here moves messages between queues when a broker is upgraded.
        let hash = exchange(&Table::new(), &[("a", "1"), ("b", "1"), ("c", "1")]);
        let placed: String = (0..16).map(|n| chosen(&hash, &n.to_string(), &Table::new())).collect();
        assert_eq!(placed, "baacaababccbacca");
    }

    #[test]
    fn a_header_is_hashed_instead_of_the_key_whatever_its_width() {
        let arguments = Table::from_iter([(HASH_HEADER, Value::text("customer"))]);
        let hash = exchange(&arguments, &[("a", "1"), ("b", "1"), ("c", "1")]);
        for n in 0..100i16 {
            let narrow = Table::from_iter([("customer", Value::I16(n))]);
            let wide = Table::from_iter([("customer", Value::I64(n.into()))]);
            assert_eq!(chosen(&hash, "one", &narrow), chosen(&hash, "another", &wide));
        }
    }

    #[test]
    fn a_weight_is_a_positive_integer() {
        assert_eq!(weight("10"), Ok(10));
        assert_eq!(weight("0").unwrap_err(), "the binding key must be greater than 0");
        assert_eq!(weight("heavy").unwrap_err(), "the binding key must be an integer: 'heavy'");
        assert!(weight("").is_err() && weight("-1").is_err());
    }

    #[test]
    fn header_and_property_exclude_each_other() {
        let header = (HASH_HEADER, Value::text("customer"));
        assert!(check(&Table::from_iter([header.clone()])).is_ok());
        assert!(check(&Table::from_iter([(HASH_PROPERTY, Value::text("message_id"))])).is_ok());
        assert!(check(&Table::from_iter([header, (HASH_PROPERTY, Value::text("message_id"))])).is_err());
        assert!(check(&Table::from_iter([(HASH_PROPERTY, Value::text("app_id"))])).is_err());
        assert!(check(&Table::from_iter([(HASH_HEADER, Value::Bool(true))])).is_err());
    }

    fn exchange(arguments: &Table, bound: &[(&str, &str)]) -> ConsistentHash {
        let mut hash = ConsistentHash::new(arguments);
        for (queue, weight) in bound {
            hash.insert(weight, &Destination::queue(queue));
        }
        hash
    }

    /// Also checks that exactly one is chosen.
    fn chosen(hash: &ConsistentHash, key: &str, headers: &Table) -> String {
        let facts = || headers.clone();
        let mut names = Vec::new();
        hash.route(&[key], &LazyFacts::new(&facts), &mut |found| names.push(found.name().to_owned()));
        assert_eq!(names.len(), 1);
        names.remove(0)
    }
}
