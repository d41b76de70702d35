//! Every method a client may send on a channel, and what it is answered.

use cauce_amqp::RawTable;
use cauce_amqp::method::*;
use cauce_amqp::reply::ReplyCode;
use cauce_broker::Target;
use cauce_core::access::{Operation, Resource};
use cauce_core::exchange::{Destination, ExchangeKind};
use cauce_core::queue::Outcome;
use cauce_core::topology::{ExchangeSpec, QueueSpec, TopologyError};
use cauce_core::{Table, names};

use super::channel::Mode;
use super::confirms::Confirms;
use super::connection::Connection;
use super::fault::Fault;
use super::reply_to::is_reply_queue;
use super::settle::refuse_return;

impl Connection {
    pub(super) async fn take_method(&mut self, number: u16, method: Method<'_>) -> Result<(), Fault> {
        match method {
            Method::BasicAck(ack) => self.settle(number, ack.delivery_tag, ack.multiple, Outcome::Accept),
            Method::BasicNack(nack) => {
                self.settle(number, nack.delivery_tag, nack.multiple, unwanted(nack.requeue))
            }
            Method::BasicReject(reject) => {
                self.settle(number, reject.delivery_tag, false, unwanted(reject.requeue))
            }
            Method::ChannelClose(_) => {
                self.drop_channel_state(number);
                self.channels.remove(&number);
                self.delete_reply_queues().await;
                self.say(number, ChannelCloseOk {});
                Ok(())
            }
            Method::ChannelFlow(flow) if flow.active => {
                self.say(number, ChannelFlowOk { active: true });
                Ok(())
            }
            Method::ChannelFlow(_) => Err(Fault::connection(ReplyCode::NotImplemented, "active=false")),
            Method::ChannelFlowOk(_) => Ok(()),
            Method::ChannelOpen(_) => {
                Err(Fault::connection(ReplyCode::ChannelError, "second 'channel.open' seen"))
            }
            Method::AccessRequest(_) => {
                self.say(number, AccessRequestOk { ticket: 1 });
                Ok(())
            }
            Method::ExchangeDeclare(declare) => self.declare_exchange(number, declare).await,
            Method::ExchangeDelete(delete) => self.delete_exchange(number, delete).await,
            Method::ExchangeBind(bind) => {
                let to = Destination::exchange(bind.destination);
                self.bind(to, bind.source, bind.routing_key, bind.arguments).await?;
                self.say_unless(bind.no_wait, number, ExchangeBindOk {})
            }
            Method::ExchangeUnbind(unbind) => {
                let from = Destination::exchange(unbind.destination);
                self.unbind(&from, unbind.source, unbind.routing_key, unbind.arguments).await?;
                self.say_unless(unbind.no_wait, number, ExchangeUnbindOk {})
            }
            Method::QueueDeclare(declare) => self.declare_queue(number, declare).await,
            Method::QueueBind(bind) => {
                let name = self.queue_name(number, bind.queue)?;
                // An unnamed queue is bound by its own name, if no key is given either.
                let key = if bind.queue.is_empty() && bind.routing_key.is_empty() {
                    &name
                } else {
                    bind.routing_key
                };
                self.bind(Destination::queue(&name), bind.exchange, key, bind.arguments).await?;
                self.say_unless(bind.no_wait, number, QueueBindOk {})
            }
            Method::QueueUnbind(unbind) => {
                let name = self.queue_name(number, unbind.queue)?;
                let from = Destination::queue(&name);
                self.unbind(&from, unbind.exchange, unbind.routing_key, unbind.arguments).await?;
                self.say_unless(false, number, QueueUnbindOk {})
            }
            Method::QueuePurge(purge) => self.purge_queue(number, purge).await,
            Method::QueueDelete(delete) => self.delete_queue(number, delete).await,
            Method::BasicQos(qos) => self.qos(number, qos),
            Method::BasicConsume(consume) => self.consume(number, consume).await,
            Method::BasicCancel(cancel) => self.cancel(number, cancel).await,
            Method::BasicCancelOk(_) => Ok(()),
            Method::BasicGet(get) => self.get(number, get),
            Method::BasicRecover(recover) => {
                self.recover(number, recover.requeue)?;
                self.say(number, BasicRecoverOk {});
                Ok(())
            }
            Method::BasicRecoverAsync(recover) => self.recover(number, recover.requeue),
            Method::ConfirmSelect(select) => self.select_confirms(number, select.no_wait),
            Method::TxSelect(_) => self.select_transactions(number),
            Method::TxCommit(_) => self.commit(number).await,
            Method::TxRollback(_) => self.roll_back(number),
            other => {
                tracing::warn!(
                    channel = number,
                    method = other.name(),
                    "a method that is not for a channel of ours"
                );
                Err(Fault::connection(ReplyCode::CommandInvalid, "unimplemented method"))
            }
        }
    }

