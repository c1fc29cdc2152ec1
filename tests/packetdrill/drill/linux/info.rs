//! `TCP_INFO`, read by offset: the C library's structure lags behind.

use super::super::target::{Fd, Info};

/// Room for the structure, which grows with the kernel.
const ROOM: usize = 512;

enum Kind {
    U8,
    Low4,
    High4,
    U16,
    U32,
    U64,
}

use Kind::{High4, Low4, U8, U16, U32, U64};

/// Name, offset in bytes and size of each member (linux/tcp.h).
const MEMBERS: &[(&str, usize, Kind)] = &[
    ("tcpi_state", 0, U8),
    ("tcpi_ca_state", 1, U8),
    ("tcpi_retransmits", 2, U8),
    ("tcpi_probes", 3, U8),
    ("tcpi_backoff", 4, U8),
    ("tcpi_options", 5, U8),
    ("tcpi_snd_wscale", 6, Low4),
    ("tcpi_rcv_wscale", 6, High4),
    ("tcpi_rto", 8, U32),
    ("tcpi_ato", 12, U32),
    ("tcpi_snd_mss", 16, U32),
    ("tcpi_rcv_mss", 20, U32),
    ("tcpi_unacked", 24, U32),
    ("tcpi_sacked", 28, U32),
    ("tcpi_lost", 32, U32),
    ("tcpi_retrans", 36, U32),
    ("tcpi_fackets", 40, U32),
    ("tcpi_last_data_sent", 44, U32),
    ("tcpi_last_ack_sent", 48, U32),
    ("tcpi_last_data_recv", 52, U32),
    ("tcpi_last_ack_recv", 56, U32),
    ("tcpi_pmtu", 60, U32),
    ("tcpi_rcv_ssthresh", 64, U32),
    ("tcpi_rtt", 68, U32),
    ("tcpi_rttvar", 72, U32),
    ("tcpi_snd_ssthresh", 76, U32),
    ("tcpi_snd_cwnd", 80, U32),
    ("tcpi_advmss", 84, U32),
    ("tcpi_reordering", 88, U32),
    ("tcpi_rcv_rtt", 92, U32),
    ("tcpi_rcv_space", 96, U32),
    ("tcpi_total_retrans", 100, U32),
    ("tcpi_pacing_rate", 104, U64),
    ("tcpi_max_pacing_rate", 112, U64),
    ("tcpi_bytes_acked", 120, U64),
    ("tcpi_bytes_received", 128, U64),
    ("tcpi_segs_out", 136, U32),
    ("tcpi_segs_in", 140, U32),
    ("tcpi_notsent_bytes", 144, U32),
    ("tcpi_min_rtt", 148, U32),
    ("tcpi_data_segs_in", 152, U32),
    ("tcpi_data_segs_out", 156, U32),
    ("tcpi_delivery_rate", 160, U64),
    ("tcpi_busy_time", 168, U64),
    ("tcpi_rwnd_limited", 176, U64),
    ("tcpi_sndbuf_limited", 184, U64),
    ("tcpi_delivered", 192, U32),
    ("tcpi_delivered_ce", 196, U32),
    ("tcpi_bytes_sent", 200, U64),
    ("tcpi_bytes_retrans", 208, U64),
    ("tcpi_dsack_dups", 216, U32),
    ("tcpi_reord_seen", 220, U32),
    ("tcpi_rcv_ooopack", 224, U32),
    ("tcpi_snd_wnd", 228, U32),
    ("tcpi_rcv_wnd", 232, U32),
    ("tcpi_rehash", 236, U32),
    ("tcpi_total_rto", 240, U16),
    ("tcpi_total_rto_recoveries", 242, U16),
    ("tcpi_total_rto_time", 244, U32),
];

/// What the kernel tells of the connection behind `fd`.
pub fn read(fd: Fd) -> Option<Info> {
    let mut bytes = [0u8; ROOM];
    let mut len = ROOM as libc::socklen_t;
    // SAFETY: there is room for as many bytes as is said.
    let answer = unsafe {
        let at = bytes.as_mut_ptr().cast();
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, at, &mut len)
    };
    if answer != 0 {
        return None;
    }
    let bytes = &bytes[..len as usize];
    let members = MEMBERS.iter().filter_map(|(name, at, kind)| {
        let byte = *bytes.get(*at)?;
        let value = match kind {
            U8 => i64::from(byte),
            Low4 => i64::from(byte & 15),
            High4 => i64::from(byte >> 4),
            U16 => i64::from(u16::from_ne_bytes(*bytes.get(*at..)?.first_chunk()?)),
            U32 => i64::from(u32::from_ne_bytes(*bytes.get(*at..)?.first_chunk()?)),
            // All ones stand for no limit.
            U64 => u64::from_ne_bytes(*bytes.get(*at..)?.first_chunk()?) as i64,
        };
        Some((*name, value))
    });
    Some(members.collect())
}
