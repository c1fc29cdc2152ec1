//! The kernel's TCP: streams, and requests and answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::place::{Place, Side, both};
use super::{Figures, latencies};

const PORT: u16 = 5001;
/// Bytes given to a socket, and taken from it, at once.
const BLOCK: usize = 128 << 10;
/// Requests before the measurement.
const WARM_UP: u64 = 1000;
/// Bytes of a request and of its answer.
pub const MESSAGE: usize = 64;

fn listen() -> Result<TcpListener, String> {
    let at = (Side::Server.address(), PORT);
    TcpListener::bind(at).map_err(|e| format!("listening: {e}"))
}

/// Takes the one connection, unless it does not come.
fn accept(listener: &TcpListener) -> Result<TcpStream, String> {
    let fail = |e: std::io::Error| format!("accepting: {e}");
    listener.set_nonblocking(true).map_err(fail)?;
    let begin = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(fail)?;
                return Ok(stream);
            }
            Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(fail(e)),
            Err(_) if begin.elapsed() > Duration::from_secs(10) => {
                return Err("no connection came".to_owned());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn connect() -> Result<TcpStream, String> {
    let to = (Side::Server.address(), PORT);
    TcpStream::connect(to).map_err(|e| format!("connecting: {e}"))
}

/// Goodput of one stream of blocking sockets.
///
/// # Errors
/// What the operating system says.
pub fn stream(place: &Place, warm_up: Duration, duration: Duration) -> Result<Figures, String> {
    let (received, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let ((), gbps) = both(
        place,
        |ready| {
            let listener = listen()?;
            ready();
            let mut stream = accept(&listener)?;
            let mut block = vec![0; BLOCK];
            loop {
                match stream.read(&mut block) {
                    Ok(0) => return Ok(()),
                    Ok(n) => received.fetch_add(n as u64, Ordering::Relaxed),
                    Err(e) => return Err(e.to_string()),
                };
            }
        },
        || {
            let mut stream = connect()?;
            let block = vec![0x5a; BLOCK];
            std::thread::scope(|scope| {
                let sending = scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        stream.write_all(&block).map_err(|e| e.to_string())?;
                    }
                    // Shut by dropping it.
                    drop(stream);
                    Ok::<_, String>(())
                });
                std::thread::sleep(warm_up);
                let (begin, first) = (Instant::now(), received.load(Ordering::Relaxed));
                std::thread::sleep(duration);
                let bytes = received.load(Ordering::Relaxed) - first;
                let seconds = begin.elapsed().as_secs_f64();
                stop.store(true, Ordering::Relaxed);
                sending
                    .join()
                    .map_err(|_| "the sender panicked".to_owned())??;
                Ok(bytes as f64 * 8.0 / seconds / 1e9)
            })
        },
    )?;
    Ok(vec![("goodput", gbps)])
}

/// How an end waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// It asks again at once.
    Spinning,
    /// It sleeps in the kernel.
    Blocking,
}

fn read_message(
    stream: &mut TcpStream,
    message: &mut [u8; MESSAGE],
    stop: &AtomicBool,
) -> Result<bool, String> {
    let mut got = 0;
    while got < MESSAGE {
        match stream.read(&mut message[got..]) {
            Ok(0) => return Ok(false),
            Ok(n) => got += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                std::hint::spin_loop();
            }
            Err(e) => return Err(e.to_string()),
        }
    }
    Ok(true)
}

fn prepare(stream: &TcpStream, waiting: Waiting) -> Result<(), String> {
    stream
        .set_nodelay(true)
        .and_then(|()| stream.set_nonblocking(waiting == Waiting::Spinning))
        .map_err(|e| e.to_string())
}

/// Latency of 64 bytes there and 64 back.
///
/// # Errors
/// What the operating system says.
pub fn rr(place: &Place, waiting: Waiting, duration: Duration) -> Result<Figures, String> {
    let stop = AtomicBool::new(false);
    let ((), figures) = both(
        place,
        |ready| {
            let listener = listen()?;
            ready();
            let mut stream = accept(&listener)?;
            prepare(&stream, waiting)?;
            let mut message = [0; MESSAGE];
            while read_message(&mut stream, &mut message, &stop)? {
                // A message always fits the empty send buffer.
                stream.write_all(&message).map_err(|e| e.to_string())?;
            }
            Ok(())
        },
        || {
            let mut stream = connect()?;
            prepare(&stream, waiting)?;
            let mut message = [0x5a; MESSAGE];
            let mut histogram = latencies::histogram();
            let mut begin = Instant::now();
            let spent = latencies::Spent::new();
            let mut count = 0u64;
            while count < WARM_UP || begin.elapsed() < duration {
                let asked = Instant::now();
                stream.write_all(&message).map_err(|e| e.to_string())?;
                if !read_message(&mut stream, &mut message, &stop)? {
                    return Err("the server closed".to_owned());
                }
                count += 1;
                if count < WARM_UP {
                    begin = Instant::now();
                } else {
                    record(&mut histogram, asked);
                }
            }
            let processors = spent.processors();
            stop.store(true, Ordering::Relaxed);
            Ok(latencies::figures(&histogram, processors))
        },
    )?;
    Ok(figures)
}

/// Notes the time since `asked`.
pub fn record(histogram: &mut Histogram<u64>, asked: Instant) {
    histogram.saturating_record(asked.elapsed().as_nanos() as u64);
}