    fn say_unless<'m>(
        &mut self,
        no_wait: bool,
        number: u16,
        method: impl Into<Method<'m>>,
    ) -> Result<(), Fault> {
        if !no_wait {
            self.say(number, method);
        }
        Ok(())
    }

    fn check(&self, operation: Operation, resource: Resource<'_>) -> Result<(), Fault> {
        Ok(self.node.users.check(&self.user, &self.vhost.name, operation, resource)?)
    }

    async fn declare_exchange(&mut self, number: u16, declare: ExchangeDeclare<'_>) -> Result<(), Fault> {
        let name = declare.exchange;
        if declare.passive {
            self.vhost.topology().check_exchange(name)?;
            return self.say_unless(declare.no_wait, number, ExchangeDeclareOk {});
        }
        let arguments = declare.arguments.decode()?;
        let kind = ExchangeKind::parse(declare.kind, &arguments)?;
        refuse_default_exchange(name)?;
        self.check(Operation::Configure, Resource::Exchange(name))?;
        let exists = self.vhost.topology().exchange(name).is_some();
        let alternate = arguments.get("alternate-exchange").and_then(|value| value.as_str());
        if let Some(alternate) = alternate.filter(|_| !exists) {
            self.check(Operation::Read, Resource::Exchange(name))?;
            self.check(Operation::Write, Resource::Exchange(alternate))?;
        }
        let ExchangeDeclare { durable, auto_delete, internal, .. } = declare;
        let spec = ExchangeSpec { kind, durable, auto_delete, internal, arguments };
        self.vhost.declare_exchange(name, spec)?.wait().await;
        self.say_unless(declare.no_wait, number, ExchangeDeclareOk {})
    }

    async fn delete_exchange(&mut self, number: u16, delete: ExchangeDelete<'_>) -> Result<(), Fault> {
        self.vhost.topology().check_deletion(delete.exchange)?;
        self.check(Operation::Configure, Resource::Exchange(delete.exchange))?;
        self.vhost.delete_exchange(delete.exchange, delete.if_unused)?.wait().await;
        self.say_unless(delete.no_wait, number, ExchangeDeleteOk {})
    }

    /// Permissions come before what there is, so that nobody learns of names that are not theirs.
    fn check_binding(&self, destination: &Destination, source: &str, key: &str) -> Result<(), Fault> {
        let target = match destination {
            Destination::Queue(name) => Resource::Queue(name),
            Destination::Exchange(name) => Resource::Exchange(name),
        };
        self.check(Operation::Write, target)?;
        if let Destination::Exchange(name) = destination {
            refuse_default_exchange(name)?;
        }
        refuse_default_exchange(source)?;
        self.check(Operation::Read, Resource::Exchange(source))?;
        if self
            .vhost
            .topology()
            .exchange(source)
            .is_some_and(|entry| entry.spec().kind == ExchangeKind::Topic)
        {
            self.node.users.check_topic(&self.user, &self.vhost.name, Operation::Read, source, key)?;
        }
        Ok(())
    }

    async fn bind(
        &mut self,
        destination: Destination,
        source: &str,
        key: &str,
        arguments: RawTable<'_>,
    ) -> Result<(), Fault> {
        self.check_binding(&destination, source, key)?;
        if let Destination::Queue(name) = &destination {
            self.target(name)?;
        }
        self.vhost.bind(source, destination, key, arguments.decode()?)?.wait().await;
        Ok(())
    }

    async fn unbind(
        &mut self,
        destination: &Destination,
        source: &str,
        key: &str,
        arguments: RawTable<'_>,
    ) -> Result<(), Fault> {
        self.check_binding(destination, source, key)?;
        if let Destination::Queue(name) = destination
            && !is_reply_queue(name)
            && self.vhost.topology().queue(name).is_some()
        {
            self.target(name)?;
        }
        self.vhost.unbind(source, destination, key, arguments.decode()?)?.wait().await;
        Ok(())
    }

    async fn declare_queue(&mut self, number: u16, declare: QueueDeclare<'_>) -> Result<(), Fault> {
        if is_reply_queue(declare.queue) {
            self.check_reply_queue(declare.queue)?;
            let answer = QueueDeclareOk { queue: declare.queue, message_count: 0, consumer_count: 1 };
            return self.say_unless(declare.no_wait, number, answer);
        }
        let target = if declare.passive {
            let name = self.queue_name(number, declare.queue)?;
            self.target(&name)?
        } else {
            let arguments = declare.arguments.decode()?;
            let chosen = declare.queue.is_empty().then(|| format!("amq.gen-{}", self.node.random_name()));
            let name = chosen.as_deref().unwrap_or(declare.queue);
            self.check_queue_declaration(name, chosen.is_none(), &arguments)?;
            let spec = QueueSpec {
                durable: declare.durable,
                exclusive_owner: declare.exclusive.then_some(self.id),
                auto_delete: declare.auto_delete,
                arguments,
            };
            let (target, saved) = match chosen.is_some() {
                true => self.vhost.add_queue(name, spec)?,
                false => self.vhost.declare_queue(name, spec, self.id)?,
            };
            saved.wait().await;
            target
        };
        if let Target::Queue(queue) = &target {
            queue.touch();
        }
        let channel = self.channel(number);
        channel.last_queue = Some(target.name().to_owned());
        if declare.no_wait {
            return Ok(());
        }
        let status = match &target {
            Target::Queue(queue) => queue.status().await,
            Target::Stream(stream) => stream.status(),
        };
        self.say(
            number,
            QueueDeclareOk {
                queue: target.name(),
                message_count: saturated(status.ready),
                consumer_count: status.consumers as u32,
            },
        );
        Ok(())
    }

    fn check_queue_declaration(&self, name: &str, by_client: bool, arguments: &Table) -> Result<(), Fault> {
        let exists = self.vhost.topology().queue(name).is_some();
        if by_client && !exists && names::is_reserved(name) {
            return Err(TopologyError::ReservedName { what: "queue", name: name.to_owned() }.into());
        }
        self.check(Operation::Configure, Resource::Queue(name))?;
        let dead_letters = arguments.get("x-dead-letter-exchange").and_then(|value| value.as_str());
        if let Some(exchange) = dead_letters.filter(|_| !exists) {
            self.check(Operation::Read, Resource::Queue(name))?;
            self.check(Operation::Write, Resource::Exchange(exchange))?;
        }
        Ok(())
    }

    async fn purge_queue(&mut self, number: u16, purge: QueuePurge<'_>) -> Result<(), Fault> {
        let name = self.queue_name(number, purge.queue)?;
        self.check(Operation::Read, Resource::Queue(&name))?;
        let purged = self.queue_for(&name, "queue.purge")?.purge().await;
        let message_count = saturated(purged);
        self.say_unless(purge.no_wait, number, QueuePurgeOk { message_count })
    }

    async fn delete_queue(&mut self, number: u16, delete: QueueDelete<'_>) -> Result<(), Fault> {
        let name = self.queue_name(number, delete.queue)?;
        self.check(Operation::Configure, Resource::Queue(&name))?;
        if is_reply_queue(&name) {
            return self.say_unless(delete.no_wait, number, QueueDeleteOk { message_count: 0 });
        }
        let target = self.vhost.topology().queue(&name).map(|entry| entry.handle.clone());
        let deleted = match target {
            Some(Target::Stream(stream)) => self.delete_stream(&stream, &delete).await?,
            _ => self.vhost.delete_queue(&name, self.id, delete.if_unused, delete.if_empty).await?,
        };
        let message_count = saturated(deleted);
        self.say_unless(delete.no_wait, number, QueueDeleteOk { message_count })
    }

    fn qos(&mut self, number: u16, qos: BasicQos) -> Result<(), Fault> {
        if qos.prefetch_size != 0 {
            return Err(Fault::connection(
                ReplyCode::NotImplemented,
                format!("prefetch_size!=0 ({})", qos.prefetch_size),
            ));
        }
        let channel = self.channel(number);
        if qos.global {
            channel.shared_limit.set_max(qos.prefetch_count.into());
            let consumers = channel.consumers.clone();
            self.wake(&consumers);
        } else {
            channel.prefetch = qos.prefetch_count.into();
        }
        self.say(number, BasicQosOk {});
        Ok(())
    }

    fn recover(&mut self, number: u16, requeue: bool) -> Result<(), Fault> {
        if !requeue {
            return Err(Fault::connection(ReplyCode::NotImplemented, "requeue=false"));
        }
        let channel = self.channel(number);
        let unsettled = channel.take_all();
        refuse_return("basic.recover", &unsettled, &self.vhost.name)?;
        self.settle_now(number, unsettled, Outcome::Release);
        Ok(())
    }

    fn select_confirms(&mut self, number: u16, no_wait: bool) -> Result<(), Fault> {
        let channel = self.channel(number);
        match channel.mode {
            Mode::Transaction(_) => {
                return Err(Fault::new(
                    ReplyCode::PreconditionFailed,
                    "cannot switch from tx to confirm mode",
                ));
            }
            Mode::Plain => channel.mode = Mode::Confirm(Confirms::new()),
            Mode::Confirm(_) => {}
        }
        self.say_unless(no_wait, number, ConfirmSelectOk {})
    }
}

fn refuse_default_exchange(name: &str) -> Result<(), Fault> {
    match name {
        names::DEFAULT_EXCHANGE => Err(TopologyError::DefaultExchange.into()),
        _ => Ok(()),
    }
}

/// Counts go out as 32 bits.
pub(super) fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn unwanted(requeue: bool) -> Outcome {
    if requeue { Outcome::Release } else { Outcome::Reject }
}
