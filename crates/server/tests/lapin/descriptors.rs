//! File descriptors are few: queues and clients share them, and neither may take the last from the other.

use std::net::TcpStream;

use crate::broker::Broker;
use crate::words::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_takes_all_descriptors_it_may_have() {
    let broker = Broker::start_after("ulimit -S -n 64");
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.expect("a channel");
    for number in 0..60 {
        let name = format!("queue {number}");
        queue(&channel, &name, []).await;
        publish(&channel, "", &name, b"kept").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_leave_descriptors_for_files() {
    let broker = Broker::start_after("ulimit -n 200");
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.expect("a channel");
    // Who cannot be accepted waits in the kernel.
    let _crowd: Vec<_> = (0..300).map_while(|_| TcpStream::connect(broker.address()).ok()).collect();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    for number in 0..20 {
        let name = format!("queue {number}");
        queue(&channel, &name, []).await;
        publish(&channel, "", &name, b"kept").await;
    }
}
