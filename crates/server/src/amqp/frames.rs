//! Frames as they come: to which channel they belong, and what a wrong one ends.

use cauce_amqp::ContentAssembler;
use cauce_amqp::frame::{self, Frame, FrameKind};
use cauce_amqp::method::*;
use cauce_amqp::reply::ReplyCode;
use cauce_core::queue::Outcome;

use super::channel::{Channel, Mode};
use super::connection::Connection;
use super::fault::Fault;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Done,
    /// It comes after publishes that wait for a full queue, and must be read again.
    NotYet,
    /// The client said it leaves.
    Goodbye,
}

impl Connection {
    /// Acts on every whole frame that was read; true once the client said goodbye.
    pub(super) async fn take_input(&mut self) -> Result<bool, Fault> {
        if self.input.is_empty() || self.pause().is_some() {
            return Ok(false);
        }
        self.publisher.start_turn();
        // Taken out, so that frames can be read from it while the connection changes.
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        let mut taken = Ok(Taken::Done);
        while self.held_up().is_none() {
            match frame::parse(&input[at..], self.frame_max) {
                Ok(Some((frame, size))) => {
                    taken = self.take_frame(frame).await;
                    if let Err(Fault::Connection { code, .. }) = taken {
                        self.blamed = self.blame(frame, code);
                    }
                    at += if matches!(taken, Ok(Taken::NotYet)) { 0 } else { size };
                    if !matches!(taken, Ok(Taken::Done)) {
                        break;
                    }
                    if self.publisher.is_full() {
                        self.publisher.flush(&self.vhost, &self.link);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    taken = Err(error.into());
                    break;
                }
            }
        }
        self.hand_over();
        self.tell_confirms();
        input.drain(..at);
        self.input = input;
        Ok(matches!(taken?, Taken::Goodbye))
    }

    async fn take_frame(&mut self, frame: Frame<'_>) -> Result<Taken, Fault> {
        if frame.kind == FrameKind::Heartbeat {
            return match frame.channel {
                0 => Ok(Taken::Done),
                _ => Err(Fault::connection(ReplyCode::FrameError, "heartbeat on a channel")),
            };
        }
        if frame.channel == 0 {
            return self.take_connection_frame(frame);
        }
        match self.take_channel_frame(frame).await {
            Err(Fault::Channel { code, text }) => {
                self.close_channel(frame, code, &text);
                Ok(Taken::Done)
            }
            other => other,
        }
    }

    fn take_connection_frame(&mut self, frame: Frame<'_>) -> Result<Taken, Fault> {
        if frame.kind != FrameKind::Method {
            return Err(Fault::connection(ReplyCode::UnexpectedFrame, "content on channel 0"));
        }
        match Method::decode(frame.payload)? {
            Method::ConnectionClose(_) => {
                if !self.hand_over() {
                    return Ok(Taken::NotYet);
                }
                self.say(0, ConnectionCloseOk {});
                self.write_some()?;
                Ok(Taken::Goodbye)
            }
            Method::ConnectionUpdateSecret(_) => {
                self.say(0, ConnectionUpdateSecretOk {});
                Ok(Taken::Done)
            }
            method => {
                tracing::warn!(peer = %self.peer, method = method.name(), "a method out of its turn on channel 0");
                let text = "unexpected method in connection state running";
                Err(Fault::connection(ReplyCode::ChannelError, text))
            }
        }
    }

    async fn take_channel_frame(&mut self, frame: Frame<'_>) -> Result<Taken, Fault> {
        let number = frame.channel;
        let Some(channel) = self.channels.get_mut(&number) else {
            self.open_channel(frame)?;
            return Ok(Taken::Done);
        };
        if channel.closing {
            self.take_closing_frame(frame)?;
            return Ok(Taken::Done);
        }
        match frame.kind {
            FrameKind::Method => match decode_publish(frame.payload) {
                Some(publish) => {
                    let publish = publish?;
                    if publish.immediate {
                        return Err(Fault::connection(ReplyCode::NotImplemented, "immediate=true"));
                    }
                    channel.content.publish(&publish)?;
                }
                None => {
                    channel.content.method()?;
                    let method = Method::decode(frame.payload)?;
                    // All but settlements may depend on what was published and settled before.
                    if !is_settlement(&method) && !self.hand_over() {
                        return Ok(Taken::NotYet);
                    }
                    self.take_method(number, method).await?;
                }
            },
            FrameKind::Header | FrameKind::Body => self.take_content(frame)?,
            FrameKind::Heartbeat => unreachable!("heartbeats were dealt with before"),
        }
        Ok(Taken::Done)
    }

    /// Publishes the message if it is whole with what came.
    fn take_content(&mut self, frame: Frame<'_>) -> Result<(), Fault> {
        let number = frame.channel;
        // Taken out and put back, since the message borrows from it.
        let mut content = std::mem::replace(&mut self.channel(number).content, ContentAssembler::new(0));
        let whole = match frame.kind {
            FrameKind::Header => content.header(frame.payload),
            _ => content.body(frame.payload),
        };
        let result = match whole {
            Ok(Some(message)) => self.publish(number, &message),
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
        let body_bytes = content.body_bytes();
        self.channel(number).content = content;
        result?;
        // Most bodies come in one frame.
        if body_bytes > 0 || self.bodies > 0 { self.charge_body(number, body_bytes) } else { Ok(()) }
    }

    /// A body that has come in part takes memory as any message does.
    fn charge_body(&mut self, number: u16, body_bytes: usize) -> Result<(), Fault> {
        let memory = self.vhost.memory();
        let channel = self.channels.get_mut(&number).expect("the frame came on an open channel");
        if body_bytes == 0 {
            self.bodies -= usize::from(channel.body_charges.take().is_some());
            return Ok(());
        }
        let charges = channel.body_charges.get_or_insert_with(|| {
            self.bodies += 1;
            [memory.gauge().charge(0), memory.bodies().charge(0)]
        });
        charges.iter_mut().for_each(|charge| charge.grow(body_bytes - charge.bytes()));
        let most = memory.bodies_bytes_max();
        if memory.bodies().bytes() > most {
            let text =
                format!("bodies that are not whole hold more than {most} bytes, half of the memory budget");
            return Err(Fault::connection(ReplyCode::ResourceError, text));
        }
        Ok(())
    }

    fn open_channel(&mut self, frame: Frame<'_>) -> Result<(), Fault> {
        let number = frame.channel;
        if self.channels.len() >= self.channel_max.into() {
            let text = format!(
                "number of channels opened ({}) has reached the negotiated channel_max ({})",
                self.channels.len(),
                self.channel_max
            );
            return Err(Fault::connection(ReplyCode::NotAllowed, text));
        }
        let opens = frame.kind == FrameKind::Method
            && matches!(Method::decode(frame.payload)?, Method::ChannelOpen(_));
        if !opens {
            return Err(Fault::connection(ReplyCode::ChannelError, "expected 'channel.open'"));
        }
        self.lives = self.lives.wrapping_add(1);
        self.channels.insert(number, Channel::new(self.lives, self.limits.body_bytes_max));
        self.say(number, ChannelOpenOk {});
        Ok(())
    }

    /// While we wait for `channel.close-ok`, all else on the channel is let by.
    fn take_closing_frame(&mut self, frame: Frame<'_>) -> Result<(), Fault> {
        if frame.kind != FrameKind::Method {
            return Ok(());
        }
        match Method::decode(frame.payload)? {
            Method::ChannelCloseOk(_) => drop(self.channels.remove(&frame.channel)),
            Method::ChannelClose(_) => {
                self.channels.remove(&frame.channel);
                self.say(frame.channel, ChannelCloseOk {});
            }
            _ => {}
        }
        Ok(())
    }

    fn close_channel(&mut self, frame: Frame<'_>, code: ReplyCode, text: &str) {
        tracing::info!(peer = %self.peer, channel = frame.channel, code = code.code(), "closing a channel: {text}");
        self.fail_channel(frame.channel, code, text, method_id(frame));
    }

    /// The method that ends the connection: in the middle of a message it is the publish, whatever else came.
    fn blame(&self, frame: Frame<'_>, code: ReplyCode) -> (u16, u16) {
        let is_idle = self.channels.get(&frame.channel).is_none_or(|channel| channel.content.is_idle());
        match frame.kind {
            FrameKind::Method if !is_idle => BasicPublish::ID,
            FrameKind::Header | FrameKind::Body if is_idle && code == ReplyCode::UnexpectedFrame => (0, 0),
            _ => method_id(frame),
        }
    }

    /// Tells the client the channel is over and gives back what it held.
    pub(super) fn fail_channel(&mut self, number: u16, code: ReplyCode, text: &str, method: (u16, u16)) {
        self.drop_channel_state(number);
        let reply_text = shorten(text);
        let close =
            ChannelClose { reply_code: code.code(), reply_text, class_id: method.0, method_id: method.1 };
        self.out.say(number, close);
    }

    /// The channel gives back what it held; it stays known as closing.
    pub(super) fn drop_channel_state(&mut self, number: u16) {
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        channel.closing = true;
        channel.content.reset();
        self.bodies -= usize::from(channel.body_charges.take().is_some());
        let mut unsettled = channel.take_all();
        if let Mode::Transaction(transaction) = &mut channel.mode {
            unsettled.extend(transaction.settles.drain(..).flat_map(|settle| settle.unsettled));
        }
        let consumers = channel.consumers.clone();
        // The queues forget the consumers first, so that nothing given back is given out to them again.
        for id in consumers {
            if let Some(consumer) = self.consumers.get(&id) {
                consumer.source.forget_consumer(id);
            }
            self.drop_consumer(id);
        }
        self.settling.add(unsettled, Outcome::Release);
        self.settling.flush();
    }
}

/// The class and method a frame belongs to, as those are told who lose a channel or connection over it.
fn method_id(frame: Frame<'_>) -> (u16, u16) {
    match (frame.kind, frame.payload) {
        (FrameKind::Method, &[class_high, class_low, method_high, method_low, ..]) => {
            (u16::from_be_bytes([class_high, class_low]), u16::from_be_bytes([method_high, method_low]))
        }
        (FrameKind::Header | FrameKind::Body, _) => BasicPublish::ID,
        _ => (0, 0),
    }
}

fn is_settlement(method: &Method<'_>) -> bool {
    matches!(method, Method::BasicAck(_) | Method::BasicNack(_) | Method::BasicReject(_))
}

/// Reply texts are short strings.
pub(super) fn shorten(text: &str) -> &str {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
