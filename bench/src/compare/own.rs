//! `fullbore bench`, run as a program of its own between the namespaces.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::place::{Background, DEVICE, FILES, FULLBORE, Place, Side, timed};
use super::{Figures, latencies};

/// What a command may take beyond the measurement.
const BEYOND: Duration = Duration::from_secs(30);
/// What a server that has just begun may still have to do.
const SETTLES: Duration = Duration::from_millis(500);

fn run(place: &Place, words: &str, duration: Duration) -> Result<Value, String> {
    let mut command = place.command(Side::Client, false, FULLBORE);
    command.arg("bench").args(words.split_whitespace());
    command.arg("--json");
    command.arg(format!("--duration={}ms", duration.as_millis()));
    let (_, text) = timed(&mut command, duration + BEYOND)?;
    serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))
}

fn pair(place: &Place) -> String {
    let b = Side::Server.namespace();
    let mtu = place.mtu();
    format!("--a {DEVICE} --b {DEVICE} --b-netns {b} --mtu {mtu}")
}

fn figure(report: &Value, name: &str) -> Result<f64, String> {
    let figures = report["figures"].as_array().into_iter().flatten();
    figures
        .filter(|figure| figure["name"] == name)
        .find_map(|figure| figure["value"].as_f64())
        .ok_or_else(|| format!("no figure {name} in {report}"))
}

/// What the report says about the client's interface: driver, mode, copies.
#[must_use]
pub fn interface(report: &Value) -> Option<String> {
    let conditions = report["conditions"].as_array()?;
    let client = conditions.iter().find(|pair| pair[0] == "client")?;
    client[1].as_str().map(str::to_owned)
}

/// Goodput of one stream, and what the interface was found to be.
///
/// # Errors
/// What the command says.
pub fn stream(
    place: &Place,
    warm_up: Duration,
    duration: Duration,
) -> Result<(Figures, Option<String>), String> {
    let ends = pair(place);
    let words = format!("stream {ends} --warm-up {}ms", warm_up.as_millis());
    let report = run(place, &words, duration)?;
    let gbps = figure(&report, "goodput, client to server")?;
    Ok((vec![("goodput", gbps)], interface(&report)))
}

/// Goodput of one stream over `transport` ("tcp" or "utp"), and the processor time
/// of both ends for it.
///
/// # Errors
/// What the command says.
pub fn cost(
    place: &Place,
    transport: &str,
    warm_up: Duration,
    duration: Duration,
) -> Result<Figures, String> {
    let (ends, warm_up) = (pair(place), warm_up.as_millis());
    let words = format!("stream {ends} --transport {transport} --warm-up {warm_up}ms");
    let report = run(place, &words, duration)?;
    Ok(vec![
        ("goodput", figure(&report, "goodput, client to server")?),
        (
            "processor, s/GB",
            figure(&report, "processor time of both ends")?,
        ),
    ])
}

/// Payload of a transport without a protocol.
///
/// # Errors
/// What the command says.
pub fn ceiling(place: &Place, duration: Duration) -> Result<Figures, String> {
    let report = run(place, &format!("ceiling {}", pair(place)), duration)?;
    Ok(vec![("goodput", figure(&report, "payload")?)])
}

/// Frames of the MTU's size, received.
///
/// # Errors
/// What the command says.
pub fn raw(place: &Place, duration: Duration) -> Result<Figures, String> {
    let b = Side::Server.namespace();
    let frame = place.mtu() + 14;
    let words = format!("raw --tx {DEVICE} --rx {DEVICE} --rx-netns {b} --frame {frame}");
    let report = run(place, &words, duration)?;
    let gbps = report["received"]["gbps"].as_f64();
    let gbps = gbps.ok_or_else(|| format!("no rate in {report}"))?;
    Ok(vec![("goodput", gbps)])
}

/// Latency of 64 bytes there and back.
///
/// # Errors
/// What the command says.
pub fn rr(place: &Place, idle: &str, duration: Duration) -> Result<Figures, String> {
    let words = format!("rr {} --idle {idle}", pair(place));
    let report = run(place, &words, duration)?;
    let mut figures: Figures = latencies::PERCENTILES
        .iter()
        .map(|(name, percent)| Ok((*name, figure(&report, &format!("latency p{percent}"))?)))
        .collect::<Result<_, String>>()?;
    let processors = figure(&report, "processors in use, both ends")?;
    figures.push((latencies::PROCESSORS, processors));
    Ok(figures)
}

/// Goodput of eight connections through so many engines at each end, each with
/// a queue of its own.
///
/// # Errors
/// What the command says.
pub fn engines(
    place: &Place,
    engines: u32,
    warm_up: Duration,
    duration: Duration,
) -> Result<Figures, String> {
    let (ends, warm_up) = (pair(place), warm_up.as_millis());
    let words = format!("stream {ends} --engines {engines} --connections 8 --warm-up {warm_up}ms");
    let report = run(place, &words, duration)?;
    Ok(vec![
        ("goodput", figure(&report, "goodput, client to server")?),
        (
            "processor, s/GB",
            figure(&report, "processor time of both ends")?,
        ),
    ])
}

/// Processor time of an engine that waits for connections, all threads of its
/// process with it.
///
/// # Errors
/// What the command says.
pub fn idle(place: &Place, idle: &str, duration: Duration) -> Result<Figures, String> {
    let mut command = place.command(Side::Server, false, FULLBORE);
    command.args(["serve", FILES, "--on", DEVICE, "--idle", idle]);
    if let Some(core) = place.core(Side::Server) {
        command.arg("--cores").arg(core.to_string());
    }
    let mut server = Background::start(&mut command, "idle")?;
    server.wait_until(|server| server.said().contains("serving "))?;
    std::thread::sleep(SETTLES);
    let (begin, before) = (Instant::now(), server.ran()?);
    std::thread::sleep(duration);
    let ran = (server.ran()? - before).as_secs_f64() / begin.elapsed().as_secs_f64();
    Ok(vec![("processor", ran * 1e3)])
}

/// Connections a second.
///
/// # Errors
/// What the command says.
pub fn crr(place: &Place, at_once: u64, duration: Duration) -> Result<Figures, String> {
    let words = format!("crr {} --concurrency {at_once}", pair(place));
    let report = run(place, &words, duration)?;
    Ok(vec![("connections", figure(&report, "connections")?)])
}
