//! Files that come in, files that are refused, and what goes out again.

use std::sync::Arc;

use cauce_core::access::{Operation, Resource};
use cauce_core::topic::Overrides;
use cauce_log::MemoryDisk;
use serde_json::{Value as Json, json};

use super::{Blueprint, Definitions, Imported};
use crate::{Flush, Node, NodeConfig};

fn config() -> NodeConfig {
    NodeConfig { flush: Flush::Always, memory_bytes: 64 << 20, ..NodeConfig::default() }
}

#[test]
fn a_file_of_rabbitmq_brings_users_vhosts_and_what_is_in_them() {
    run(async {
        let node = blank();
        let imported = import(&node, &shop()).await.unwrap();
        assert_eq!(imported, Imported { changes: 9, notes: Vec::new() });
        assert!(node.users.authenticate("ana", b"test12").is_ok());
        assert!(node.users.has_tag("ana", "monitoring") && node.users.has_tag("ana", "mine"));
        let check = |operation, name| node.users.check("ana", "shop", operation, Resource::Queue(name));
        assert!(check(Operation::Read, "orders").is_ok());
        assert!(check(Operation::Configure, "orders").is_err());
        assert!(node.users.check_topic("ana", "shop", Operation::Write, "events", "ana.x").is_ok());
        assert!(node.users.check_topic("ana", "shop", Operation::Write, "events", "eva.x").is_err());
        let vhost = node.vhost("shop").unwrap();
        assert_eq!(vhost.topology().queue("orders").unwrap().limits.max_length, Some(5));
        assert_eq!(vhost.topology().bindings().count(), 2);
    });
}

#[test]
fn the_same_file_again_changes_nothing_and_a_plain_password_keeps_its_salt() {
    run(async {
        let node = blank();
        let mut file = shop();
        file["users"][0] = json!({ "name": "ana", "password": "secret", "tags": "monitoring, mine" });
        import(&node, &file).await.unwrap();
        assert_eq!(import(&node, &file).await.unwrap().changes, 0);
        assert!(node.users.authenticate("ana", b"secret").is_ok());
        file["users"][0]["password"] = json!("other");
        assert_eq!(import(&node, &file).await.unwrap().changes, 1);
        assert!(node.users.authenticate("ana", b"secret").is_err());
    });
}

#[test]
fn users_and_permissions_become_as_the_file_says_and_queues_stay_as_they_were() {
    run(async {
        let node = blank();
        import(&node, &shop()).await.unwrap();
        let mut file = shop();
        file["users"][0]["tags"] = json!([]);
        file["permissions"][0]["configure"] = json!(".*");
        file["queues"][0]["arguments"]["x-max-length"] = json!(7);
        file["exchanges"][0]["type"] = json!("fanout");
        file["vhosts"][0] = json!({ "name": "shop", "description": "moved", "tags": "eu, us" });
        let imported = import(&node, &file).await.unwrap();
        assert_eq!(imported.changes, 3);
        let about = node.vhost("shop").unwrap().about();
        assert_eq!(
            (&*about.description, &about.tags[..]),
            ("moved", &["eu".to_owned(), "us".to_owned()][..])
        );
        let [note] = &imported.notes[..] else { panic!("{:?}", imported.notes) };
        assert!(
            note.starts_with("defined otherwise already, and left as it was: inequivalent arg"),
            "{note}"
        );
        assert!(note.contains("'x-max-length' for queue 'orders' in vhost 'shop'"), "{note}");
        assert!(note.contains("'type' for exchange 'events' in vhost 'shop'"), "{note}");
        assert!(!node.users.has_tag("ana", "mine"));
        assert!(node.users.check("ana", "shop", Operation::Configure, Resource::Queue("x")).is_ok());
        let limits = node.vhost("shop").unwrap().topology().queue("orders").unwrap().limits.clone();
        assert_eq!(limits.max_length, Some(5));
    });
}

#[test]
fn what_was_imported_outlives_a_restart_and_exports_to_the_same_again() {
    run(async {
        let disk = MemoryDisk::new();
        let node = Node::open(Arc::new(disk.clone()), config()).unwrap();
        import(&node, &shop()).await.unwrap();
        let exported = node.blueprint().export();
        drop(node);
        let read = Blueprint::read(Arc::new(disk.clone())).unwrap();
        assert_eq!(read.export(), exported);
        let node = Node::open(Arc::new(disk), config()).unwrap();
        assert_eq!(node.blueprint().export(), exported);
        assert_eq!(exported["vhosts"], shop()["vhosts"]);
        let other = blank();
        assert_eq!(import(&other, &exported).await.unwrap(), Imported { changes: 9, notes: Vec::new() });
        assert_eq!(other.blueprint().export(), exported);
    });
}

