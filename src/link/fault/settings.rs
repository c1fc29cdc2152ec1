//! What goes wrong on a link, and how it is written down.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longest delay, jitter or lateness that may be asked for.
const MAX_TIME: Duration = Duration::from_secs(3600);

/// The faults of a link.
///
/// As text: settings separated by commas, as in
/// `loss=1%,dup=1%,reorder=5%,corrupt=0.1%,delay=10ms,rate=1Gbit,queue=1000,seed=7`.
/// A setting holds for both directions, or with `in.` or `out.` before it for
/// one. [`Display`](fmt::Display) writes the same form.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FaultSettings {
    /// Packets received.
    pub incoming: Direction,
    /// Packets transmitted.
    pub outgoing: Direction,
    /// The same settings, seed, packets and times give the same faults.
    pub seed: u64,
}

/// The faults of one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direction {
    /// Probability that a packet is lost (`loss`).
    pub loss: f64,
    /// Probability that it arrives twice (`dup`).
    pub duplicate: f64,
    /// Probability that it is late by [`lateness`](Self::lateness), and
    /// overtaken (`reorder`).
    pub reorder: f64,
    /// Probability that one of its bits is wrong (`corrupt`).
    pub corrupt: f64,
    /// Time that every packet takes (`delay`).
    pub delay: Duration,
    /// Random time on top, up to this; it does not reorder (`jitter`).
    pub jitter: Duration,
    /// How late a reordered packet is at most (`late`).
    pub lateness: Duration,
    /// Bits a second, Ethernet header included; none for no limit (`rate`).
    pub rate: Option<u64>,
    /// Packets that wait for the rate limit before more are dropped
    /// (`queue`).
    pub queue: usize,
}

impl Default for Direction {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            lateness: Duration::from_millis(1),
            rate: None,
            queue: 1000,
        }
    }
}

/// A fault setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("link fault `{item}`: {problem}")]
pub struct FaultSettingError {
    item: String,
    problem: String,
}

const KEYS: [&str; 9] = [
    "loss", "dup", "reorder", "corrupt", "delay", "jitter", "late", "rate", "queue",
];

impl FromStr for FaultSettings {
    type Err = FaultSettingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut settings = Self::default();
        for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            settings.apply(item).map_err(|problem| FaultSettingError {
                item: item.to_owned(),
                problem,
            })?;
        }
        Ok(settings)
    }
}

impl FaultSettings {
    fn apply(&mut self, item: &str) -> Result<(), String> {
        let (key, value) = item.split_once('=').ok_or("expected `name=value`")?;
        let (key, value) = (key.trim(), value.trim());
        if key == "seed" {
            self.seed = value
                .parse()
                .map_err(|_| "expected a whole number below 2^64")?;
            return Ok(());
        }
        if let Some(key) = key.strip_prefix("in.") {
            self.incoming.apply(key, value)
        } else if let Some(key) = key.strip_prefix("out.") {
            self.outgoing.apply(key, value)
        } else {
            self.incoming.apply(key, value)?;
            self.outgoing.apply(key, value)
        }
    }
}

impl Direction {
    fn apply(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "loss" => self.loss = probability(value)?,
            "dup" => self.duplicate = probability(value)?,
            "reorder" => self.reorder = probability(value)?,
            "corrupt" => self.corrupt = probability(value)?,
            "delay" => self.delay = time(value)?,
            "jitter" => self.jitter = time(value)?,
            "late" => self.lateness = time(value)?,
            "rate" => self.rate = Some(rate(value)?),
            "queue" => {
                self.queue = value
                    .parse()
                    .ok()
                    .filter(|n| (1..=MAX_QUEUE).contains(n))
                    .ok_or_else(|| format!("expected a number of packets from 1 to {MAX_QUEUE}"))?;
            }
            _ => return Err(unknown(key)),
        }
        Ok(())
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, prefix: &str) -> fmt::Result {
        let standard = Self::default();
        for (key, p) in [
            ("loss", self.loss),
            ("dup", self.duplicate),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
        ] {
            if p > 0.0 {
                write!(f, "{prefix}{key}={p},")?;
            }
        }
        for (key, time, standard) in [
            ("delay", self.delay, standard.delay),
            ("jitter", self.jitter, standard.jitter),
            ("late", self.lateness, standard.lateness),
        ] {
            if time != standard {
                write!(f, "{prefix}{key}={}ns,", time.as_nanos())?;
            }
        }
        if let Some(rate) = self.rate {
            write!(f, "{prefix}rate={rate}bit,")?;
        }
        if self.queue != standard.queue {
            write!(f, "{prefix}queue={},", self.queue)?;
        }
        Ok(())
    }
}

/// Packets that a direction holds at most, whatever the reason.
pub(super) const MAX_QUEUE: usize = 65_536;

