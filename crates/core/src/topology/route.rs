//! From a message's exchange and keys to the queues that get it.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;

use super::{ExchangeEntry, Topology, TopologyError};
use crate::exchange::{Destination, ExchangeKind, Facts, LazyFacts};
use crate::names::DEFAULT_EXCHANGE;
use crate::value::Value;

/// How many milliseconds a delayed exchange holds the message; absent or not above 0, it does not.
pub const DELAY_HEADER: &str = "x-delay";

/// Where a message goes. Reuse it from message to message: it keeps its memory.
#[derive(Debug)]
pub struct Routed<Q> {
    /// Each queue once, in the order they were declared.
    pub queues: Vec<Q>,
    /// The delayed exchanges met that have to hold the message, each a copy; it has not been routed beyond.
    pub delayed: Vec<Arc<str>>,
    /// Whether another message with the same exchange and keys might go elsewhere.
    pub depends_on_headers: bool,
    /// Reached queues with their serials, perhaps several times.
    reached: Vec<(u64, Q)>,
}

impl<Q> Default for Routed<Q> {
    fn default() -> Routed<Q> {
        Routed { queues: Vec::new(), delayed: Vec::new(), depends_on_headers: false, reached: Vec::new() }
    }
}

impl<Q> Routed<Q> {
    pub fn clear(&mut self) {
        self.queues.clear();
        self.reached.clear();
        self.delayed.clear();
        self.depends_on_headers = false;
    }

    fn finish(&mut self) {
        if self.reached.len() > 1 {
            self.reached.sort_unstable_by_key(|(serial, _)| *serial);
            self.reached.dedup_by_key(|(serial, _)| *serial);
        }
        self.queues.extend(self.reached.drain(..).map(|(_, queue)| queue));
    }
}

/// Whether delayed exchanges hold a message or have already held it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delay {
    Ahead,
    Over,
}

impl<Q: Clone + Debug> Topology<Q> {
    /// `keys` is the routing key and whatever else the message asks to be routed by.
    pub fn route(
        &self,
        exchange: &str,
        keys: &[&str],
        facts: &dyn Facts,
        out: &mut Routed<Q>,
    ) -> Result<(), TopologyError> {
        self.route_from(exchange, keys, facts, Delay::Ahead, out)
    }

    /// Routes on a message whose delay is over: no delayed exchange holds it again.
    pub fn route_after_delay(
        &self,
        exchange: &str,
        keys: &[&str],
        facts: &dyn Facts,
        out: &mut Routed<Q>,
    ) -> Result<(), TopologyError> {
        self.route_from(exchange, keys, facts, Delay::Over, out)
    }

    fn route_from(
        &self,
        exchange: &str,
        keys: &[&str],
        facts: &dyn Facts,
        delay: Delay,
        out: &mut Routed<Q>,
    ) -> Result<(), TopologyError> {
        out.clear();
        let Some(first) = self.exchanges.get(exchange) else {
            return Err(self.no_such_exchange(exchange));
        };
        let facts = LazyFacts::new(facts);
        let mut journey = Journey::default();
        let mut next = Some(first);
        while let Some(exchange) = next {
            if delay == Delay::Ahead && holds(exchange, &facts) {
                out.delayed.push(exchange.name.clone());
            } else {
                self.pass(exchange, keys, &facts, &mut journey, out);
            }
            next = journey.next(self, first);
        }
        out.depends_on_headers = facts.asked();
        out.finish();
        Ok(())
    }

    /// One exchange: queues are reached, exchanges are to be visited, or else the alternate is.
    fn pass<'a>(
        &'a self,
        exchange: &'a ExchangeEntry,
        keys: &[&str],
        facts: &LazyFacts<'_>,
        journey: &mut Journey<'a>,
        out: &mut Routed<Q>,
    ) {
        let mut matched = false;
        let mut reach = |name: &str| {
            let Some(queue) = self.queues.get(name) else {
                return;
            };
            matched = true;
            out.reached.push((queue.serial, queue.handle.clone()));
        };
        if *exchange.name == *DEFAULT_EXCHANGE {
            return keys.iter().for_each(|key| reach(key));
        }
        let mut exchanges_matched = false;
        exchange.matcher.route(keys, facts, &mut |destination| match destination {
            Destination::Queue(name) => reach(name),
            Destination::Exchange(name) => {
                exchanges_matched = true;
                journey.ahead.push(name);
            }
        });
        if !matched && !exchanges_matched {
            journey.ahead.extend(exchange.alternate.as_deref());
        }
    }
}

fn holds(exchange: &ExchangeEntry, facts: &LazyFacts<'_>) -> bool {
    matches!(exchange.spec.kind, ExchangeKind::Delayed(_))
        && facts.headers().get(DELAY_HEADER).and_then(Value::as_integer).is_some_and(|delay| delay > 0)
}

/// The exchanges still to visit and those visited, so that a cycle of bindings ends.
#[derive(Default)]
struct Journey<'a> {
    ahead: Vec<&'a str>,
    visited: HashSet<&'a str, foldhash::fast::FixedState>,
}

impl<'a> Journey<'a> {
    /// An alternate exchange need not exist.
    fn next<Q: Clone + Debug>(
        &mut self,
        topology: &'a Topology<Q>,
        first: &'a ExchangeEntry,
    ) -> Option<&'a ExchangeEntry> {
        while let Some(name) = self.ahead.pop() {
            if *name == *first.name || !self.visited.insert(name) {
                continue;
            }
            if let Some(exchange) = topology.exchanges.get(name) {
                return Some(exchange);
            }
        }
        None
    }
}