#[test]
fn what_is_not_served_is_named_and_the_rest_comes() {
    run(async {
        let node = blank();
        let mut file = shop();
        file["policies"] = json!([{ "vhost": "shop", "name": "short", "pattern": ".*", "definition": {} }]);
        file["parameters"] = json!([{ "vhost": "shop", "component": "shovel", "name": "s", "value": {} }]);
        file["global_parameters"] =
            json!([{ "name": "cluster_name", "value": "r" }, { "name": "other", "value": 1 }]);
        file["vhosts"][0]["limits"] = json!([{ "name": "max-queues", "value": 5 }]);
        file["users"][0]["limits"] = json!({ "max-channels": 5 });
        file["users"][0]["shoe_size"] = json!(38);
        file["weather"] = json!("fine");
        push(&mut file, "queues", queue("amq.gen-1", json!({})));
        push(&mut file, "queues", queue("past", json!({ "x-queue-type": "stream" })));
        push(&mut file, "bindings", binding("events", "gone"));
        push(&mut file, "bindings", binding("", "orders"));
        let imported = import(&node, &file).await.unwrap();
        assert_eq!(imported.changes, 9);
        assert_eq!(
            imported.notes,
            [
                "limits of users are not served: user 'ana'",
                "not known, and not looked at: 'shoe_size' of users, 'weather'",
                "limits of vhosts are not served: vhost 'shop'",
                "names of the broker's own are left out: queue 'amq.gen-1' in vhost 'shop'",
                "streams are served in vhost '/' only, others are left out: queue 'past' in vhost 'shop'",
                "policies are not served and left out: 'short' in vhost 'shop'",
                "parameters are not served and left out: shovel 's' in vhost 'shop'",
                "global parameters are not served and left out: 'other'",
                "bindings of what does not exist are left out: binding from 'events' to queue 'gone' in vhost 'shop'",
            ]
        );
    });
}

#[test]
fn streams_become_topics_and_topics_are_exported_as_streams() {
    run(async {
        let node = blank();
        let mut file = shop();
        push(&mut file, "vhosts", json!({ "name": "/" }));
        let arguments = json!({ "x-queue-type": "stream", "x-max-age": "1h" });
        let stream = |name: &str| {
            let mut stream = queue(name, arguments.clone());
            stream["vhost"] = json!("/");
            stream
        };
        push(&mut file, "queues", stream("past"));
        push(&mut file, "queues", stream("no name of a topic"));
        let mut to_stream = binding("amq.fanout", "past");
        to_stream["vhost"] = json!("/");
        push(&mut file, "bindings", to_stream);
        let imported = import(&node, &file).await.unwrap();
        assert_eq!(imported.notes.len(), 1);
        assert!(imported.notes[0].contains("queue 'no name of a topic' in vhost '/' cannot be a stream"));
        assert_eq!(node.topics().get("past").unwrap().config().retention_ms, 3_600_000);
        node.create_topic("events", 3, Overrides::default()).unwrap().1.wait().await;
        let exported = node.blueprint().export();
        let queues = exported["queues"].as_array().unwrap();
        let of = |name: &str| queues.iter().find(|queue| queue["name"] == name).unwrap()["arguments"].clone();
        assert_eq!((of("past"), of("events")), (arguments, json!({ "x-queue-type": "stream" })));
        assert_eq!(import(&node, &exported).await.unwrap(), Imported { changes: 0, notes: Vec::new() });
        assert_eq!(node.vhost("/").unwrap().topology().bindings().count(), 1);
    });
}

#[test]
fn a_long_list_of_what_was_left_out_is_cut() {
    let queues: Vec<Json> = (0..30).map(|n| queue(&format!("amq.{n:02}"), json!({}))).collect();
    let file = json!({ "queues": queues }).to_string();
    let [note] = &Definitions::parse(file.as_bytes()).unwrap().notes.lines()[..] else { panic!() };
    assert!(note.ends_with("queue 'amq.19' in vhost 'shop' and 10 more"), "{note}");
}

