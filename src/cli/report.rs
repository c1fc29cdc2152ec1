//! What is printed about a running node.

use super::failure::{Exit, Failure};
use super::node::{EngineInForce, InForce, Node};
use crate::config::{Plan, StatsFormat};
use crate::engine::Ended;
use crate::frame::Ledger;
use crate::stats::{Format, Reporter, Snapshot};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// What was found and what is in force, for people: a line for each thing.
pub fn in_force(found: &InForce) -> String {
    let nic = &found.interface;
    let mut text = format!(
        "interface {}, driver {}, {} queue{}, MTU {}\n",
        nic.name,
        if nic.driver.is_empty() {
            "unknown"
        } else {
            &nic.driver
        },
        nic.rx_queues,
        if nic.rx_queues == 1 { "" } else { "s" },
        nic.mtu,
    );
    let _ = write!(text, "XDP {}", found.attached.name());
    if let Some(reason) = &found.native_refusal {
        let _ = write!(text, " (native was refused: {reason})");
    }
    let (chunks, chunk) = found.memory;
    let _ = writeln!(
        text,
        ", {} frames of {} bytes an engine, huge pages {}",
        chunks,
        chunk,
        if found.huge_pages { "yes" } else { "no" },
    );
    if found.chains {
        let _ = writeln!(text, "frames of the MTU take several chunks");
    }
    for (n, EngineInForce { queues, core }) in found.engines.iter().enumerate() {
        let _ = write!(text, "engine {n}: ");
        for (i, (queue, zero_copy)) in queues.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            let mode = if *zero_copy { "zero copy" } else { "copy" };
            let _ = write!(text, "{comma}queue {queue} ({mode})");
        }
        let _ = match core {
            Some(core) => writeln!(text, ", core {core}"),
            None => writeln!(text, ", not pinned"),
        };
    }
    if !found.unserved.is_empty() {
        let queues: Vec<_> = found.unserved.iter().map(u32::to_string).collect();
        let _ = writeln!(
            text,
            "warning: connections that the NIC puts on queue {} are refused by the kernel; \
             take all queues, or have the NIC use fewer (`ethtool -L`)",
            queues.join(", ")
        );
    }
    let _ = write!(
        text,
        "addresses {} ({})",
        found.addresses.join(", "),
        if found.shared {
            "shared with the kernel"
        } else {
            "own"
        },
    );
    text
}

/// Checks that every frame came back to its pool.
///
/// # Errors
/// Some are missing, which is a defect: of the driver's if it has not said that it
/// has sent them, of ours otherwise.
pub fn balance(ended: &[Ended]) -> Result<(), Failure> {
    let sum = |of: fn(&Ledger) -> u32| ended.iter().map(|e| of(&e.ledger)).sum::<u32>();
    let ours = sum(|l| l.engine + l.queue);
    let driver = sum(|l| l.tx + l.queue_tx);
    let failed = |text: String| Failure::new(Exit::Failed, text);
    Err(match (ours, driver) {
        (0, 0) => return Ok(()),
        (0, n) => failed(format!(
            "the driver has not said of {n} frames that they were sent, and may not have sent them"
        ))
        .hint("the counter tx_stalled tells of it earlier; try `--bind copy`, or another kernel"),
        (n, _) => failed(format!(
            "{n} frames are missing from the ledger, which is a defect of fullbore"
        )),
    })
}

/// Prints statistics at intervals, and once at the end.
#[derive(Debug)]
pub struct Stats {
    reporter: Option<(Reporter, Format)>,
    interval: Duration,
    start: Instant,
    next: Instant,
}

impl Stats {
    /// As the plan has it.
    pub fn new(plan: &Plan) -> Self {
        let format = match plan.file.stats.format {
            StatsFormat::Off => None,
            StatsFormat::Line => Some(Format::Line),
            StatsFormat::Json => Some(Format::Json),
        };
        let interval = plan.file.stats.interval.get();
        let start = Instant::now();
        Self {
            reporter: format.map(|f| (Reporter::new(f), f)),
            interval,
            start,
            next: start + interval,
        }
    }

    /// Prints if it is time to.
    pub fn tick(&mut self, node: &Node) {
        if self.reporter.is_some() && Instant::now() >= self.next {
            self.next += self.interval;
            self.print(&snapshots(node), false);
        }
    }

    /// Prints the last line, after the engines have stopped.
    pub fn last(&mut self, snapshots: &[Snapshot]) {
        self.print(snapshots, true);
    }

    fn print(&mut self, snapshots: &[Snapshot], last: bool) {
        if let Some((reporter, format)) = &mut self.reporter {
            let line = reporter.line(self.start.elapsed(), snapshots, last);
            // A reader that has gone away is no reason to stop.
            let _ = match format {
                Format::Line => writeln!(std::io::stderr(), "{line}"),
                Format::Json => writeln!(std::io::stdout(), "{line}"),
            };
        }
    }
}

/// The engines' counters. The steering program's are of the whole interface,
/// and are shown with the first engine.
pub fn snapshots(node: &Node) -> Vec<Snapshot> {
    let mut snapshots = node.board().read();
    if let Some(first) = snapshots.first_mut() {
        first.steering = node.steering();
    }
    snapshots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_laid_to_who_had_it() {
        let all = Ledger {
            pool: 9,
            fill: 4,
            ..Ledger::default()
        };
        let balance = |ledger| balance(&[Ended { ledger: all }, Ended { ledger }]);
        assert!(balance(all).is_ok());
        let driver = Ledger {
            tx: 2,
            queue_tx: 1,
            ..all
        };
        let said = balance(driver).unwrap_err().to_string();
        assert!(
            said.starts_with("error: the driver has not said of 3 frames"),
            "{said}"
        );
        let both = Ledger {
            engine: 4,
            queue: 1,
            ..driver
        };
        let said = balance(both).unwrap_err().to_string();
        assert!(said.starts_with("error: 5 frames are missing"), "{said}");
    }
}
