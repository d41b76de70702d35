//! Stories about bindings coming and going, and what goes with them.

use proptest::prelude::*;

use super::super::*;
use super::{Vhost, told};

#[test]
fn a_binding_is_its_ends_its_key_and_its_arguments_in_any_order() {
    let mut vhost = Vhost::with_queues(&["q"]);
    vhost.exchange("e", ExchangeKind::Direct);
    let bind = |vhost: &mut Vhost, names: &[&str]| {
        let arguments = names.iter().map(|name| (*name, Value::Bool(true))).collect();
        vhost.topology.bind("e", Destination::queue("q"), "k", arguments).unwrap()
    };
    assert!(bind(&mut vhost, &["a", "b"]));
    assert!(!bind(&mut vhost, &["b", "a"]));
    assert!(bind(&mut vhost, &[]));
    assert_eq!(vhost.topology.bindings().count(), 2);
    assert_eq!(vhost.topology.bindings_to(&Destination::queue("q")).count(), 2);
    vhost.topology.unbind("e", &Destination::queue("q"), "k", Table::new()).unwrap();
    assert_eq!(vhost.routed("e", &["k"]), ["q"]);
}

#[test]
fn a_binding_needs_both_ends_and_a_key_its_exchange_understands() {
    let mut vhost = Vhost::with_queues(&["q"]);
    vhost.exchange("hash", ExchangeKind::ConsistentHash);
    let mut bind = |source: &str, destination, key: &str| {
        vhost.topology.bind(source, destination, key, Table::new()).unwrap_err().to_string()
    };
    assert_eq!(bind("e", Destination::queue("q"), "k"), "no exchange 'e' in vhost '/'");
    assert_eq!(bind("hash", Destination::queue("p"), "1"), "no queue 'p' in vhost '/'");
    assert_eq!(bind("hash", Destination::exchange("p"), "1"), "no exchange 'p' in vhost '/'");
    assert_eq!(bind("hash", Destination::queue("q"), "heavy"), "the binding key must be an integer: 'heavy'");
    assert!(bind("amq.topic", Destination::queue("q"), &"k".repeat(256)).contains("longer than 255"));
}

/// They would take minutes if each were compared with the others, and all that time nobody could route.
#[test]
fn thousands_of_bindings_that_differ_in_their_arguments_alone_come_and_go_at_once() {
    const BINDINGS: i32 = 30_000;
    let arguments = |number| Table::from_iter([("number", Value::I32(number))]);
    let queue = Destination::queue("q");
    for (kind, keyed) in [(ExchangeKind::Headers, false), (ExchangeKind::ConsistentHash, true)] {
        let mut vhost = Vhost::with_queues(&["q"]);
        vhost.exchange("e", kind);
        let start = std::time::Instant::now();
        for number in 0..BINDINGS {
            let key = if keyed { (number + 1).to_string() } else { String::new() };
            assert!(vhost.topology.bind("e", queue.clone(), &key, arguments(number)).unwrap());
        }
        vhost.topology.unbind("e", &queue, if keyed { "8" } else { "" }, arguments(7)).unwrap();
        assert_eq!(vhost.topology.bindings_to(&queue).count(), BINDINGS as usize - 1);
        let (_, removed) = vhost.topology.delete_queue("q").unwrap();
        assert_eq!(removed.len(), BINDINGS as usize - 1);
        let took = start.elapsed();
        assert!(took.as_secs() < 5, "{took:?} for {BINDINGS} bindings");
    }
}

#[test]
fn unbinding_what_is_not_there_removes_nothing() {
    let mut vhost = Vhost::with_queues(&["q"]);
    let queue = Destination::queue("q");
    assert_eq!(vhost.topology.unbind("e", &queue, "k", Table::new()), Ok(Vec::new()));
    assert_eq!(vhost.topology.unbind("amq.topic", &queue, "k", Table::new()), Ok(Vec::new()));
    assert_eq!(vhost.topology.delete_exchange("e", false), Ok(Vec::new()));
    assert!(vhost.topology.delete_queue("p").is_none());
}

#[test]
fn auto_delete_exchanges_fall_one_after_another() {
    let mut vhost = Vhost::with_queues(&["q"]);
    vhost.exchange("kept", ExchangeKind::Fanout);
    for name in ["e", "f", "g"] {
        vhost.auto_delete_exchange(name);
    }
    vhost.bind("kept", Destination::exchange("e"), "");
    vhost.bind("e", Destination::exchange("f"), "");
    vhost.bind("f", Destination::exchange("g"), "");
    vhost.bind("g", Destination::queue("q"), "");
    let (_, removed) = vhost.topology.delete_queue("q").unwrap();
    assert_eq!(
        told(&removed),
        ["g -> q", "f -> g", "exchange g", "e -> f", "exchange f", "kept -> e", "exchange e"]
    );
    assert!(vhost.topology.exchange("kept").is_some());
    assert_eq!(vhost.topology.bindings().count(), 0);
    assert!(vhost.topology.inbound.is_empty());
}

