//! Stories about what may be declared, and again, and by whom.

use super::super::*;
use super::{ME, Vhost};

#[test]
fn a_new_vhost_has_the_exchanges_clients_count_on() {
    let topology = Topology::<u32>::new("/");
    let mut names: Vec<&str> = topology.exchanges().map(|exchange| &**exchange.name()).collect();
    names.sort();
    let expected =
        ["", "amq.direct", "amq.fanout", "amq.headers", "amq.match", "amq.rabbitmq.trace", "amq.topic"];
    assert_eq!(names, expected);
    assert!(topology.exchanges().all(|exchange| exchange.spec().durable));
    assert!(topology.exchange("amq.rabbitmq.trace").unwrap().is_internal());
}

#[test]
fn what_exists_may_be_declared_again_only_the_same() {
    let mut vhost = Vhost::with_queues(&["q"]);
    let same = vhost.topology.declare_queue("q", QueueSpec::default(), ME, || panic!("not made again"));
    assert_eq!(same.unwrap(), (Declared::Existing, "q".to_owned()));
    let durable = QueueSpec { durable: true, ..QueueSpec::default() };
    let error = vhost.topology.declare_queue("q", durable, ME, String::new).unwrap_err();
    assert!(matches!(error, TopologyError::Inequivalent(_)));
    vhost.exchange("e", ExchangeKind::Direct);
    assert_eq!(
        vhost.topology.declare_exchange("e", ExchangeSpec::new(ExchangeKind::Direct)),
        Ok(Declared::Existing)
    );
}

#[test]
fn reserved_names_may_be_used_but_not_created() {
    let mut vhost = Vhost::with_queues(&[]);
    let spec = ExchangeSpec { durable: true, ..ExchangeSpec::new(ExchangeKind::Direct) };
    assert_eq!(vhost.topology.declare_exchange("amq.direct", spec.clone()), Ok(Declared::Existing));
    let error = vhost.topology.declare_exchange("amq.mine", spec).unwrap_err();
    assert_eq!(error.to_string(), "exchange name 'amq.mine' contains reserved prefix 'amq.*'");
    let error = vhost.topology.declare_queue("amq.gen-1", QueueSpec::default(), ME, String::new);
    assert_eq!(error.unwrap_err().to_string(), "queue name 'amq.gen-1' contains reserved prefix 'amq.*'");
    let generated = vhost.topology.add_queue("amq.gen-1", QueueSpec::default(), || "generated".to_owned());
    assert_eq!(generated, Ok("generated".to_owned()));
    let deleted = vhost.topology.delete_exchange("amq.direct", false);
    assert!(matches!(deleted, Err(TopologyError::SystemExchange { .. })));
}

#[test]
fn the_default_exchange_is_nobodys_to_change() {
    let mut vhost = Vhost::with_queues(&["q"]);
    let topology = &mut vhost.topology;
    let (queue, default) = (Destination::queue("q"), Destination::exchange(""));
    let refused = Some(TopologyError::DefaultExchange);
    assert_eq!(topology.bind("", queue.clone(), "k", Table::new()).err(), refused);
    assert_eq!(topology.bind("amq.direct", default, "k", Table::new()).err(), refused);
    assert_eq!(topology.unbind("", &queue, "q", Table::new()).err(), refused);
    assert_eq!(topology.delete_exchange("", false).err(), refused);
    assert_eq!(topology.declare_exchange("", ExchangeSpec::new(ExchangeKind::Direct)).err(), refused);
}

#[test]
fn an_exclusive_queue_is_locked_for_other_connections() {
    let mut vhost = Vhost::with_queues(&["shared"]);
    let mine = QueueSpec { exclusive_owner: Some(ME), ..QueueSpec::default() };
    vhost.topology.declare_queue("q", mine.clone(), ME, || "q".to_owned()).unwrap();
    assert!(vhost.topology.declare_queue("q", mine.clone(), ME, String::new).is_ok());
    assert!(vhost.topology.queue_for("q", ME).is_ok());
    let error = vhost.topology.queue_for("q", ME + 1).unwrap_err();
    assert!(error.to_string().starts_with(
        "cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally declared"
    ));
    let theirs = QueueSpec { exclusive_owner: Some(ME + 1), ..QueueSpec::default() };
    for (name, spec, connection) in
        [("q", theirs, ME + 1), ("q", QueueSpec::default(), ME), ("shared", mine, ME)]
    {
        let declared = vhost.topology.declare_queue(name, spec, connection, String::new);
        assert!(matches!(declared, Err(TopologyError::Locked { .. })), "{name} by {connection}");
    }
}

#[test]
fn arguments_are_checked_before_a_queue_is_made() {
    let mut vhost = Vhost::with_queues(&[]);
    let mut declare = |durable, arguments: &[(&str, Value)]| {
        let arguments = arguments.iter().cloned().collect();
        let spec = QueueSpec { durable, arguments, ..QueueSpec::default() };
        vhost.topology.declare_queue("q", spec, ME, || panic!("not made")).unwrap_err().to_string()
    };
    assert_eq!(
        declare(true, &[("x-expires", Value::I32(0))]),
        "invalid arg 'x-expires' for queue 'q' in vhost '/': value 0 is not greater than zero"
    );
    assert_eq!(
        declare(false, &[("x-queue-type", Value::text("quorum"))]),
        "invalid property 'non-durable' for queue 'q' in vhost '/'"
    );
    assert_eq!(
        vhost.topology.declare_queue("", QueueSpec::default(), ME, String::new).unwrap_err().to_string(),
        "invalid queue name: a name must not be empty"
    );
}