#[test]
fn a_file_with_anything_wrong_in_it_changes_nothing_and_says_where() {
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    let cases: Vec<(&str, Json, &str)> = vec![
        ("/users/0/name", json!(7), "users[0]: name: expected text"),
        ("/users/0/name", json!(null), "users[0]: name: missing"),
        ("/users/0/tags", json!(null), "user 'ana': tags: missing"),
        ("/users/0/tags", json!([1]), "user 'ana': tags: expected a list of words, or one text"),
        ("/users/0/password", json!("p"), "user 'ana': password: given beside 'password_hash'"),
        ("/users/0/password_hash", json!("?"), "user 'ana': password_hash: the password hash is not base64"),
        (
            "/users/0/hashing_algorithm",
            json!("rabbit_password_hashing_rot13"),
            "user 'ana': hashing_algorithm: 'rabbit_password_hashing_rot13' is not known",
        ),
        ("/vhosts/0/name", json!(""), "vhost '': name: a name must not be empty"),
        ("/permissions/0/user", json!("eva"), "permissions of user 'eva' in vhost 'shop': no user 'eva'"),
        (
            "/permissions/0/vhost",
            json!("gone"),
            "permissions of user 'ana' in vhost 'gone': no vhost 'gone', neither in the file nor here",
        ),
        (
            "/permissions/0/read",
            json!("("),
            "permissions of user 'ana' in vhost 'shop': invalid pattern '(': ",
        ),
        (
            "/topic_permissions/0/write",
            json!("["),
            "topic permissions of user 'ana' on exchange 'events' in ",
        ),
        (
            "/exchanges/0/type",
            json!("x-none"),
            "exchange 'events' in vhost 'shop': type: unknown exchange type 'x-none'",
        ),
        (
            "/queues/0/durable",
            json!("yes"),
            "queue 'orders' in vhost 'shop': durable: expected true or false",
        ),
        (
            "/queues/0/arguments/x-max-length",
            json!(-1),
            "queue 'orders' in vhost 'shop': invalid arg 'x-max-length' for queue 'orders' in vhost 'shop': value -1 is negative",
        ),
        (
            "/queues/0/arguments/x-deep",
            deep,
            "queue 'orders' in vhost 'shop': arguments: 'x-deep': nested deeper than 32",
        ),
        (
            "/queues/0/arguments/x-big",
            json!("x".repeat(200_000)),
            "queue 'orders' in vhost 'shop': arguments: 2000",
        ),
        (
            "/queues/0/arguments/x-n",
            json!(u64::MAX),
            "queue 'orders' in vhost 'shop': arguments: 'x-n': 18446744073709551615 is too large",
        ),
        (
            "/bindings/0/destination_type",
            json!("topic"),
            "binding from 'events' to 'orders' in vhost 'shop': destination_type: neither 'queue' nor 'exchange'",
        ),
        (
            "/bindings/0/routing_key",
            json!("k".repeat(256)),
            "binding from 'events' to queue 'orders' in vhost 'shop': a name of 256 ",
        ),
        ("/queues", json!({}), "the file: queues: expected a list"),
        ("/queues/0", json!("orders"), "queues[0]: expected an object"),
        ("", json!([]), "the file: expected an object"),
    ];
    run(async {
        let node = blank();
        for (place, value, expected) in cases {
            let mut file = shop();
            put(&mut file, place, value);
            let error = import(&node, &file).await.unwrap_err();
            assert!(error.starts_with(expected), "{place}: {error}");
            assert!(node.is_blank(), "{place}");
        }
    });
}

#[test]
fn what_is_no_json_is_told_by_its_place_and_an_empty_file_defines_nothing() {
    let error = Definitions::parse(b"{\n  \"users\": [,\n").unwrap_err().to_string();
    assert!(error.starts_with("not JSON: ") && error.contains("line 2"), "{error}");
    assert!(Definitions::parse(b"").unwrap().users.is_empty());
    assert!(Definitions::parse(&vec![b' '; (64 << 20) + 1]).is_err());
}

