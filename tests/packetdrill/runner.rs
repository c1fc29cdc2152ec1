//! Tests of the runner itself: scripts that must fail do, for the right
//! reason.

use std::path::Path;

use super::drill::run::{self, Settings, Verdict};
use super::fullbore;

const STRICT: Settings = Settings { strict_end: true };

fn verdict(text: &str) -> Verdict {
    run::run_text(Path::new("test.pkt"), text, STRICT, &fullbore).verdict
}

/// A server that has accepted a connection.
const SERVER: &str = "
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 65535 <mss 1460,sackOK,nop,nop,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 7>
+.01 < . 1:1(0) ack 1 win 512
+0 accept(3, ..., ...) = 4
";

#[track_caller]
fn passes(rest: &str) {
    match verdict(&format!("{SERVER}{rest}")) {
        Verdict::Passed => {}
        other => panic!("{other:#?}"),
    }
}

#[track_caller]
fn fails(rest: &str, parts: &[&str]) {
    match verdict(&format!("{SERVER}{rest}")) {
        Verdict::Failed(report) => {
            for part in parts {
                assert!(report.contains(part), "{part:?} is not in\n{report}");
            }
        }
        other => panic!("{other:#?}"),
    }
}

#[test]
fn a_right_script_passes() {
    passes(
        "+0 write(4, ..., 1000) = 1000\n+0 > P. 1:1001(1000) ack 1\n+.01 < . 1:1(0) ack 1001 win 512",
    );
}

#[test]
fn a_wrong_window_fails() {
    fails(
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1 win 3",
        &["win: expected 3, came 1024", "test.pkt:11", "  script: "],
    );
}

#[test]
fn a_wrong_time_fails() {
    fails(
        "+0 write(4, ..., 10) = 10\n+.01 > P. 1:11(10) ack 1",
        &["too early", "from 0.016000 to 0.024000"],
    );
    // The retransmission comes after 200 ms and what was measured.
    fails(
        "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n+.5 > P. 1:11(10) ack 1",
        &["too early"],
    );
    fails(
        "+0 write(4, ..., 10) = 10\n+0~+.01 > P. 1:11(10) ack 1\n+.1 > P. 1:11(10) ack 1",
        &["does not come"],
    );
}

#[test]
fn a_missing_packet_fails() {
    fails(
        "+0 > . 1:1(0) ack 2",
        &["the packet does not come", "nothing by"],
    );
}

#[test]
fn an_extra_packet_fails() {
    fails(
        "+0 write(4, ..., 10) = 10\n+.1 close(4) = 0",
        &[
            "a packet that the script does not have",
            "P. 1:11(10)",
            "not in the script",
        ],
    );
    fails(
        "+0 write(4, ..., 10) = 10\n+0 < P. 1:11(10) ack 1 win 512\n+0 > . 11:11(0) ack 11",
        &["length: expected 0, came 10"],
    );
}

#[test]
fn wrong_results_fail() {
    fails("+0 bind(4, ..., ...) = -1 EBADF (Bad)", &["EBADF", "bind"]);
    fails("+0 read(4, ..., 10) = 10", &["the call blocks"]);
    fails(
        "+0 fcntl(4, F_SETFL, O_NONBLOCK) = 0\n+0 read(4, ..., 10) = 10",
        &["expected: 10", "came:     -1 EAGAIN"],
    );
    fails(
        "+0 getsockopt(4, SOL_TCP, TCP_NODELAY, [1], [4]) = 0",
        &["the value", "Int(0)"],
    );
    fails(
        "+0 poll([{fd=4, events=POLLIN|POLLOUT, revents=POLLIN}], 1, 0) = 1",
        &["revents", "expected: POLLIN", "came:     POLLOUT"],
    );
}

#[test]
fn wrong_flags_acks_options_and_marks_fail() {
    let write = "+0 write(4, ..., 10) = 10\n";
    fails(
        &format!("{write}+0 > F. 1:11(10) ack 1"),
        &["does not come", "expected: F. 11:11(0) ack 1"],
    );
    fails(
        &format!("{write}+0 > P. 1:11(10) ack 7"),
        &["ack: expected 7, came 1"],
    );
    fails(
        &format!("{write}+0 > P. 2:12(10) ack 1"),
        &["seq: expected 2, came 1"],
    );
    fails(
        &format!("{write}+0 > P. 1:11(10) ack 1 <nop,nop,TS val 1 ecr 1>"),
        &["options: expected nop,nop,TS"],
    );
    fails(
        &format!("{write}+0 > [ce] P. 1:11(10) ack 1"),
        &["ECN: expected Ce, came None"],
    );
    fails(
        &format!("{write}+0 > E. 1:11(10) ack 1"),
        &["flags: expected E., came ."],
    );
    // The tenth byte is left over.
    fails(
        &format!("{write}+0 > P. 1:10(9) ack 1\n+.1 close(4) = 0"),
        &["a packet that the script does not have", "10:11(1)"],
    );
}

