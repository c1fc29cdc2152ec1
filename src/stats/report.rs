//! What is printed of the counters: one line a second for people, one JSON
//! object a line for programs.

use super::Snapshot;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// How statistics are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line for people.
    Line,
    /// A JSON object a line.
    Json,
}

/// Turns successive snapshots into lines with rates.
#[derive(Debug)]
pub struct Reporter {
    format: Format,
    last: Snapshot,
    last_at: Duration,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    /// Seconds since the start.
    time: f64,
    /// Whether this is the last line.
    last: bool,
    rates: Rates,
    /// All engines together.
    total: &'a Snapshot,
    engines: &'a [Snapshot],
}

/// Since the previous line.
#[derive(Serialize)]
struct Rates {
    rx_bits_per_second: f64,
    tx_bits_per_second: f64,
    rx_frames_per_second: f64,
    tx_frames_per_second: f64,
    retransmits_per_second: f64,
}

impl Reporter {
    /// A reporter whose first line covers the time since the start.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            last: Snapshot::default(),
            last_at: Duration::ZERO,
        }
    }

    /// The line for `engines` at `at` after the start, without a line end.
    /// `last` marks the one at shutdown, whose rates are those of the whole run.
    #[must_use]
    pub fn line(&mut self, at: Duration, engines: &[Snapshot], last: bool) -> String {
        let mut total = Snapshot::default();
        for engine in engines {
            total.add(engine);
        }
        if last {
            self.last = Snapshot::default();
            self.last_at = Duration::ZERO;
        }
        let rates = self.rates(at, &total);
        let line = match self.format {
            Format::Line => human(at, &total, &rates, last),
            Format::Json => serde_json::to_string(&JsonLine {
                time: at.as_secs_f64(),
                last,
                rates,
                total: &total,
                engines,
            })
            .unwrap_or_default(),
        };
        self.last = total;
        self.last_at = at;
        line
    }

    #[allow(clippy::cast_precision_loss)]
    fn rates(&self, at: Duration, now: &Snapshot) -> Rates {
        let seconds = at.saturating_sub(self.last_at).as_secs_f64().max(1e-9);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let before = &self.last;
        Rates {
            rx_bits_per_second: 8.0 * rate(now.link.rx_bytes, before.link.rx_bytes),
            tx_bits_per_second: 8.0 * rate(now.link.tx_bytes, before.link.tx_bytes),
            rx_frames_per_second: rate(now.link.rx_frames, before.link.rx_frames),
            tx_frames_per_second: rate(now.link.tx_frames, before.link.tx_frames),
            retransmits_per_second: rate(
                now.tcp.retransmits + now.utp.retransmits,
                before.tcp.retransmits + before.utp.retransmits,
            ),
        }
    }
}

fn human(at: Duration, total: &Snapshot, rates: &Rates, last: bool) -> String {
    let mut line = format!(
        "{:8.1} s{}  rx {} ({})  tx {} ({})  connections {}  retransmits {}/s  frames free {}/{}",
        at.as_secs_f64(),
        if last { " in all, mean" } else { "" },
        with_unit(rates.rx_bits_per_second, "bit/s"),
        with_unit(rates.rx_frames_per_second, "frame/s"),
        with_unit(rates.tx_bits_per_second, "bit/s"),
        with_unit(rates.tx_frames_per_second, "frame/s"),
        total.stack.connections,
        rates.retransmits_per_second.round(),
        total.frames.pool,
        total.frames.total,
    );
    let drops = total.drops.occurred();
    if !drops.is_empty() {
        let _ = write!(line, "  dropped {}", total.drops.total());
        for (n, (reason, count)) in drops.iter().take(3).enumerate() {
            let _ = write!(line, "{} {reason} {count}", if n == 0 { ":" } else { "," });
        }
    }
    let kernel = &total.kernel;
    let lost = kernel.rx_dropped + kernel.rx_ring_full;
    if lost > 0 {
        let _ = write!(line, "  kernel dropped {lost}");
    }
    line
}

/// A number with a decimal prefix and three or four significant digits.
#[must_use]
pub fn with_unit(value: f64, unit: &str) -> String {
    for (factor, prefix) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value >= factor {
            return format!("{:.2} {prefix}{unit}", value / factor);
        }
    }
    format!("{value:.0} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::DropReason;

    fn snapshot(frames: u64) -> Snapshot {
        let mut s = Snapshot::default();
        s.link.rx_frames = frames;
        s.link.rx_bytes = frames * 1500;
        s.stack.connections = 2;
        s
    }

    #[test]
    fn rates_are_those_since_the_previous_line() {
        let mut r = Reporter::new(Format::Line);
        let first = r.line(Duration::from_secs(1), &[snapshot(1_000_000)], false);
        assert!(first.contains("rx 12.00 Gbit/s (1.00 Mframe/s)"), "{first}");
        let second = r.line(Duration::from_secs(3), &[snapshot(1_002_000)], false);
        assert!(
            second.contains("rx 12.00 Mbit/s (1.00 kframe/s)"),
            "{second}"
        );
        let all = r.line(Duration::from_secs(4), &[snapshot(1_002_000)], true);
        assert!(all.contains("in all, mean  rx 3.01 Gbit/s"), "{all}");
    }

    #[test]
    fn drops_and_the_kernels_own_are_named() {
        let mut s = snapshot(1);
        s.drops.count(DropReason::TcpChecksum);
        s.drops.count(DropReason::TcpChecksum);
        s.drops.count(DropReason::NoRoute);
        s.kernel.rx_ring_full = 7;
        let line = Reporter::new(Format::Line).line(Duration::from_secs(1), &[s], false);
        assert!(
            line.contains("dropped 3: tcp_checksum 2, no_route 1"),
            "{line}"
        );
        assert!(line.contains("kernel dropped 7"), "{line}");
    }

    #[test]
    fn json_is_one_object_a_line_and_sums_the_engines() {
        let mut r = Reporter::new(Format::Json);
        let line = r.line(Duration::from_secs(1), &[snapshot(1), snapshot(2)], true);
        assert!(!line.contains('\n'));
        let v: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(v["total"]["link"]["rx_frames"], 3);
        assert_eq!(v["engines"].as_array().unwrap().len(), 2);
        assert_eq!(v["last"], true);
        assert_eq!(v["total"]["drops"]["tcp_paws"], 0);
    }
}
