//! Stories about a whole virtual host: declared, bound, routed through and torn down.

mod bindings;
mod declaring;
mod routing;

use super::*;

const ME: u64 = 7;

/// A virtual host whose queues are reached by their own names.
struct Vhost {
    topology: Topology<String>,
}

impl Vhost {
    fn with_queues(names: &[&str]) -> Vhost {
        let mut topology = Topology::new("/");
        for name in names {
            topology.declare_queue(name, QueueSpec::default(), ME, || (*name).to_owned()).unwrap();
        }
        Vhost { topology }
    }

    fn exchange(&mut self, name: &str, kind: ExchangeKind) {
        self.exchange_with(name, kind, &[]);
    }

    fn exchange_with(&mut self, name: &str, kind: ExchangeKind, arguments: &[(&str, &str)]) {
        let arguments = arguments.iter().map(|(name, value)| (*name, Value::text(value))).collect();
        let spec = ExchangeSpec { arguments, ..ExchangeSpec::new(kind) };
        assert_eq!(self.topology.declare_exchange(name, spec), Ok(Declared::New));
    }

    fn auto_delete_exchange(&mut self, name: &str) {
        let spec = ExchangeSpec { auto_delete: true, ..ExchangeSpec::new(ExchangeKind::Fanout) };
        self.topology.declare_exchange(name, spec).unwrap();
    }

    fn bind(&mut self, source: &str, destination: Destination, key: &str) {
        assert!(self.topology.bind(source, destination, key, Table::new()).unwrap());
    }

    fn routed(&mut self, exchange: &str, keys: &[&str]) -> Vec<String> {
        let mut out = Routed::default();
        self.topology.route(exchange, keys, &Table::new, &mut out).unwrap();
        out.queues
    }

    /// One random step: declare and bind, unbind, delete a source, delete a destination.
    fn step(&mut self, action: u8, source: usize, destination: usize, key: &str) {
        let name = format!("e{source}");
        let end = match destination {
            0..3 => Destination::queue(&format!("q{destination}")),
            _ => Destination::exchange(&format!("e{}", destination - 3)),
        };
        match action {
            0 | 1 => {
                self.declare_ends(source, &end);
                let _ = self.topology.bind(&name, end, key, Table::new());
            }
            2 => drop(self.topology.unbind(&name, &end, key, Table::new())),
            _ => match end {
                Destination::Queue(queue) => drop(self.topology.delete_queue(&queue)),
                Destination::Exchange(exchange) => drop(self.topology.delete_exchange(&exchange, false)),
            },
        }
    }

    fn declare_ends(&mut self, source: usize, end: &Destination) {
        let kind = if source.is_multiple_of(2) { ExchangeKind::Topic } else { ExchangeKind::Direct };
        let spec = ExchangeSpec { auto_delete: source > 1, ..ExchangeSpec::new(kind) };
        let _ = self.topology.declare_exchange(&format!("e{source}"), spec);
        if let Destination::Queue(name) = end {
            self.topology.declare_queue(name, QueueSpec::default(), ME, || name.to_string()).unwrap();
        }
    }
}

fn told(removed: &[Removed]) -> Vec<String> {
    let tell = |removed: &Removed| match removed {
        Removed::Binding(binding) => format!("{} -> {}", binding.source, binding.destination.name()),
        Removed::Exchange { name, .. } => format!("exchange {name}"),
    };
    removed.iter().map(tell).collect()
}
