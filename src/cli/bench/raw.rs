//! `fullbore bench raw`, `rx-drop`, `tx-only` and `forward`: AF_XDP alone.

use super::args::{ForwardArgs, OneArgs, RawArgs};
use super::ends::{enter, pin};
use super::live::Live;
use super::report::{Conditions, Report};
use crate::cli::failure::{Exit, Failure};
use crate::cli::options;
use crate::config::{Attach, Bind};
use crate::frame::Pool;
use crate::link::Link;
use crate::xdp::raw::{self, Rate};
use crate::xdp::{
    HugePages, Interface, LinkOptions, Steering, SteeringOptions, Umem, UmemOptions, VlanPolicy,
    XdpLink,
};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// How often the receiver looks at its ring: always looking takes the ring's
/// memory away from the kernel, which writes it.
const PACE: Duration = Duration::from_micros(10);
/// How long the receiver goes on after the last frame was sent.
const TAIL: Duration = Duration::from_millis(100);
/// An EtherType for local experiments (IEEE 802): nobody answers it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

#[derive(Serialize)]
struct Outcome {
    frame_bytes: usize,
    sent: Side,
    received: Side,
}

#[derive(Serialize)]
struct Side {
    frames: u64,
    mpps: f64,
    gbps: f64,
}

impl From<Rate> for Side {
    fn from(rate: Rate) -> Self {
        Self {
            frames: rate.frames,
            mpps: rate.mpps(),
            gbps: rate.gbps(),
        }
    }
}

/// Sends on one interface, receives on the other, prints both rates.
pub fn raw(args: &RawArgs) -> Result<(), Failure> {
    let cores: Vec<usize> = options::cores()
        .into_iter()
        .map(|core| core as usize)
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let (ready, is_ready) = mpsc::channel();
    let receiver = {
        let (args, stop) = (args.clone(), Arc::clone(&stop));
        let core = cores.last().copied();
        std::thread::Builder::new()
            .name("receiver".into())
            .spawn(move || receive(&args, core, &stop, &ready))
            .map_err(|e| Failure::new(Exit::Failed, format!("the receiver's thread: {e}")))?
    };
    // An error of the receiver drops its end, and is what it returns.
    let sent = match is_ready.recv() {
        Ok(()) => Some(send(
            args,
            cores.first().copied().filter(|_| cores.len() > 1),
        )),
        Err(_) => None,
    };
    std::thread::sleep(TAIL);
    stop.store(true, Ordering::Relaxed);
    let received = receiver
        .join()
        .map_err(|_| Failure::new(Exit::Failed, "the receiver panicked, a defect of fullbore"))??;
    let Some(sent) = sent else {
        return Err(Failure::new(
            Exit::Failed,
            "the receiver ended before the sender began",
        ));
    };
    let sent = sent?;
    if args.json {
        let result = Outcome {
            frame_bytes: frame_bytes(args),
            sent: sent.into(),
            received: received.into(),
        };
        let line = serde_json::to_string(&result)
            .map_err(|e| Failure::new(Exit::Failed, format!("JSON: {e}")))?;
        println!("{line}");
    } else {
        for (verb, rate) in [("sent", sent), ("received", received)] {
            println!(
                "{verb:<9}{:>12} frames of {} bytes  {:.3} Mpps  {:.2} Gbit/s",
                rate.frames,
                frame_bytes(args),
                rate.mpps(),
                rate.gbps()
            );
        }
    }
    Ok(())
}

fn frame_bytes(args: &RawArgs) -> usize {
    usize::try_from(args.frame.get()).unwrap_or(usize::MAX)
}

