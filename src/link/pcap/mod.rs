//! Writes what passes over links to a capture file (pcapng, times in
//! nanoseconds): frames redirected to AF_XDP are seen by no other tool on that
//! interface.
//!
//! The links copy packets into a bounded queue that a thread of the capture
//! empties into the file. When it cannot keep up, packets are missing from the
//! file, counted and marked there; the links never wait for it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use super::Link;
use crate::frame::{Packet, Pool, TxDesc};
use crate::stats::{KernelCounters, LinkCounters};
use crate::time::Instant;

/// Packets that wait for the file at most: 12 MB of full frames.
const QUEUE: usize = 8192;
/// How often the writer looks for packets. It is not woken: that would be a
/// system call on the data path.
const PERIOD: Duration = Duration::from_millis(1);
/// `if_tsresol`: ten to the minus nine seconds.
const NANOSECONDS: u8 = 9;

/// Which way a packet went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

enum Message {
    Interface(String),
    Packet {
        interface: u32,
        way: Way,
        /// Since 1970.
        time: Duration,
        /// Packets missing between the one before and this.
        missing: u64,
        bytes: Vec<u8>,
    },
}

struct Shared {
    /// Buffers to use again.
    spare: ArrayQueue<Vec<u8>>,
    /// No more packets are to be queued: finished, or the file failed.
    closed: AtomicBool,
    missing: AtomicU64,
    /// Interfaces so far; locked also while one is announced, so that they
    /// are announced in the order of their numbers.
    interfaces: Mutex<u32>,
}

/// What a capture has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureSummary {
    /// Packets in the file.
    pub written: u64,
    /// Packets that are not, since the queue was full or the file failed.
    pub missing: u64,
}

/// A capture file and the thread that writes it.
pub struct Capture {
    shared: Arc<Shared>,
    messages: Sender<Message>,
    writer: Option<JoinHandle<(u64, io::Result<()>)>>,
}

impl Capture {
    /// Creates the file, or empties it, and starts to write.
    ///
    /// # Errors
    /// If the file cannot be created or written, or no thread started.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::start(File::create(path)?)
    }

    /// As [`create`](Self::create), to anything that takes bytes.
    ///
    /// # Errors
    /// As there.
    pub fn start(file: impl Write + Send + 'static) -> io::Result<Self> {
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(
                concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
            ))],
            ..Default::default()
        };
        let file = BufWriter::with_capacity(1 << 18, file);
        let mut file = PcapNgWriter::with_section_header(file, section).map_err(into_io)?;
        file.get_mut().flush()?;
        let shared = Arc::new(Shared {
            spare: ArrayQueue::new(QUEUE),
            closed: AtomicBool::new(false),
            missing: AtomicU64::new(0),
            interfaces: Mutex::new(0),
        });
        let (messages, queue) = bounded(QUEUE);
        let for_thread = shared.clone();
        let writer = thread::Builder::new()
            .name("capture".into())
            .spawn(move || write(file, &queue, &for_thread))?;
        Ok(Self {
            shared,
            messages,
            writer: Some(writer),
        })
    }

    /// Captures what passes over `inner`, as interface `name`. `origin` is the
    /// wall-clock time of the link's [`Instant::ZERO`].
    pub fn tap<L: Link>(&self, inner: L, name: &str, origin: SystemTime) -> CaptureLink<L> {
        let mut interfaces = self
            .shared
            .interfaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let interface = *interfaces;
        *interfaces += 1;
        // Waits if the queue is full; fails only when the file has, and then
        // nothing is captured anyway.
        let _ = self.messages.send(Message::Interface(name.to_owned()));
        CaptureLink {
            inner,
            shared: self.shared.clone(),
            messages: self.messages.clone(),
            interface,
            origin: origin
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
            captured: 0,
            missing: 0,
        }
    }

    /// Packets missing from the file so far.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.shared.missing.load(Ordering::Relaxed)
    }

    /// Writes what is queued and closes the file. Links that are still tapped
    /// go on without capture.
    ///
    /// # Errors
    /// The first error in writing the file, which ended the capture.
    pub fn finish(mut self) -> io::Result<CaptureSummary> {
        let (written, result) = self.stop();
        result.map(|()| CaptureSummary {
            written,
            missing: self.missing(),
        })
    }

    fn stop(&mut self) -> (u64, io::Result<()>) {
        self.shared.closed.store(true, Ordering::Release);
        let Some(writer) = self.writer.take() else {
            return (0, Ok(()));
        };
        writer
            .join()
            .unwrap_or_else(|_| (0, Err(io::Error::other("the capture thread panicked"))))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let (_, Err(error)) = self.stop() {
            tracing::error!(%error, "the capture file is incomplete");
        }
    }
}

