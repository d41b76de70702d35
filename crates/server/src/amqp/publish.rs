//! The publishing half of a connection: messages gathered by queue for as long as one read lasts.

use std::collections::HashMap;
use std::sync::Arc;

use cauce_amqp::properties::PropertiesSummary;
use cauce_amqp::reply::ReplyCode;
use cauce_amqp::{Content, DecodeError, carbon_copies, strip_bcc};
use cauce_broker::stream::StreamHandle;
use cauce_broker::{
    ConfirmTag, EnvelopeFacts, Link, Part, Receipts, Share, Target, Vhost, clock, delay_ms, with_copies,
};
use cauce_core::access::{Operation, Resource};
use cauce_core::exchange::ExchangeKind;
use cauce_core::message::{BlockBuilder, Message, Traits};
use cauce_core::queue::Picks;
use cauce_core::topology::Routed;

use super::backlog::Backlog;
use super::channel::{Mode, OwnedPublish, TooMuch};
use super::connection::Connection;
use super::fault::Fault;
use super::reply_to::REPLY_TO;

/// Routes remembered at a time; past it all are forgotten.
const ROUTES_MAX: usize = 1024;

/// Message bytes gathered before they are handed over.
pub(super) const BLOCK_BYTES: usize = 256 << 10;

type FastHash = foldhash::fast::RandomState;

pub(super) type Route = Arc<[Target]>;

/// Routes that hold for one generation of the topology and one of the permissions.
#[derive(Debug, Default)]
pub(super) struct Routes {
    generation: (u64, u64),
    /// By exchange, then by routing key.
    by_name: HashMap<Box<str>, HashMap<Box<str>, Route, FastHash>, FastHash>,
    count: usize,
    routed: Routed<Target>,
}

impl Routes {
    fn get(&self, content: &Content<'_>) -> Option<&Route> {
        self.by_name.get(content.exchange)?.get(content.routing_key)
    }

    fn remember(&mut self, content: &Content<'_>, route: Route) {
        if self.count >= ROUTES_MAX {
            self.by_name.clear();
            self.count = 0;
        }
        self.by_name.entry(content.exchange.into()).or_default().insert(content.routing_key.into(), route);
        self.count += 1;
    }
}

/// The share of a queue or stream of what was read.
#[derive(Debug)]
struct Group {
    target: Target,
    indices: Vec<u32>,
    /// One a message; `None` if nobody waits to hear of it.
    tags: Vec<Option<ConfirmTag>>,
}

#[derive(Default)]
pub(super) struct Publisher {
    pub(super) backlog: Backlog,
    block: BlockBuilder,
    groups: Vec<Group>,
    routes: Routes,
    now_ms: i64,
}

/// Who publishes, for permissions and confirms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Author<'a> {
    pub(super) vhost: &'a Arc<Vhost>,
    pub(super) node: &'a cauce_broker::Node,
    pub(super) user: &'a str,
}

impl Connection {
    pub(super) fn publish(&mut self, number: u16, content: &Content<'_>) -> Result<(), Fault> {
        self.publishes = true;
        if matches!(self.channel(number).mode, Mode::Transaction(_)) {
            return self.keep_for_commit(number, OwnedPublish::from(content));
        }
        self.publish_now(number, content)
    }

    /// A publish of a transaction is refused at once if it cannot be.
    fn keep_for_commit(&mut self, number: u16, publish: OwnedPublish) -> Result<(), Fault> {
        self.check_publishes(number, std::slice::from_ref(&publish))?;
        let memory = self.node.memory();
        let channel = self.channels.get_mut(&number).expect("the content came on an open channel");
        let Mode::Transaction(transaction) = &mut channel.mode else {
            return Ok(());
        };
        transaction.publish(publish, memory).map_err(|TooMuch| {
            let text = format!(
                "open transactions hold more than {} bytes, all they may have together",
                memory.transactions_bytes_max()
            );
            Fault::new(ReplyCode::PreconditionFailed, text)
        })
    }