#[test]
fn the_first_start_knows_guest_and_a_node_with_definitions_need_not() {
    run(async {
        let disk = MemoryDisk::new();
        let node = Node::start(Arc::new(disk.clone()), config()).unwrap();
        assert!(node.users.authenticate("guest", b"guest").is_ok());
        assert!(node.users.check_vhost("guest", "/").is_ok());
        node.flush().await;
        drop(node);
        let node = Node::open(Arc::new(disk), config()).unwrap();
        assert!(node.users.authenticate("guest", b"guest").is_ok() && !node.is_blank());
        let other = blank();
        import(&other, &shop()).await.unwrap();
        assert!(other.users.authenticate("guest", b"guest").is_err() && other.vhost("/").is_none());
    });
}

#[test]
fn after_a_power_cut_at_any_flush_the_same_file_completes_what_it_began() {
    let whole = MemoryDisk::new();
    run(async { drop(import(&started(&whole), &shop()).await.unwrap()) });
    for cut in 0..=whole.syncs() {
        let disk = MemoryDisk::new();
        disk.freeze_at_sync(cut);
        let survives = run(async {
            import(&started(&disk), &shop()).await.unwrap();
            disk.syncs() <= cut
        });
        run(async {
            let node = started(&disk.crash((cut % 3 != 0).then_some(cut)));
            let again = import(&node, &shop()).await.unwrap();
            assert!(!survives || again.changes == 0, "cut {cut}: {} changes were lost", again.changes);
            assert!(node.users.authenticate("ana", b"test12").is_ok() && again.notes.is_empty());
            assert_eq!(node.vhost("shop").unwrap().topology().bindings().count(), 2, "cut {cut}");
        });
    }
}

fn started(disk: &MemoryDisk) -> Arc<Node> {
    Node::open(Arc::new(disk.clone()), config()).unwrap()
}

fn run<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap().block_on(story)
}

fn blank() -> Arc<Node> {
    started(&MemoryDisk::new())
}

async fn import(node: &Node, file: &Json) -> Result<Imported, String> {
    let definitions = Definitions::parse(file.to_string().as_bytes()).map_err(|error| error.to_string())?;
    node.import(&definitions).await.map_err(|error| error.to_string())
}

/// The password of "ana" is "test12", the example of RabbitMQ's documentation.
fn shop() -> Json {
    json!({
        "rabbitmq_version": "3.10.8",
        "users": [{
            "name": "ana",
            "password_hash": "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": ["monitoring", "mine"],
            "limits": {},
        }],
        "vhosts": [{ "name": "shop", "limits": [], "metadata": { "description": "where we sell", "tags": ["eu"] } }],
        "permissions": [{ "user": "ana", "vhost": "shop", "configure": "", "write": ".*", "read": "^(?!secret)" }],
        "topic_permissions": [
            { "user": "ana", "vhost": "shop", "exchange": "events", "write": "^{username}\\.", "read": ".*" },
        ],
        "exchanges": [
            {
                "name": "events", "vhost": "shop", "type": "topic", "durable": true, "auto_delete": false,
                "internal": false, "arguments": { "alternate-exchange": "amq.fanout" },
            },
            {
                "name": "audit", "vhost": "shop", "type": "fanout", "durable": true, "auto_delete": false,
                "internal": true, "arguments": {},
            },
        ],
        "queues": [queue("orders", json!({ "x-max-length": 5, "x-f": 1.5, "x-t": { "a": [1, "b", null] } }))],
        "bindings": [
            binding("events", "orders"),
            {
                "source": "events", "vhost": "shop", "destination": "audit", "destination_type": "exchange",
                "routing_key": "#", "arguments": {},
            },
        ],
    })
}

fn queue(name: &str, arguments: Json) -> Json {
    json!({ "name": name, "vhost": "shop", "durable": true, "auto_delete": false, "arguments": arguments })
}

fn binding(source: &str, queue: &str) -> Json {
    json!({
        "source": source, "vhost": "shop", "destination": queue, "destination_type": "queue",
        "routing_key": queue, "arguments": { "x-a": 1 },
    })
}

fn push(file: &mut Json, list: &str, item: Json) {
    file[list].as_array_mut().unwrap().push(item);
}

/// Replaces or adds what is at `place`.
fn put(file: &mut Json, place: &str, value: Json) {
    let (parent, name) = place.rsplit_once('/').unwrap_or_default();
    let spot = match file.pointer_mut(parent).unwrap() {
        spot if place.is_empty() => spot,
        Json::Array(list) => &mut list[name.parse::<usize>().unwrap()],
        object => &mut object[name],
    };
    *spot = value;
}