/// The writer's thread. Answers how many packets it wrote.
fn write<W: Write>(
    mut file: PcapNgWriter<BufWriter<W>>,
    queue: &Receiver<Message>,
    shared: &Shared,
) -> (u64, io::Result<()>) {
    let mut written = 0;
    loop {
        // Read before the queue is emptied: what was queued before the close
        // is written.
        let last = shared.closed.load(Ordering::Acquire);
        let result = drain(&mut file, queue, shared, &mut written);
        if let Err(error) = result.and_then(|()| file.get_mut().flush()) {
            shared.closed.store(true, Ordering::Release);
            tracing::error!(%error, "cannot write the capture file; the capture ends here");
            return (written, Err(error));
        }
        if last {
            return (written, Ok(()));
        }
        thread::sleep(PERIOD);
    }
}

fn drain<W: Write>(
    file: &mut PcapNgWriter<BufWriter<W>>,
    queue: &Receiver<Message>,
    shared: &Shared,
    written: &mut u64,
) -> io::Result<()> {
    // A bound, so that what has been written is flushed also under load.
    for message in queue.try_iter().take(QUEUE) {
        match message {
            Message::Interface(name) => {
                let mut block = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
                block.options = vec![
                    InterfaceDescriptionOption::IfName(Cow::Owned(name)),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ];
                file.write_pcapng_block(block).map_err(into_io)?;
            }
            Message::Packet {
                interface,
                way,
                time,
                missing,
                bytes,
            } => {
                let flags = if way == Way::In { 0b01 } else { 0b10 };
                let mut options = vec![EnhancedPacketOption::Flags(flags)];
                if missing > 0 {
                    options.push(EnhancedPacketOption::DropCount(missing));
                }
                let block = EnhancedPacketBlock {
                    interface_id: interface,
                    timestamp: time,
                    original_len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                    data: Cow::Borrowed(&bytes),
                    options,
                };
                file.write_pcapng_block(block).map_err(into_io)?;
                *written += 1;
                let _ = shared.spare.push(bytes);
            }
        }
    }
    Ok(())
}

fn into_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

/// Any link, with its packets captured.
pub struct CaptureLink<L> {
    inner: L,
    shared: Arc<Shared>,
    messages: Sender<Message>,
    interface: u32,
    /// Time of `Instant::ZERO`, since 1970.
    origin: Duration,
    /// Descriptors at the front of the transmit queue that the link below did
    /// not take last time: they are in the file already.
    captured: usize,
    /// Packets missing since the last one in the file.
    missing: u64,
}

impl<L: Link> CaptureLink<L> {
    /// The link below.
    #[must_use]
    pub const fn inner(&self) -> &L {
        &self.inner
    }

    /// Records a frame, given in its parts.
    fn record<'a>(&mut self, now: Instant, way: Way, parts: impl Iterator<Item = &'a [u8]>) {
        if self.shared.closed.load(Ordering::Relaxed) || self.messages.is_full() {
            self.miss();
            return;
        }
        let mut buffer = self.shared.spare.pop().unwrap_or_default();
        buffer.clear();
        for part in parts {
            buffer.extend_from_slice(part);
        }
        let message = Message::Packet {
            interface: self.interface,
            way,
            time: self
                .origin
                .saturating_add(Duration::from_nanos(now.as_nanos())),
            missing: self.missing,
            bytes: buffer,
        };
        // Another engine may have filled the queue since.
        match self.messages.try_send(message) {
            Ok(()) => self.missing = 0,
            Err(_) => self.miss(),
        }
    }

    fn miss(&mut self) {
        self.missing += 1;
        self.shared.missing.fetch_add(1, Ordering::Relaxed);
    }
}

impl<L: Link> Link for CaptureLink<L> {
    fn receive(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        out: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        let before = out.len();
        let received = self.inner.receive(now, pool, out, max);
        let packets = &out[before.min(out.len())..];
        for frame in packets.chunk_by(|part, _| part.continues()) {
            self.record(now, Way::In, frame.iter().map(|part| pool.bytes(part)));
        }
        received
    }

    fn transmit(&mut self, now: Instant, pool: &mut Pool, queue: &mut VecDeque<TxDesc>) {
        let mut descs = queue.iter().skip(self.captured).peekable();
        while descs.peek().is_some() {
            // The last part is taken with those before it.
            let mut continues = true;
            let parts = std::iter::from_fn(|| {
                let desc = if continues { descs.next() } else { None }?;
                continues = desc.continues();
                Some(pool.tx_bytes(desc))
            });
            self.record(now, Way::Out, parts);
            while continues && let Some(desc) = descs.next() {
                continues = desc.continues();
            }
        }
        self.inner.transmit(now, pool, queue);
        self.captured = queue.len();
    }

    fn room(&self) -> usize {
        self.inner.room()
    }

    fn next_event(&self) -> Option<Instant> {
        self.inner.next_event()
    }

    fn wait(&mut self, timeout: Duration, wakers: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.inner.wait(timeout, wakers)
    }

    fn counters(&self) -> LinkCounters {
        self.inner.counters()
    }

    fn kernel_counters(&self) -> KernelCounters {
        self.inner.kernel_counters()
    }

    fn health(&mut self) -> io::Result<()> {
        self.inner.health()
    }
}

#[cfg(test)]
mod tests;
