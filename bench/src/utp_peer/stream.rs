//! A stream whose bytes nobody looks at.

use std::time::{Duration, Instant};

use librqbit_utp::UtpStream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Meter;

/// Bytes given to a stream, and taken from it, at once.
const BLOCK: usize = 128 << 10;

/// Takes a stream to its end. `gbps` is its rate from `warm_up` on to the last
/// byte, everything else is of all of it.
pub async fn sink(mut stream: UtpStream, warm_up: Duration) -> Result<Value, String> {
    let meter = Meter::start();
    let mut block = vec![0; BLOCK];
    let mut bytes = 0u64;
    // Since when it is measured, and what had come by then.
    let mut from = None;
    let mut last = Instant::now();
    loop {
        let n = stream
            .read(&mut block)
            .await
            .map_err(|e| format!("after {bytes} bytes: {e}"))?;
        if n == 0 {
            break;
        }
        bytes += n as u64;
        last = Instant::now();
        if from.is_none() && meter.begin.elapsed() >= warm_up {
            from = Some((last, bytes));
        }
    }
    let mut report = meter.report(bytes, None);
    if let Some((begin, before)) = from {
        let seconds = last.duration_since(begin).as_secs_f64();
        report["gbps"] = json!((bytes - before) as f64 * 8.0 / seconds.max(1e-9) / 1e9);
    }
    Ok(report)
}

/// Sends for `duration`, then ends the stream.
pub async fn source(mut stream: UtpStream, duration: Duration) -> Result<Value, String> {
    let meter = Meter::start();
    let block = vec![0x5a; BLOCK];
    let mut bytes = 0u64;
    while meter.begin.elapsed() < duration {
        bytes += stream.write(&block).await.map_err(|e| e.to_string())? as u64;
    }
    stream.shutdown().await.map_err(|e| e.to_string())?;
    Ok(meter.report(bytes, None))
}