    /// Routes the message and gathers it for its queues.
    pub(super) fn publish_now(&mut self, number: u16, content: &Content<'_>) -> Result<(), Fault> {
        let summary = PropertiesSummary::parse(content.properties)?;
        if summary.reply_to == Some(REPLY_TO) {
            let properties = self.with_reply_queue(number, content.properties)?;
            return self.publish_now(
                number,
                &Content { properties: &properties, body: (&*content.body).into(), ..*content },
            );
        }
        let ttl_ms = summary.expiration.map(parse_expiration).transpose()?;
        let author = Author { vhost: &self.vhost, node: &self.node, user: &self.user };
        let route = self.publisher.route(author, content, &summary)?;
        if route.is_empty() && content.mandatory {
            self.out.say_return(number, self.frame_max, content);
        }
        let channel = self.channels.get_mut(&number).expect("the content came on it");
        let tag = match &mut channel.mode {
            Mode::Confirm(confirms) => {
                let sequence = confirms.published(route.len() as u32);
                if confirms.has_first_news() {
                    self.told_soon.push(number);
                }
                Some(ConfirmTag { channel: number, life: channel.life, sequence })
            }
            Mode::Transaction(_) | Mode::Plain => None,
        };
        self.publisher.add(content, &summary, ttl_ms, &route, tag);
        Ok(())
    }
}

impl Publisher {
    /// Stamps what is published from now on with this time.
    pub(super) fn start_turn(&mut self) {
        self.now_ms = clock::now_ms();
    }

    pub(super) fn is_full(&self) -> bool {
        self.block.len_bytes() >= BLOCK_BYTES
    }

    /// The queues that get the message; none if nobody does.
    pub(super) fn route(
        &mut self,
        author: Author<'_>,
        content: &Content<'_>,
        summary: &PropertiesSummary<'_>,
    ) -> Result<Route, Fault> {
        let generation = (author.vhost.generation(), author.node.users.generation());
        if self.routes.generation != generation {
            self.routes = Routes { generation, ..Routes::default() };
        }
        let copies = match summary.headers {
            Some(headers) => {
                let (mut copies, blind) = carbon_copies(headers).map_err(invalid_message)?;
                copies.extend(blind);
                copies
            }
            None => Vec::new(),
        };
        let known = self.routes.get(content).filter(|_| copies.is_empty()).cloned();
        let route = known.map_or_else(|| self.find_route(author, content, &copies), Ok)?;
        check_author(author, summary)?;
        for stream in route.iter().filter_map(Target::stream) {
            let message = message_of(content, content.properties, Traits::default());
            stream
                .check(&message)
                .map_err(|unfit| Fault::new(ReplyCode::PreconditionFailed, unfit.to_string()))?;
        }
        Ok(route)
    }

    fn find_route(
        &mut self,
        author: Author<'_>,
        content: &Content<'_>,
        copies: &[String],
    ) -> Result<Route, Fault> {
        let exchange = Resource::Exchange(content.exchange);
        author.node.users.check(author.user, &author.vhost.name, Operation::Write, exchange)?;
        let keys = with_copies(content.routing_key, copies);
        let topology = author.vhost.topology();
        let entry = topology.exchange(content.exchange);
        if entry.is_some_and(|entry| entry.is_internal()) {
            let text = format!(
                "cannot publish to internal exchange '{}' in vhost '{}'",
                content.exchange, author.vhost.name
            );
            return Err(Fault::new(ReplyCode::AccessRefused, text));
        }
        if entry.is_some_and(|entry| entry.spec().kind == ExchangeKind::Topic) {
            for key in &keys {
                let (vhost, exchange) = (&author.vhost.name, content.exchange);
                author.node.users.check_topic(author.user, vhost, Operation::Write, exchange, key)?;
            }
        }
        let routed = &mut self.routes.routed;
        routed.clear();
        topology.route(content.exchange, &keys, &EnvelopeFacts(content.properties), routed)?;
        let cacheable = copies.is_empty() && !routed.depends_on_headers;
        let route: Route = author.vhost.targets(routed).collect();
        if cacheable {
            self.routes.remember(content, route.clone());
        }
        Ok(route)
    }