fn receive(
    args: &RawArgs,
    core: Option<usize>,
    stop: &AtomicBool,
    ready: &mpsc::Sender<()>,
) -> Result<Rate, Failure> {
    if let Some(name) = &args.rx_netns {
        enter(name)?;
    }
    pin(core);
    let (mut link, mut pool) = open(args.rx.as_str(), args.how(true))?;
    let _ = ready.send(());
    let rate = raw::receive(&mut link, &mut pool, PACE, || stop.load(Ordering::Relaxed))
        .map_err(|e| broken(args.rx.as_str(), &e));
    link.close(&mut pool);
    rate
}

fn send(args: &RawArgs, core: Option<usize>) -> Result<Rate, Failure> {
    pin(core);
    let (mut link, mut pool) = open(args.tx.as_str(), args.how(false))?;
    let frame = test_frame(args.frame.get());
    let rate = raw::send(&mut link, &mut pool, &frame, args.duration.get())
        .map_err(|e| broken(args.tx.as_str(), &e));
    link.drain(&mut pool, Duration::from_secs(1));
    link.close(&mut pool);
    rate
}

impl RawArgs {
    const fn how(&self, take_all: bool) -> How {
        How {
            attach: self.attach,
            bind: self.bind,
            queue: 0,
            frame: self.frame.get(),
            take_all,
        }
    }
}

/// What a link is opened with.
#[derive(Clone, Copy)]
struct How {
    attach: Attach,
    bind: Bind,
    queue: u32,
    frame: u64,
    take_all: bool,
}

fn open(name: &str, how: How) -> Result<(XdpLink, Pool), Failure> {
    let (umem, mut pool) = memory(how.frame)?;
    let link = open_in(&umem, &mut pool, name, how)?;
    Ok((link, pool))
}

fn memory(frame: u64) -> Result<(Arc<Umem>, Pool), Failure> {
    let (umem, pool) = Umem::new(&UmemOptions {
        chunk_size: if frame > 1792 { 4096 } else { 2048 },
        huge_pages: HugePages::Try,
        ..UmemOptions::default()
    })?;
    Ok((Arc::new(umem), pool))
}

fn open_in(umem: &Arc<Umem>, pool: &mut Pool, name: &str, how: How) -> Result<XdpLink, Failure> {
    let steering = Steering::attach(
        &Interface::read(name)?,
        SteeringOptions {
            mode: options::attach(how.attach),
            vlan: VlanPolicy::Any,
            take_all: how.take_all,
        },
    )?;
    let options = LinkOptions {
        bind: options::bind(how.bind),
        ..LinkOptions::default()
    };
    Ok(XdpLink::open(umem, pool, &steering, how.queue, &options)?)
}

impl OneArgs {
    const fn how(&self, take_all: bool) -> How {
        How {
            attach: self.attach,
            bind: self.bind,
            queue: self.queue,
            frame: self.frame.get(),
            take_all,
        }
    }
}

fn broken(name: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Interface, format!("{name}: {error}"))
}

/// What is known of one interface.
fn conditions(name: &str, link: &XdpLink) -> Result<Conditions, Failure> {
    let found = Interface::read(name)?;
    let mut conditions = Conditions::of_machine();
    let bound = if link.zero_copy() {
        "zero copy"
    } else {
        "copy"
    };
    let line = format!(
        "{name}, driver {}, queue {}, {bound}, MTU {} bytes",
        found.driver,
        link.queue(),
        found.mtu
    );
    conditions.add("interface", line);
    Ok(conditions)
}

/// `fullbore bench rx-drop`.
pub fn rx_drop(args: &OneArgs) -> Result<(), Failure> {
    let name = args.on.as_str();
    let (mut link, mut pool) = open(name, args.how(true))?;
    let mut report = Report::new("bench rx-drop", conditions(name, &link)?);
    pin(options::cores().last().map(|c| *c as usize));
    let interrupt = crate::cli::signals::Interrupt::install()?;
    let live = Live::new(&args.output);
    live.show("receiving");
    let start = std::time::Instant::now();
    let rate = raw::receive(&mut link, &mut pool, PACE, || {
        start.elapsed() >= args.duration.get() || interrupt.requested()
    })
    .map_err(|e| broken(name, &e))?;
    live.clear();
    rates(&mut report, "received", rate);
    let kernel = Link::kernel_counters(&link);
    for (what, count) in [
        (
            "dropped by the kernel, receive ring full",
            kernel.rx_ring_full,
        ),
        ("dropped by the kernel, otherwise", kernel.rx_dropped),
        (
            "times the kernel found the fill ring empty",
            kernel.rx_fill_ring_empty_descs,
        ),
    ] {
        report.figure(what, count as f64, "");
    }
    link.close(&mut pool);
    report.give(&args.output)
}

