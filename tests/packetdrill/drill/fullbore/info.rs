//! `tcp::Info` in the words and units of Linux's `tcp_info`.

use std::time::Duration;

use fullbore::tcp::{self, CaState, State};

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
    let options = i64::from(info.timestamps)
        | i64::from(info.sack) << 1
        | i64::from(info.scaling) << 2
        | i64::from(info.ecn) << 3;
    let ssthresh = match info.ssthresh {
        u32::MAX => i64::from(i32::MAX),
        bytes => segments(bytes),
    };
    let ca_state = match info.ca_state {
        CaState::Open => 0,
        CaState::Disorder => 1,
        CaState::Cwr => 2,
        CaState::Recovery => 3,
        CaState::Loss => 4,
    };
    Info::from([
        ("tcpi_state", state(info.state)),
        ("tcpi_ca_state", ca_state),
        ("tcpi_retransmits", i64::from(info.retransmits)),
        ("tcpi_probes", i64::from(info.probes)),
        ("tcpi_backoff", i64::from(info.backoff)),
        ("tcpi_options", options),
        ("tcpi_snd_wscale", info.window_shifts.0.into()),
        ("tcpi_rcv_wscale", info.window_shifts.1.into()),
        ("tcpi_rto", micros(info.rto)),
        ("tcpi_snd_mss", i64::from(info.snd_mss)),
        ("tcpi_rcv_mss", i64::from(info.rcv_mss)),
        ("tcpi_advmss", i64::from(info.advmss)),
        ("tcpi_pmtu", i64::from(info.pmtu)),
        ("tcpi_unacked", i64::from(info.unacked)),
        ("tcpi_sacked", i64::from(info.sacked)),
        ("tcpi_lost", i64::from(info.lost)),
        ("tcpi_retrans", i64::from(info.retrans_out)),
        ("tcpi_reord_seen", i64::from(info.reord_seen)),
        ("tcpi_snd_cwnd", i64::from(info.cwnd / mss)),
        ("tcpi_snd_ssthresh", ssthresh),
        ("tcpi_rtt", micros(info.srtt.unwrap_or_default())),
        ("tcpi_rttvar", micros(info.rttvar)),
        (
            "tcpi_min_rtt",
            info.min_rtt.map_or(i64::from(u32::MAX), micros),
        ),
        ("tcpi_snd_wnd", i64::from(info.snd_wnd)),
        ("tcpi_rcv_wnd", i64::from(info.rcv_wnd)),
        ("tcpi_total_retrans", c.retransmits as i64),
        ("tcpi_bytes_acked", c.bytes_acked as i64),
        ("tcpi_bytes_received", c.bytes_received as i64),
        ("tcpi_bytes_sent", c.bytes_sent as i64),
        ("tcpi_bytes_retrans", c.bytes_retransmitted as i64),
        ("tcpi_segs_in", c.segments_received as i64),
        ("tcpi_segs_out", c.segments_sent as i64),
        ("tcpi_data_segs_in", c.data_segments_received as i64),
        ("tcpi_data_segs_out", c.data_segments_sent as i64),
        ("tcpi_delivered", c.delivered as i64),
        ("tcpi_delivered_ce", c.delivered_ce as i64),
        ("tcpi_received_ce", c.marks_received as i64),
        ("tcpi_dsack_dups", c.dsacks as i64),
        ("tcpi_rcv_ooopack", c.out_of_order as i64),
    ])
}