#[test]
fn blocking_calls_have_to_return_when_the_script_says() {
    let arrives = "+.1 < P. 1:11(10) ack 1 win 512\n+0 > . 1:1(0) ack 11";
    passes(&format!("+0...+.1 read(4, ..., 10) = 10\n{arrives}"));
    fails(
        &format!("+0...+.3 read(4, ..., 10) = 10\n{arrives}\n+1 close(4) = 0"),
        &["the call returns at another time"],
    );
    fails(
        "+0...+.1 read(4, ..., 10) = 10",
        &["the call has not returned"],
    );
    fails(
        &format!("+0...+.1 read(4, ..., 10) = 9\n{arrives}"),
        &["test.pkt:10: read"],
    );
}

#[test]
fn segments_may_be_merged_and_split_unless_the_script_says_exact() {
    let both = "+0 write(4, ..., 2920) = 2920\n";
    passes(&format!("{both}+0 > P. 1:2921(2920) ack 1"));
    passes(&format!(
        "{both}+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:2921(1920) ack 1"
    ));
    let exact = "# exact: segments\n";
    passes(&format!(
        "{both}{exact}+0 > . 1:1461(1460) ack 1\n+0 > P. 1461:2921(1460) ack 1"
    ));
    fails(
        &format!("{both}{exact}+0 > P. 1:2921(2920) ack 1"),
        &["length: expected 2920, came 1460"],
    );
}

#[test]
fn assertions_fail_with_their_values() {
    passes("+0 %{ assert tcpi_cwnd == 10, tcpi_cwnd }%");
    fails(
        "+0 %{ assert tcpi_cwnd == 11 }%",
        &["does not hold", "tcpi_cwnd = 10"],
    );
}

#[test]
fn what_differs_knowingly_is_skipped_and_must_differ() {
    let wrong = "+0 > . 1:1(0) ack 2";
    match verdict(&format!("# fullbore: a reason\n{SERVER}{wrong}")) {
        Verdict::Skipped(why) => assert!(why.contains("a reason")),
        other => panic!("{other:?}"),
    }
    match verdict(&format!("# fullbore: a reason\n{SERVER}")) {
        Verdict::Failed(why) => assert!(why.contains("passes, but is said to differ")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_supported_is_skipped() {
    for text in [
        "0 socket(AF_UNIX, SOCK_STREAM, 0) = 3",
        "0 > udp (100)",
        "0 socket(..., SOCK_DGRAM, IPPROTO_UDP) = 3",
        "0 splice(3) = 0",
        "# needs: a-miracle\n0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3",
    ] {
        assert!(matches!(verdict(text), Verdict::Skipped(_)), "{text}");
    }
}

/// A client that has connected, with timestamps that are compared.
const CLIENT: &str = "--tcp_ts_tick_usecs=1000
0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3
+0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)
+0 > S 0:0(0) <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>
+.05 < S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,TS val 700 ecr 100,nop,wscale 7>
";

#[test]
fn timestamps_are_compared_when_the_script_tells_their_tick() {
    let ack = |val: u32, ecr: u32| {
        format!("{CLIENT}+0 > . 1:1(0) ack 1 <nop,nop,TS val {val} ecr {ecr}>")
    };
    assert!(matches!(verdict(&ack(150, 700)), Verdict::Passed));
    assert!(matches!(verdict(&ack(153, 700)), Verdict::Passed));
    match verdict(&ack(250, 700)) {
        Verdict::Failed(why) => assert!(why.contains("TS val: expected 250, came 150"), "{why}"),
        other => panic!("{other:?}"),
    }
    match verdict(&ack(150, 701)) {
        Verdict::Failed(why) => assert!(why.contains("options: expected"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn comments_inside_of_calls_and_odd_line_ends_do_no_harm() {
    let text = SERVER.replace('\n', "\r\n")
        + "+0 write(4, /* any */ ..., 10) // why\r\n = 10\r\n+0 > P. 1:11(10) ack 1 # last";
    let verdict = verdict(&text);
    assert!(matches!(verdict, Verdict::Passed), "{verdict:?}");
}
