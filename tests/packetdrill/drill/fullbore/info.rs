//! `tcp::Info` in the words and units of Linux's `tcp_info`.

use std::time::Duration;

use fullbore::tcp::{self, State};

use super::super::target::Info;

/// The number that `tcpi_state` has.
fn state(state: State) -> i64 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Closing => 11,
    }
}

fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

/// What is known of a connection.
pub fn of(info: &tcp::Info) -> Info {
    let mss = u32::from(info.snd_mss.max(1));
    let segments = |bytes: u32| i64::from(bytes.div_ceil(mss));
    let c = &info.counters;
    let options =
        i64::from(info.timestamps) | i64::from(info.sack) << 1 | i64::from(info.scaling) << 2;
    let ssthresh = match info.ssthresh {
        u32::MAX => i64::from(i32::MAX),
        bytes => segments(bytes),
    };
    Info::from([
        ("tcpi_state", state(info.state)),
        ("tcpi_options", options),
        ("tcpi_snd_cwnd", i64::from(info.cwnd / mss)),
        ("tcpi_snd_ssthresh", ssthresh),
        ("tcpi_snd_mss", i64::from(info.snd_mss)),
        ("tcpi_rtt", micros(info.srtt.unwrap_or_default())),
        ("tcpi_rttvar", micros(info.rttvar)),
        ("tcpi_rto", micros(info.rto)),
        (
            "tcpi_min_rtt",
            info.min_rtt.map_or(i64::from(u32::MAX), micros),
        ),
        ("tcpi_snd_wnd", i64::from(info.snd_wnd)),
        ("tcpi_rcv_wnd", i64::from(info.rcv_wnd)),
        ("tcpi_total_retrans", c.retransmits as i64),
        ("tcpi_bytes_acked", c.bytes_acked as i64),
        ("tcpi_bytes_received", c.bytes_received as i64),
        ("tcpi_segs_in", c.segments_received as i64),
        ("tcpi_segs_out", c.segments_sent as i64),
    ])
}