    /// Adds the message for its queues.
    pub(super) fn add(
        &mut self,
        content: &Content<'_>,
        summary: &PropertiesSummary<'_>,
        ttl_ms: Option<u64>,
        route: &Route,
        tag: Option<ConfirmTag>,
    ) {
        if route.is_empty() {
            return;
        }
        let stripped;
        let envelope = match summary.headers {
            Some(_) => {
                stripped = strip_bcc(content.properties);
                &stripped[..]
            }
            None => content.properties,
        };
        let traits = Traits {
            persistent: summary.is_persistent(),
            priority: summary.priority.unwrap_or(0),
            ttl_ms,
            arrived_ms: self.now_ms,
        };
        let message = message_of(content, envelope, traits);
        let index = self.block.push(message);
        let mut delayed = None;
        for target in route.iter() {
            let index = match target.is_delay() {
                true => *delayed.get_or_insert_with(|| self.push_delayed(content, message)),
                false => index,
            };
            let group = self.group(target);
            group.indices.push(index);
            group.tags.push(tag);
        }
    }

    /// A copy for all delayed exchanges: it lives for as long as they hold it, with all that routing it on will
    /// ask for.
    fn push_delayed(&mut self, content: &Content<'_>, message: Message<'_>) -> u32 {
        let traits = Traits { ttl_ms: delay_ms(content.properties), ..message.traits };
        self.block.push(Message { envelope: content.properties, traits, ..message })
    }

    fn group(&mut self, target: &Target) -> &mut Group {
        let at = self.groups.iter().position(|group| group.target.is(target));
        let at = at.unwrap_or_else(|| {
            self.groups.push(Group { target: target.clone(), indices: Vec::new(), tags: Vec::new() });
            self.groups.len() - 1
        });
        &mut self.groups[at]
    }

    /// What was gathered, as the parts of a transaction, and what of it goes to streams.
    pub(super) fn take_parts(&mut self, vhost: &Vhost) -> (Vec<Part>, Vec<(Arc<StreamHandle>, Share)>) {
        let block = self.block.finish(vhost.memory().gauge());
        let (mut parts, mut shares) = (Vec::new(), Vec::new());
        for Group { target, indices, .. } in self.groups.drain(..) {
            let (block, picks) = (block.clone(), Picks::from_indices(&indices));
            match target {
                Target::Queue(queue) => parts.push(Part { queue, block, picks, settles: Vec::new() }),
                Target::Stream(stream) => {
                    shares.push((stream, Share { block, picks, receipts: Receipts::Nobody }));
                }
            }
        }
        (parts, shares)
    }

    /// Hands over what was gathered. What finds its queue full is in the backlog then.
    pub(super) fn flush(&mut self, vhost: &Vhost, link: &Link) {
        if self.block.is_empty() {
            return;
        }
        let block = self.block.finish(vhost.memory().gauge());
        for Group { target, indices, tags } in self.groups.drain(..) {
            let receipts = match tags.iter().all(Option::is_none) {
                true => Receipts::Nobody,
                false => Receipts::Connection { link: link.clone(), tags },
            };
            let picks = Picks::from_indices(&indices);
            self.backlog.add(target, Share { block: block.clone(), picks, receipts });
        }
    }
}

fn message_of<'m>(content: &'m Content<'_>, envelope: &'m [u8], traits: Traits) -> Message<'m> {
    Message {
        exchange: content.exchange.as_bytes(),
        routing_key: content.routing_key.as_bytes(),
        envelope,
        body: &content.body,
        traits,
    }
}

