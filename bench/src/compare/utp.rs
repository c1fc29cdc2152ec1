//! One stream over uTP: `librqbit-utp` at both ends.

use std::time::Duration;

use serde_json::Value;

use super::Figures;
use super::place::{Background, Place, Side, timed};
use crate::utp_peer;

const PORT: u16 = 5001;
/// What a run may take beyond its duration.
const BEYOND: Duration = Duration::from_secs(30);

/// Goodput and processor time of `librqbit-utp`, a process at each end, with
/// UDP buffers of 8 MiB.
///
/// # Errors
/// What an end says.
pub fn librqbit(place: &Place, warm_up: Duration, duration: Duration) -> Result<Figures, String> {
    let to = format!("{}:{PORT}", Side::Server.address());
    let command = |side, words: &[&str]| {
        let mut command = place.command(side, true, utp_peer::NAME);
        command.args(words);
        command
    };
    let warm_up_words = warm_up.as_millis().to_string();
    let mut sink = command(Side::Server, &["sink", &to, "--warm-up", &warm_up_words]);
    let mut sink = Background::start(&mut sink, "utp-sink")?;
    sink.wait_until(|sink| sink.said().contains("waiting at"))?;
    let whole = (warm_up + duration).as_millis().to_string();
    let mut source = command(Side::Client, &["source", &to, "--duration", &whole]);
    let (_, sent) = timed(&mut source, warm_up + duration + BEYOND)
        .map_err(|e| format!("{e}; the sink: {}", sink.said().trim()))?;
    // It ends when it has all.
    let report = |text: &str| {
        let line = text.lines().find(|line| line.starts_with('{'));
        line.and_then(|line| serde_json::from_str::<Value>(line).ok())
    };
    sink.wait_until(|sink| report(&sink.said()).is_some())?;
    let (Some(sent), Some(received)) = (report(&sent), report(&sink.said())) else {
        return Err(format!("no report in {sent}"));
    };
    let number = |of: &Value, name: &str| {
        let number = of[name].as_f64();
        number.ok_or_else(|| format!("no {name} in {of}"))
    };
    let bytes = number(&received, "bytes")?;
    if bytes != number(&sent, "bytes")? {
        return Err(format!("{sent} was sent, {received} received"));
    }
    let cpu = number(&sent, "cpu_seconds")? + number(&received, "cpu_seconds")?;
    Ok(vec![
        ("goodput", number(&received, "gbps")?),
        ("processor, s/GB", cpu / (bytes / 1e9)),
    ])
}
