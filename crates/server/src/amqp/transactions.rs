//! Transactions of a channel: what it publishes and settles counts with `tx.commit`, all of it or nothing.

use cauce_amqp::Content;
use cauce_amqp::method::*;
use cauce_amqp::properties::PropertiesSummary;
use cauce_amqp::reply::ReplyCode;

use super::channel::{Mode, OwnedPublish, Transaction};
use super::connection::Connection;
use super::fault::Fault;
use super::publish::{Author, parse_expiration};
use super::reply_to::REPLY_TO;
use super::settle::places;

impl Connection {
    pub(super) fn select_transactions(&mut self, number: u16) -> Result<(), Fault> {
        let channel = self.channel(number);
        match channel.mode {
            Mode::Confirm(_) => {
                return Err(Fault::new(
                    ReplyCode::PreconditionFailed,
                    "cannot switch from confirm to tx mode",
                ));
            }
            Mode::Plain => channel.mode = Mode::Transaction(Transaction::default()),
            Mode::Transaction(_) => {}
        }
        self.say(number, TxSelectOk {});
        Ok(())
    }

    fn transaction(&mut self, number: u16) -> Result<Transaction, Fault> {
        let channel = self.channel(number);
        match &mut channel.mode {
            Mode::Transaction(transaction) => Ok(std::mem::take(transaction)),
            _ => Err(Fault::new(ReplyCode::PreconditionFailed, "channel is not transactional")),
        }
    }

    pub(super) async fn commit(&mut self, number: u16) -> Result<(), Fault> {
        let transaction = self.transaction(number)?;
        // All or nothing: what cannot be published is found before anything is.
        if let Err(fault) = self.check_publishes(number, &transaction.publishes) {
            self.channel(number).mode = Mode::Transaction(transaction);
            return Err(fault);
        }
        // What others published and settled goes before.
        self.hand_over_all().await;
        self.publisher.start_turn();
        let mut publishes = transaction.publishes.iter();
        let gathered = publishes.try_for_each(|publish| self.publish_now(number, &publish.content()));
        let (mut parts, shares) = self.publisher.take_parts(&self.vhost);
        if let Err(fault) = gathered {
            // An exchange went since the check.
            self.channel(number).mode = Mode::Transaction(transaction);
            return Err(fault);
        }
        let places = transaction.settles.iter().map(|settle| places(&settle.unsettled)).sum();
        for settle in transaction.settles {
            self.settling.add(settle.unsettled, settle.outcome);
        }
        self.settling.add_to(&mut parts, self.node.memory().gauge());
        self.node.commit(parts).await;
        for (stream, share) in shares {
            stream.publish(share).await;
        }
        self.settling.flush();
        self.release_places(number, places);
        self.say(number, TxCommitOk {});
        Ok(())
    }

    pub(super) fn check_publishes(&mut self, number: u16, publishes: &[OwnedPublish]) -> Result<(), Fault> {
        for publish in publishes {
            let summary = PropertiesSummary::parse(&publish.properties)?;
            summary.expiration.map(parse_expiration).transpose()?;
            if summary.reply_to == Some(REPLY_TO) {
                self.with_reply_queue(number, &publish.properties)?;
            }
            let author = Author { vhost: &self.vhost, node: &self.node, user: &self.user };
            self.publisher.route(author, &publish.content(), &summary)?;
        }
        Ok(())
    }

    /// Publishes go; acknowledgements are as if they had not come.
    pub(super) fn roll_back(&mut self, number: u16) -> Result<(), Fault> {
        let transaction = self.transaction(number)?;
        let channel = self.channel(number);
        for settle in transaction.settles {
            channel.put_back(settle.unsettled);
        }
        self.say(number, TxRollbackOk {});
        Ok(())
    }
}

impl OwnedPublish {
    fn content(&self) -> Content<'_> {
        Content {
            exchange: &self.exchange,
            routing_key: &self.routing_key,
            mandatory: self.mandatory,
            immediate: false,
            properties: &self.properties,
            body: (&self.body[..]).into(),
        }
    }
}

impl From<&Content<'_>> for OwnedPublish {
    fn from(content: &Content<'_>) -> OwnedPublish {
        OwnedPublish {
            exchange: content.exchange.to_owned(),
            routing_key: content.routing_key.to_owned(),
            mandatory: content.mandatory,
            properties: content.properties.to_vec(),
            body: content.body.to_vec(),
        }
    }
}