/// RabbitMQ's validated user id: nobody speaks for another.
fn check_author(author: Author<'_>, summary: &PropertiesSummary<'_>) -> Result<(), Fault> {
    match summary.user_id {
        Some(claimed)
            if claimed != author.user && !author.node.users.has_tag(author.user, "impersonator") =>
        {
            let text =
                format!("user_id property set to '{claimed}' but authenticated user was '{}'", author.user);
            Err(Fault::new(ReplyCode::PreconditionFailed, text))
        }
        _ => Ok(()),
    }
}

fn invalid_message(error: DecodeError) -> Fault {
    Fault::new(ReplyCode::PreconditionFailed, format!("invalid message: {error}"))
}

pub(super) fn parse_expiration(text: &str) -> Result<u64, Fault> {
    text.parse().map_err(|_| {
        Fault::new(
            ReplyCode::PreconditionFailed,
            format!("invalid expiration '{text}': not a number of milliseconds"),
        )
    })
}

#[cfg(test)]
mod tests {
    use cauce_amqp::properties::PropertiesBuf;
    use cauce_broker::{Flush, GUEST, Node, NodeConfig};
    use cauce_core::access::Permissions;
    use cauce_core::exchange::Destination;
    use cauce_core::topology::ExchangeSpec;
    use cauce_core::{Table, Value};
    use cauce_log::MemoryDisk;

    use super::*;

    #[tokio::test]
    async fn however_many_exchanges_delay_a_message_it_is_copied_once_for_all() {
        let node = node();
        let vhost = node.vhost("/").unwrap();
        for name in ["slow", "slower", "slowest"] {
            let arguments = [("x-delayed-type", Value::text("fanout"))].into_iter().collect();
            let kind = ExchangeKind::parse("x-delayed-message", &arguments).unwrap();
            let spec = ExchangeSpec { kind, durable: false, auto_delete: false, internal: false, arguments };
            vhost.declare_exchange(name, spec).unwrap().wait().await;
            let bound = vhost.bind("amq.fanout", Destination::exchange(name), "", Table::new());
            bound.unwrap().wait().await;
        }
        let author = Author { vhost: &vhost, node: &node, user: GUEST };
        let mut publisher = Publisher::default();
        let headers = [("x-delay", Value::I32(60_000))].into_iter().collect();
        let properties = PropertiesBuf { headers: Some(headers), ..Default::default() }.to_bytes();
        let content = Content { exchange: "amq.fanout", properties: &properties, ..content() };
        let summary = PropertiesSummary::parse(content.properties).unwrap();
        let route = publisher.route(author, &content, &summary).unwrap();
        assert_eq!(route.len(), 3);
        publisher.add(&content, &summary, None, &route, None);
        assert_eq!(publisher.block.len(), 2);
    }

    #[tokio::test]
    async fn a_remembered_route_is_of_no_use_once_the_permission_is_gone() {
        let node = node();
        let vhost = node.vhost("/").unwrap();
        let author = Author { vhost: &vhost, node: &node, user: GUEST };
        let mut publisher = Publisher::default();
        let mut publish = || {
            let content = content();
            let summary = PropertiesSummary::parse(content.properties).unwrap();
            publisher.route(author, &content, &summary).is_ok()
        };
        assert!(publish() && publish());
        node.grant(GUEST, "/", &Permissions::parse(".*", "", ".*").unwrap()).unwrap().wait().await;
        assert!(!publish());
    }
    fn node() -> Arc<Node> {
        let config = NodeConfig { flush: Flush::Os, memory_bytes: 1 << 20, ..NodeConfig::default() };
        Node::start(Arc::new(MemoryDisk::new()), config).unwrap()
    }

    fn content() -> Content<'static> {
        Content {
            exchange: "amq.direct",
            routing_key: "k",
            mandatory: false,
            immediate: false,
            properties: &[0, 0],
            body: (&b""[..]).into(),
        }
    }
}
