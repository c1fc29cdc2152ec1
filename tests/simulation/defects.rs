//! Defects built in on purpose: a simulation that cannot fail shows nothing.

use crate::network::Sabotage;
use crate::plan::Plan;
use crate::runner::caught;
use crate::trace::Trace;

/// Every defect, and what the rule that finds it says.
pub const ALL: [(&str, (Sabotage, &[&str])); 11] = [
    ("a_forged_byte", (Sabotage::ForgedByte, &["wrong byte"])),
    ("a_shrunk_window", (Sabotage::ShrunkWindow, &["shrink"])),
    (
        "an_ack_too_far",
        (
            Sabotage::AckTooFar,
            &["only what was sent", "acknowledges the SYN"],
        ),
    ),
    (
        "a_silent_hole",
        (Sabotage::SilentHole, &["stalled", "TimedOut"]),
    ),
    (
        "a_lost_byte",
        (
            Sabotage::LostByte,
            &["wrong byte", "wrong end", "heard all"],
        ),
    ),
    (
        "bytes_heard_twice",
        (Sabotage::TwiceHeard, &["wrong byte", "more bytes"]),
    ),
    (
        "a_leaked_frame",
        (Sabotage::LeakedFrame, &["not all frames back"]),
    ),
    ("a_wrong_abort", (Sabotage::WrongAbort, &["ended as"])),
    (
        "ears_shut_to_syns",
        (
            Sabotage::DeafToSyns,
            &["neither refused nor answered", "nothing was lost"],
        ),
    ),
    (
        "ears_shut_to_answers",
        (Sabotage::DeafToAnswers, &["it was answered"]),
    ),
    (
        "dead_timers",
        (
            Sabotage::DeadTimers,
            &[
                "stalled",
                "never happen",
                "no end",
                "that are over",
                "not all frames back",
            ],
        ),
    ),
];

/// Worlds to look for it in.
const WORLDS: u64 = 60;

/// Whether a defect is found, in the way expected.
///
/// # Errors
/// If it is not.
pub fn is_found((defect, says): (Sabotage, &[&str])) -> Result<(), String> {
    let mut found = 0;
    for seed in 0..WORLDS {
        let mut plan = Plan::new(seed);
        plan.stop_after = None;
        plan.sabotage = Some(defect);
        if let Err(what) = caught(plan, Trace::default()) {
            if says.iter().any(|s| what.contains(s)) {
                found += 1;
            } else {
                let what: String = what.chars().take(300).collect();
                return Err(format!("{defect:?} in world {seed} shows as: {what}"));
            }
        }
    }
    if found == 0 {
        return Err(format!("{defect:?} was found in none of {WORLDS} worlds"));
    }
    Ok(())
}

/// What has to happen in some world or other, or the worlds have become tame.
const CORNERS: [&str; 34] = [
    "accepted",
    "challenge_acks",
    "cookies_accepted",
    "duplicates",
    "fast_retransmits",
    "flow_table_full",
    "handed_over",
    "icmp_checksum",
    "ipv4_checksum",
    "keepalives",
    "mark_reductions",
    "marks_in",
    "out_of_order",
    "resets_received",
    "resets_sent",
    "retransmits",
    "spurious",
    "tail_loss_probes",
    "tcp_backlog_full",
    "tcp_checksum",
    "tcp_cookie_invalid",
    "tcp_port_closed",
    "timed_out",
    "timeouts",
    "utp_accepted",
    "utp_fast_retransmits",
    "utp_keepalives",
    "utp_mtu_probes",
    "utp_out_of_order",
    "utp_resets_received",
    "utp_resets_sent",
    "utp_timeouts",
    "utp_window_probes",
    "window_probes",
];

/// Whether the worlds still go where they are meant to.
///
/// # Errors
/// The corners that none has been to.
pub fn worlds_reach_every_corner() -> Result<(), String> {
    let mut left: Vec<&str> = CORNERS.to_vec();
    for seed in 0..2000 {
        let report = caught(Plan::new(seed), Trace::default())?;
        left.retain(|corner| report.reached.get(corner).is_none_or(|n| *n == 0));
        if left.is_empty() {
            return Ok(());
        }
    }
    Err(format!("no world has been to {left:?}"))
}

/// A seed that does not replay its world is worth nothing.
///
/// # Errors
/// The seed of which two worlds differ.
pub fn the_same_seed_is_the_same_world() -> Result<(), String> {
    for seed in 0..40 {
        let runs = [0, 1].map(|_| caught(Plan::new(seed), Trace::default()));
        if runs[0] != runs[1] {
            return Err(format!("seed {seed}: {:?} and {:?}", runs[0], runs[1]));
        }
    }
    Ok(())
}
