//! What passes, for people: lines of text and a capture file.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use fullbore::time::Instant;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, TsResolution};

use crate::datagram::{self, Datagram};
use crate::line::Fate;
use crate::packet::{ACK, FIN, RST, SYN, Segment};

/// Where to.
#[derive(Default)]
pub struct Trace {
    pub verbose: bool,
    file: Option<PcapWriter<BufWriter<File>>>,
    /// A number that differs between worlds that differ in anything sent.
    pub digest: u64,
}

impl Trace {
    /// A trace to the standard output, if `verbose`, and to a file.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn new(verbose: bool, pcap: Option<&Path>) -> Result<Self, String> {
        let header = PcapHeader {
            ts_resolution: TsResolution::NanoSecond,
            datalink: DataLink::ETHERNET,
            ..PcapHeader::default()
        };
        let open = |path: &Path| -> Result<_, String> {
            let file = File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
            PcapWriter::with_header(BufWriter::new(file), header).map_err(|e| e.to_string())
        };
        Ok(Self {
            verbose,
            file: pcap.map(open).transpose()?,
            digest: 0,
        })
    }

    /// A packet enters a line.
    pub fn note(&mut self, now: Instant, from: usize, frame: &[u8], s: Option<&Segment>, f: &Fate) {
        let mut mix = self.digest ^ now.as_nanos() ^ (frame.len() as u64) << 48;
        if let Some(s) = s {
            mix ^= u64::from(s.seq) << 32 | u64::from(s.ack);
        }
        self.digest = mix.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        if self.verbose {
            let fate = match f {
                Fate::Passes { due, .. } => format!("due {:.6}", seconds(*due)),
                Fate::Lost(why) => (*why).to_owned(),
                other => format!("{other:?}"),
            };
            match s {
                Some(s) => println!("{}  {fate}", self.line(now, s)),
                None => match datagram::parse(frame) {
                    Ok(Some(d)) => println!("{}  {fate}", utp_line(now, &d)),
                    _ => println!(
                        "{:>14.6} host {from}: {} bytes, neither TCP nor uTP  {fate}",
                        seconds(now),
                        frame.len()
                    ),
                },
            }
        }
        if let Some(file) = &mut self.file {
            let at = Duration::from_nanos(now.as_nanos());
            let packet = PcapPacket::new(at, frame.len() as u32, frame);
            if let Err(error) = file.write_packet(&packet) {
                eprintln!("capture: {error}");
                self.file = None;
            }
        }
    }

    pub fn line(&self, now: Instant, s: &Segment) -> String {
        let flags: String = [(SYN, 'S'), (FIN, 'F'), (RST, 'R'), (ACK, '.')]
            .iter()
            .filter(|(flag, _)| s.has(*flag))
            .map(|(_, c)| c)
            .collect();
        format!(
            "{:>14.6} {}:{} > {}:{} [{flags}] seq {} +{} ack {} win {} {:?}{}",
            seconds(now),
            s.src,
            s.sport,
            s.dst,
            s.dport,
            s.seq,
            s.len,
            s.ack,
            s.window,
            s.blocks(),
            s.times
                .map_or(String::new(), |(val, ecr)| format!(" ts {val} {ecr}")),
        )
    }
}

pub fn utp_line(now: Instant, d: &Datagram) -> String {
    const KINDS: [&str; 5] = ["DATA", "FIN", "STATE", "RESET", "SYN"];
    format!(
        "{:>14.6} {} > {} id {} {} {} +{} ack {} win {} {:02x?}",
        seconds(now),
        d.src,
        d.dst,
        d.id,
        KINDS[usize::from(d.kind)],
        d.seq,
        d.len,
        d.ack,
        d.window,
        d.sack,
    )
}

fn seconds(at: Instant) -> f64 {
    at.as_nanos() as f64 / 1e9
}