/// `fullbore bench tx-only`.
pub fn tx_only(args: &OneArgs) -> Result<(), Failure> {
    let name = args.on.as_str();
    let (mut link, mut pool) = open(name, args.how(false))?;
    let mut report = Report::new("bench tx-only", conditions(name, &link)?);
    pin(options::cores().first().map(|c| *c as usize));
    let frame = test_frame(args.frame.get());
    let line = format!("{} bytes, EtherType 0x88b5, to all", frame.len());
    report.conditions.add("frames", line);
    let live = Live::new(&args.output);
    live.show("sending");
    let rate = raw::send(&mut link, &mut pool, &frame, args.duration.get())
        .map_err(|e| broken(name, &e))?;
    live.clear();
    rates(&mut report, "sent", rate);
    link.drain(&mut pool, Duration::from_secs(1));
    let counters = link.counters();
    let kicks = counters.tx_kicks as f64;
    let frames_a_kick = counters.tx_frames as f64 / kicks.max(1.0);
    report.figure("frames a system call", frames_a_kick, "");
    link.close(&mut pool);
    report.give(&args.output)
}

/// `fullbore bench forward`.
pub fn forward(args: &ForwardArgs) -> Result<(), Failure> {
    let (from, to) = (args.from.as_str(), args.to.as_str());
    let mtu = Interface::read(from)?.mtu.max(Interface::read(to)?.mtu);
    let (umem, mut pool) = memory(u64::from(mtu) + 14)?;
    let how = |take_all| How {
        attach: args.attach,
        bind: args.bind,
        queue: 0,
        frame: 0,
        take_all,
    };
    let mut input = open_in(&umem, &mut pool, from, how(true))?;
    let mut output = open_in(&umem, &mut pool, to, how(false))?;
    let mut report = Report::new("bench forward", conditions(from, &input)?);
    report.conditions.add("out of", to.to_owned());
    pin(options::cores().last().map(|c| *c as usize));
    let interrupt = crate::cli::signals::Interrupt::install()?;
    let live = Live::new(&args.output);
    live.show("forwarding");
    let start = std::time::Instant::now();
    let rate = raw::forward(&mut input, &mut output, &mut pool, PACE, || {
        start.elapsed() >= args.duration.get() || interrupt.requested()
    })
    .map_err(|e| broken(from, &e))?;
    live.clear();
    rates(&mut report, "forwarded", rate);
    let dropped = Link::kernel_counters(&input).rx_ring_full;
    report.figure(
        "dropped by the kernel, receive ring full",
        dropped as f64,
        "",
    );
    output.drain(&mut pool, Duration::from_secs(1));
    output.close(&mut pool);
    input.close(&mut pool);
    report.give(&args.output)
}

fn rates(report: &mut Report, verb: &str, rate: Rate) {
    report.figure(format!("frames {verb}"), rate.frames as f64, "");
    report.figure(format!("rate {verb}"), rate.mpps(), "Mpps");
    report.figure(format!("bits {verb}"), rate.gbps(), "Gbit/s");
}

/// A frame of `len` bytes that nobody answers.
fn test_frame(len: u64) -> Vec<u8> {
    let mut frame = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    frame[..6].fill(0xff);
    frame[12..14].copy_from_slice(&ETHERTYPE);
    frame
}
