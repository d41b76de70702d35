//! The queues of a run, the exchange before them, and who publishes to and consumes from which.

use cauce_amqp::method::{ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare, QueueDelete};
use cauce_amqp::table::encode_entry;
use cauce_amqp::{RawTable, encode_table};
use cauce_core::{Table, Value};
use clap::ValueEnum;

use super::connection::{Connection, Error};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExchangeType {
    Direct,
    Fanout,
    Topic,
    Headers,
}

impl ExchangeType {
    pub(super) fn name(self) -> &'static str {
        match self {
            ExchangeType::Direct => "direct",
            ExchangeType::Fanout => "fanout",
            ExchangeType::Topic => "topic",
            ExchangeType::Headers => "headers",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Topology {
    /// Names of equal length, so that all messages of a publisher are equally long.
    pub(super) queues: Vec<String>,
    pub(super) exchange: Option<(String, ExchangeType)>,
    pub(super) durable: bool,
    pub(super) streams: bool,
}

impl Topology {
    /// `run` tells our queues from those of another run on the same broker.
    pub(super) fn new(run: u32, queues: usize, exchange: Option<ExchangeType>, durable: bool) -> Topology {
        let prefix = format!("cauce-bench-{run}");
        Topology {
            queues: (0..queues).map(|index| format!("{prefix}.{index:05}")).collect(),
            exchange: exchange.map(|kind| (prefix, kind)),
            durable,
            streams: false,
        }
    }

    /// The same with streams for queues, which are always durable.
    pub(super) fn of_streams(self) -> Topology {
        Topology { durable: true, streams: true, ..self }
    }

    pub(super) fn exchange_name(&self) -> &str {
        self.exchange.as_ref().map_or("", |(name, _)| name)
    }

    /// In how many queues each message arrives.
    pub(super) fn copies(&self) -> u64 {
        match self.exchange {
            Some((_, ExchangeType::Fanout)) => self.queues.len() as u64,
            _ => 1,
        }
    }

    /// The queues of worker `index` out of `workers`: all are served, as evenly as it goes.
    pub(super) fn share(&self, index: usize, workers: usize) -> Vec<&str> {
        if workers >= self.queues.len() {
            return vec![&self.queues[index % self.queues.len()]];
        }
        self.queues.iter().skip(index).step_by(workers).map(String::as_str).collect()
    }

    pub(super) async fn declare(&self, connection: &mut Connection) -> Result<(), Error> {
        if let Some((name, kind)) = &self.exchange {
            let declare = ExchangeDeclare {
                exchange: name,
                kind: kind.name(),
                durable: self.durable,
                ..ExchangeDeclare::default()
            };
            connection.call(declare.into(), "exchange.declare-ok").await?;
        }
        let mut arguments = Vec::new();
        if self.streams {
            encode_entry("x-queue-type", &Value::text("stream"), &mut arguments);
        }
        for queue in &self.queues {
            let arguments = RawTable(&arguments);
            let declare = QueueDeclare { queue, durable: self.durable, arguments, ..QueueDeclare::default() };
            connection.call(declare.into(), "queue.declare-ok").await?;
            self.bind(connection, queue).await?;
        }
        Ok(())
    }

    async fn bind(&self, connection: &mut Connection, queue: &str) -> Result<(), Error> {
        let Some((exchange, kind)) = &self.exchange else {
            return Ok(());
        };
        let pattern = queue.rsplit_once('.').map(|(_, last)| format!("*.{last}"));
        let mut arguments = Vec::new();
        if *kind == ExchangeType::Headers {
            encode_table(&headers(queue), &mut arguments);
        }
        let bind = QueueBind {
            queue,
            exchange,
            routing_key: match kind {
                ExchangeType::Topic => pattern.as_deref().unwrap_or("#"),
                _ => queue,
            },
            arguments: RawTable(&arguments),
            ..QueueBind::default()
        };
        connection.call(bind.into(), "queue.bind-ok").await
    }

    pub(super) async fn delete(&self, connection: &mut Connection) -> Result<(), Error> {
        for queue in &self.queues {
            let delete = QueueDelete { queue, ..QueueDelete::default() };
            connection.call(delete.into(), "queue.delete-ok").await?;
        }
        if let Some((exchange, _)) = &self.exchange {
            let delete = ExchangeDelete { exchange, ..ExchangeDelete::default() };
            connection.call(delete.into(), "exchange.delete-ok").await?;
        }
        Ok(())
    }
}

/// What a headers exchange matches: in the binding's arguments, and in the message's headers.
pub(super) fn headers(queue: &str) -> Table {
    [("queue", Value::text(queue))].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_has_a_worker_and_every_worker_a_queue() {
        check(4, 4, "0 | 1 | 2 | 3");
        check(5, 2, "0 2 4 | 1 3");
        check(2, 5, "0 | 1 | 0 | 1 | 0");
        check(1, 1, "0");
    }

    fn check(queues: usize, workers: usize, expected: &str) {
        let topology = Topology::new(7, queues, None, false);
        let number = |queue: &&str| queue.rsplit('.').next().map(|digits| digits.parse::<usize>());
        let shares: Vec<String> = (0..workers)
            .map(|index| {
                let share = topology.share(index, workers);
                let numbers = share.iter().map(|queue| match number(queue) {
                    Some(Ok(number)) => number.to_string(),
                    _ => panic!("{queue} has no number"),
                });
                numbers.collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(shares.join(" | "), expected);
    }
}