#[test]
fn an_auto_delete_exchange_stays_until_it_had_a_binding_and_lost_the_last() {
    let mut vhost = Vhost::with_queues(&["q"]);
    vhost.auto_delete_exchange("e");
    vhost.bind("e", Destination::queue("q"), "a");
    vhost.bind("e", Destination::queue("q"), "b");
    let unbind = |vhost: &mut Vhost, key| {
        told(&vhost.topology.unbind("e", &Destination::queue("q"), key, Table::new()).unwrap())
    };
    assert_eq!(unbind(&mut vhost, "a"), ["e -> q"]);
    assert_eq!(unbind(&mut vhost, "b"), ["e -> q", "exchange e"]);
}

#[test]
fn a_long_chain_of_auto_delete_exchanges_does_not_exhaust_the_stack() {
    let mut vhost = Vhost::with_queues(&["q"]);
    for n in 0..20_000 {
        vhost.auto_delete_exchange(&format!("e{n}"));
        let end =
            if n == 0 { Destination::queue("q") } else { Destination::exchange(&format!("e{}", n - 1)) };
        vhost.bind(&format!("e{n}"), end, "");
    }
    assert_eq!(vhost.routed("e19999", &[""]), ["q"]);
    let (_, removed) = vhost.topology.delete_queue("q").unwrap();
    assert_eq!(removed.len(), 40_000);
}

#[test]
fn deleting_an_exchange_takes_its_bindings_on_both_sides() {
    let mut vhost = Vhost::with_queues(&["q"]);
    for name in ["e", "f"] {
        vhost.exchange(name, ExchangeKind::Fanout);
    }
    vhost.bind("e", Destination::exchange("f"), "");
    vhost.bind("f", Destination::queue("q"), "");
    vhost.bind("f", Destination::exchange("f"), "");
    let in_use = vhost.topology.delete_exchange("f", true).unwrap_err();
    assert_eq!(in_use.to_string(), "exchange 'f' in vhost '/' in use");
    let mut removed = told(&vhost.topology.delete_exchange("f", false).unwrap());
    removed.sort();
    assert_eq!(removed, ["e -> f", "exchange f", "f -> f", "f -> q"]);
    assert!(vhost.topology.inbound.is_empty());
    assert!(vhost.routed("e", &[""]).is_empty());
}

#[test]
fn every_change_and_only_a_change_moves_the_generation() {
    let mut vhost = Vhost::with_queues(&["q"]);
    let mut last = vhost.topology.generation();
    let mut moved = |vhost: &Vhost| std::mem::replace(&mut last, vhost.topology.generation()) != last;
    vhost.exchange("e", ExchangeKind::Fanout);
    assert!(moved(&vhost));
    vhost.bind("e", Destination::queue("q"), "");
    assert!(moved(&vhost));
    vhost.topology.bind("e", Destination::queue("q"), "", Table::new()).unwrap();
    vhost.routed("e", &[""]);
    assert!(!moved(&vhost));
    vhost.topology.delete_queue("q");
    assert!(moved(&vhost));
}

proptest! {
    #[test]
    fn both_ends_of_the_bindings_tell_the_same_after_any_history(
        steps in prop::collection::vec((0..4u8, 0..4usize, 0..6usize, 0..3usize), 0..60)
    ) {
        let mut vhost = Vhost::with_queues(&[]);
        for (action, source, destination, key) in steps {
            vhost.step(action, source, destination, ["a", "b.*", "#"][key]);
        }
        let topology = &vhost.topology;
        let mut forwards: Vec<String> = topology.bindings().map(|binding| format!("{binding:?}")).collect();
        let ends = topology.inbound.keys();
        let mut backwards: Vec<String> =
            ends.flat_map(|end| topology.bindings_to(end)).map(|binding| format!("{binding:?}")).collect();
        forwards.sort();
        backwards.sort();
        prop_assert_eq!(forwards, backwards);
        for binding in topology.bindings() {
            match &binding.destination {
                Destination::Queue(name) => prop_assert!(topology.queue(name).is_some()),
                Destination::Exchange(name) => prop_assert!(topology.exchange(name).is_some()),
            }
        }
    }
}
