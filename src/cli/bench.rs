//! `fullbore bench`.

use super::args::RawArgs;
use super::failure::{Exit, Failure};
use super::options;
use crate::frame::Pool;
use crate::xdp::raw::{self, Rate};
use crate::xdp::{
    HugePages, Interface, LinkOptions, Steering, SteeringOptions, Umem, UmemOptions, VlanPolicy,
    XdpLink,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Serialize;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
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
    let (mut link, mut pool) = open(args, args.rx.as_str(), true)?;
    let _ = ready.send(());
    let rate = raw::receive(&mut link, &mut pool, PACE, || stop.load(Ordering::Relaxed))
        .map_err(|e| Failure::new(Exit::Interface, format!("{}: {e}", args.rx)));
    link.close(&mut pool);
    rate
}

fn send(args: &RawArgs, core: Option<usize>) -> Result<Rate, Failure> {
    pin(core);
    let (mut link, mut pool) = open(args, args.tx.as_str(), false)?;
    let mut frame = vec![0; frame_bytes(args)];
    frame[..6].fill(0xff);
    frame[12..14].copy_from_slice(&ETHERTYPE);
    let rate = raw::send(&mut link, &mut pool, &frame, args.duration.get())
        .map_err(|e| Failure::new(Exit::Interface, format!("{}: {e}", args.tx)));
    link.drain(&mut pool, Duration::from_secs(1));
    link.close(&mut pool);
    rate
}

fn open(args: &RawArgs, name: &str, take_all: bool) -> Result<(XdpLink, Pool), Failure> {
    let steering = Steering::attach(
        &Interface::read(name)?,
        SteeringOptions {
            mode: options::attach(args.attach),
            vlan: VlanPolicy::Any,
            take_all,
        },
    )?;
    let (umem, mut pool) = Umem::new(&UmemOptions {
        chunk_size: if args.frame.get() > 1792 { 4096 } else { 2048 },
        huge_pages: HugePages::Try,
        ..UmemOptions::default()
    })?;
    let options = LinkOptions {
        bind: options::bind(args.bind),
        ..LinkOptions::default()
    };
    let link = XdpLink::open(&Arc::new(umem), &mut pool, &steering, 0, &options)?;
    Ok((link, pool))
}

/// Enters a network namespace that `ip netns` made; for this thread only.
fn enter(name: &str) -> Result<(), Failure> {
    let failed = |e: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Interface,
            format!("network namespace {name} cannot be entered: {e}"),
        )
        .hint("`ip netns list` shows those there are; entering one needs root")
    };
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(failed(&"that is not a name"));
    }
    let file = File::open(Path::new("/run/netns").join(name)).map_err(|e| failed(&e))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| failed(&e))
}

/// Pins this thread if it can be; the figures are steadier then.
fn pin(core: Option<usize>) {
    if let Some(id) = core {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
}