impl fmt::Display for FaultSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.incoming == self.outgoing {
            self.incoming.write(f, "")?;
        } else {
            self.incoming.write(f, "in.")?;
            self.outgoing.write(f, "out.")?;
        }
        write!(f, "seed={}", self.seed)
    }
}

fn unknown(key: &str) -> String {
    let nearest = KEYS
        .into_iter()
        .chain(["seed"])
        .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
    match nearest.filter(|n| strsim::jaro_winkler(n, key) > 0.7) {
        Some(nearest) => format!("unknown setting; did you mean `{nearest}`?"),
        None => format!("unknown setting; there are {} and seed", KEYS.join(", ")),
    }
}

/// `1%` or `0.01`.
fn probability(text: &str) -> Result<f64, String> {
    let (number, scale) = text
        .strip_suffix('%')
        .map_or((text, 1.0), |t| (t.trim_end(), 100.0));
    match number.parse::<f64>() {
        Ok(n) if (0.0..=scale).contains(&n) => Ok(n / scale),
        _ => Err("expected a probability, from 0% to 100% or from 0 to 1".into()),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 10ms, with ns, us, ms or s, up to 3600s".to_owned();
    let (number, unit) = split_unit(text);
    let nanos = match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<f64>().map_err(|_| wrong())? * nanos / 1e9;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|t| *t <= MAX_TIME)
        .ok_or_else(wrong)
}

fn rate(text: &str) -> Result<u64, String> {
    let wrong = || "expected a rate such as 100Mbit, with bit, kbit, Mbit or Gbit".to_owned();
    let (number, unit) = split_unit(text);
    let bits = match unit.trim_end_matches("/s").to_ascii_lowercase().as_str() {
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => return Err(wrong()),
    };
    let rate = number.parse::<f64>().map_err(|_| wrong())? * bits;
    if (1.0..=1e15).contains(&rate) {
        Ok(rate as u64)
    } else {
        Err(wrong())
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.trim_end(), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> FaultSettings {
        text.parse().unwrap()
    }

    fn problem(text: &str) -> String {
        text.parse::<FaultSettings>().unwrap_err().to_string()
    }

    #[test]
    fn reads_every_setting() {
        let s = parse(
            "loss=1%, dup=0.02,reorder=5 %,corrupt=0.1%,delay=10ms,jitter=1.5ms,late=300us,\
             rate=1Gbit,queue=500,seed=7",
        );
        let expected = Direction {
            loss: 0.01,
            duplicate: 0.02,
            reorder: 0.05,
            corrupt: 0.001,
            delay: Duration::from_millis(10),
            jitter: Duration::from_micros(1500),
            lateness: Duration::from_micros(300),
            rate: Some(1_000_000_000),
            queue: 500,
        };
        assert_eq!(
            s,
            FaultSettings {
                incoming: expected,
                outgoing: expected,
                seed: 7
            }
        );
        assert_eq!(parse(""), FaultSettings::default());
        let s = parse("delay=10ms,out.delay=2s,in.rate=2.5Mbit/s");
        assert_eq!(s.incoming.delay, Duration::from_millis(10));
        assert_eq!(s.outgoing.delay, Duration::from_secs(2));
        assert_eq!((s.incoming.rate, s.outgoing.rate), (Some(2_500_000), None));
    }

    #[test]
    fn writes_what_it_reads() {
        for text in [
            "",
            "loss=1%,dup=3%,reorder=5%,corrupt=0.1%,delay=10ms,rate=1Gbit,queue=77,seed=7",
            "in.loss=33.3%,out.jitter=1us,late=2ms",
        ] {
            let s = parse(text);
            assert_eq!(parse(&s.to_string()), s, "{s}");
        }
        assert_eq!(parse("loss=1%,seed=3").to_string(), "loss=0.01,seed=3");
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        assert_eq!(
            problem("loss=1%,deley=3ms"),
            "link fault `deley=3ms`: unknown setting; did you mean `delay`?"
        );
        assert!(problem("xyzzy=3").contains("there are loss, dup"));
        assert!(problem("in.foo=1").starts_with("link fault `in.foo=1`: unknown"));
        assert_eq!(problem("loss"), "link fault `loss`: expected `name=value`");
        for bad in [
            "loss=101%",
            "loss=1.1",
            "loss=-1%",
            "loss=NaN",
            "loss=inf",
            "dup=",
            "delay=10",
            "delay=3601s",
            "delay=-1ms",
            "delay=1h",
            "delay=ms",
            "delay=nans",
            "rate=0bit",
            "rate=1",
            "rate=infGbit",
            "queue=0",
            "queue=65537",
            "queue=x",
            "seed=-1",
            "seed=",
        ] {
            let error = problem(bad);
            assert!(
                error.starts_with(&format!("link fault `{bad}`: expected ")),
                "{error}"
            );
        }
    }
}
