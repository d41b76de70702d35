//! The real binary and lapin, a client written by others: the programs one writes for RabbitMQ after its tutorials.
//!
//! With `AMQP_URL` they run against that broker instead, which shows that what they expect is what RabbitMQ does.

mod broker;
mod descriptors;
mod failures;
mod load;
mod publishing;
mod queues;
mod recovery;
mod routing;
mod words;
