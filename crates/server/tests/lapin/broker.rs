//! The broker under test: a process of the test's own, on a free port, with data of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use lapin::{Channel, Connection, ConnectionProperties};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) struct Broker {
    data: TempDir,
    address: String,
    process: Option<Child>,
    /// What a shell does first, in the process that becomes the broker.
    before: String,
}

impl Broker {
    pub(crate) fn start() -> Broker {
        Broker::start_after(":")
    }

    /// A broker under what this shell command leaves, such as limits.
    pub(crate) fn start_after(before: &str) -> Broker {
        let data = tempfile::tempdir().expect("a directory for the data");
        let address = "127.0.0.1:0".to_owned();
        let mut broker = Broker { data, address, process: None, before: before.to_owned() };
        broker.start_again();
        broker
    }

    /// On the same data and the same port as before.
    pub(crate) fn start_again(&mut self) {
        let mut process = Command::new("sh")
            .arg("-c")
            .arg(format!("{} && exec \"$0\" \"$@\"", self.before))
            .arg(env!("CARGO_BIN_EXE_cauce"))
            .args(["serve", "--print-ports", "--amqp", &self.address, "--kafka", "none", "--data"])
            .arg(self.data.path())
            .env("CAUCE_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary that cargo built");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line with the ports");
        let ports: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        self.address = ports["amqp"].as_str().expect("an address").to_owned();
        self.process = Some(process);
    }

    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("a running broker");
        kill_process(Pid::from_child(&process), Signal::TERM).expect("a process of ours");
        assert!(process.wait().expect("our child").success());
    }

    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("a running broker");
        process.kill().expect("a process of ours");
        process.wait().expect("our child");
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f?heartbeat=10", self.address)
    }

    pub(crate) async fn connect(&self) -> Connection {
        connect(&self.url(), ConnectionProperties::default()).await
    }

    pub(crate) async fn connect_recovering(&self) -> Connection {
        connect(&self.url(), ConnectionProperties::default().enable_auto_recover()).await
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

static STARTED: AtomicU32 = AtomicU32::new(0);

/// Where the test's programs connect: a broker just started, or the one that `AMQP_URL` names.
pub(crate) struct Target {
    url: String,
    number: u32,
    _broker: Option<Broker>,
}

impl Target {
    pub(crate) fn start() -> Target {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        match std::env::var("AMQP_URL") {
            Ok(url) => Target { url, number, _broker: None },
            Err(_) => {
                let broker = Broker::start();
                Target { url: broker.url(), number, _broker: Some(broker) }
            }
        }
    }

    /// A name that no other test uses, should all of them share one broker.
    pub(crate) fn name(&self, part: &str) -> String {
        format!("lapin.{}.{}.{part}", std::process::id(), self.number)
    }

    pub(crate) async fn connect(&self) -> Connection {
        connect(&self.url, ConnectionProperties::default()).await
    }

    /// A channel on a connection of its own, to be kept as long as the channel.
    pub(crate) async fn channel(&self) -> (Connection, Channel) {
        let connection = self.connect().await;
        let channel = connection.create_channel().await.expect("a channel");
        (connection, channel)
    }
}

async fn connect(url: &str, properties: ConnectionProperties) -> Connection {
    Connection::connect(url, properties).await.expect("a connection")
}
