//! Much at once: large bodies, many channels.

use crate::broker::Target;
use crate::words::*;

const CHANNELS: usize = 200;
const MESSAGES: usize = 20;

#[tokio::test]
async fn a_body_of_ten_megabytes_arrives_as_it_was() {
    let target = Target::start();
    let (_connection, channel) = target.channel().await;
    let large = &target.name("large");
    queue(&channel, large, []).await;
    confirming(&channel).await;
    let bodies = [10_000_000, 131_064, 131_065, 1, 0].map(noise);
    for body in &bodies {
        assert!(publish(&channel, "", large, body).await.is_ack());
    }
    let mut consumer = consume(&channel, large).await;
    for body in &bodies {
        let delivery = next(&mut consumer).await;
        assert!(delivery.data == *body, "{} bytes came as {}", body.len(), delivery.data.len());
        ack(&delivery).await;
    }
}

#[tokio::test]
async fn two_hundred_channels_of_one_connection_work_side_by_side() {
    let target = Target::start();
    let connection = target.connect().await;
    let mut programs = Vec::new();
    for number in 0..CHANNELS {
        let channel = connection.create_channel().await.expect("a channel");
        programs.push(tokio::spawn(async move {
            let own = private_queue(&channel).await;
            confirming(&channel).await;
            let mut consumer = consume(&channel, &own).await;
            for message in 0..MESSAGES {
                let sent = format!("{number}.{message}");
                assert!(publish(&channel, "", &own, sent.as_bytes()).await.is_ack());
                let delivery = next(&mut consumer).await;
                assert_eq!(body(&delivery), sent);
                ack(&delivery).await;
            }
            channel.close(200, "".into()).await.expect("the end");
        }));
    }
    for program in programs {
        program.await.expect("a program that did not fail");
    }
}

/// Bytes without a pattern that a frame's length could hide in.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| byte()).collect()
}
