//! Which partition of an internal topic a group or a transactional id belongs to.

/// As Kafka finds it: by the hash that Java gives the name.
pub fn coordinating_partition(name: &str, partitions: i32) -> i32 {
    let hash = name.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    // The one number without a counterpart counts as 0.
    hash.checked_abs().unwrap_or(0) % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Java's `String.hashCode`.
    #[test]
    fn names_belong_where_kafka_puts_them() {
        for (name, hash) in [("", 0), ("a", 97), ("orders", 1_008_770_331), ("polygenelubricants", 0)] {
            assert_eq!(coordinating_partition(name, i32::MAX), hash, "{name}");
        }
        assert_eq!(coordinating_partition("orders", 50), 31);
        assert_eq!(coordinating_partition("año", 50), 49);
    }
}
