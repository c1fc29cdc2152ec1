use super::super::ast::*;
use super::*;

fn script(text: &str) -> Script {
    parse(Path::new("test.pkt"), text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn fails(text: &str) -> ParseError {
    parse(Path::new("test.pkt"), text).expect_err(text)
}

fn only(text: &str) -> Event {
    let mut events = script(text).events;
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

fn packet(text: &str) -> Packet {
    match only(text).action {
        Action::Packet(packet) => packet,
        other => panic!("{other:?}"),
    }
}

fn segment(text: &str) -> Segment {
    match packet(text).body {
        Body::Tcp(segment) => segment,
        other => panic!("{other:?}"),
    }
}

fn call(text: &str) -> Call {
    match only(text).action {
        Action::Call(call) => call,
        other => panic!("{other:?}"),
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn times() {
    let when = |text: &str| only(&format!("{text} close(3) = 0")).when;
    let at = |relative, span| When { relative, span };
    assert_eq!(when("0"), at(false, Span::At(ms(0))));
    assert_eq!(when("0.100"), at(false, Span::At(ms(100))));
    assert_eq!(
        when(".0035"),
        at(false, Span::At(Duration::from_micros(3500)))
    );
    assert_eq!(when("+.1"), at(true, Span::At(ms(100))));
    assert_eq!(when("+0~+0.05"), at(true, Span::Range(ms(0), ms(50))));
    assert_eq!(when("1.5 ~ 2"), at(false, Span::Range(ms(1500), ms(2000))));
    assert_eq!(when("0...0.2"), at(false, Span::Blocking(ms(0), ms(200))));
    assert_eq!(when("+0...0.2"), at(true, Span::Blocking(ms(0), ms(200))));
    assert_eq!(
        when("+.1...+.2"),
        at(true, Span::Blocking(ms(100), ms(200)))
    );
    assert_eq!(when("*"), at(false, Span::Any));
    assert!(matches!(
        fails("2~1 close(3) = 0"),
        ParseError::Syntax { line: 1, .. }
    ));
    assert!(matches!(fails("+ close(3) = 0"), ParseError::Syntax { .. }));
    assert!(matches!(
        fails("0...1 > . 1:1(0)"),
        ParseError::Syntax { .. }
    ));
}

#[test]
fn segments() {
    let s = segment("+0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>");
    assert_eq!((s.flags, s.seq, s.len), (Flags::SYN, 0, 0));
    assert_eq!((s.ack, s.win, s.urg), (None, Some(32792), None));
    use TcpOption::{Mss, Nop, SackPermitted, Timestamps, WindowScale};
    assert_eq!(
        s.options.unwrap(),
        [Mss(1000), SackPermitted, Nop, Nop, Nop, WindowScale(7)]
    );
    let s = segment("* > FP. 1:1001(1000) ack 7 win 256 urg 3 <nop,nop,TS val 1 ecr 2>");
    assert_eq!(s.flags.to_string(), "FP.");
    assert_eq!((s.ack, s.win, s.urg), (Some(7), Some(256), Some(3)));
    assert_eq!(
        s.options.unwrap(),
        [Nop, Nop, Timestamps { val: 1, ecr: 2 }]
    );
    assert_eq!(segment("0 > S. 0:0(0) ack 1 <...>").options, None);
    assert_eq!(segment("0 > R 4294967295:0(1)").len, 1);
    let s = segment("0 < . 1:1(0) ack 1 win 10 <nop,nop,sack 1001:2001 3001:4001,eol>");
    assert_eq!(
        s.options.unwrap()[2..],
        [
            TcpOption::Sack(vec![(1001, 2001), (3001, 4001)]),
            TcpOption::Eol
        ]
    );
    let s = segment("0 < S 0:0(0) win 10 <raw fd04beef,nop>");
    let raw = TcpOption::Raw(vec![0xfd, 4, 0xbe, 0xef]);
    assert_eq!(s.options.unwrap(), [raw, TcpOption::Nop]);
    assert!(matches!(
        fails("0 < S 0:0(0) win 10 <raw fd0>"),
        ParseError::Syntax { .. }
    ));
    assert_eq!(
        segment("0 > SEW 0:0(0)").flags,
        Flags(Flags::SYN.0 | Flags::ECE.0 | Flags::CWR.0)
    );
    assert_eq!(segment("0 > - 0:0(0)").flags, Flags(0));
    assert!(matches!(fails("0 > . 1:5(3)"), ParseError::Syntax { .. }));
    assert!(matches!(fails("0 > X 1:1(0)"), ParseError::Syntax { .. }));
    assert!(matches!(
        fails("0 > . 1:1(0) win 65536"),
        ParseError::Syntax { .. }
    ));
    assert!(matches!(
        fails("0 > S 0:0(0) <FO 1234>"),
        ParseError::Unsupported { .. }
    ));
    assert!(matches!(
        fails("0 < . 1:1(0) ack 1 {rep tcp win 1}"),
        ParseError::Unsupported { .. }
    ));
    assert!(matches!(
        fails("0 > udp (1000)"),
        ParseError::Unsupported { .. }
    ));
}

#[test]
fn marks_and_connections() {
    assert_eq!(packet("0 > [ect0] . 1:1(0)").ecn, Some(Ecn::Ect0));
    assert_eq!(packet("0 < [ce] . 1:1(0)").ecn, Some(Ecn::Ce));
    let p = packet("0 < [conn 2, tos 0x10, ttl 3] S 0:0(0)");
    assert_eq!((p.conn, p.tos, p.ttl), (Some(2), Some(16), Some(3)));
    assert_eq!(packet("0 > [conn 2] [noecn] S 0:0(0)").ecn, Some(Ecn::None));
}

#[test]
fn icmp() {
    let p = packet("+0 < icmp unreachable frag_needed mtu 1200 [1:1001(1000)]");
    let Body::Icmp(i) = p.body else {
        panic!("{p:?}")
    };
    assert_eq!(
        (i.kind.as_str(), i.code.as_deref()),
        ("unreachable", Some("frag_needed"))
    );
    assert_eq!((i.mtu, i.quoted), (Some(1200), Some((1, 1000))));
    let s = script("+0 < icmp packet_too_big mtu 1300\n+0 close(3) = 0");
    assert_eq!(s.events.len(), 2);
}

#[test]
fn calls() {
    let c = call("0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3");
    let kind = i64::from(libc::SOCK_STREAM | libc::SOCK_NONBLOCK);
    assert_eq!(c.args, [Arg::Any, Arg::Int(kind), Arg::Int(6)]);
    assert_eq!(c.result, Expected::Value(3));
    let c = call("+0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)");
    assert_eq!(
        c.result,
        Expected::Error(libc::EINPROGRESS, "EINPROGRESS".into())
    );
    let c = call("+0 fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)");
    assert_eq!(c.result, Expected::Value(2));
    let c = call("0 poll([{fd=4, events=POLLIN|POLLOUT, revents=...}], 1, 0) = 1");
    let Arg::List(fds) = &c.args[0] else {
        panic!("{c:?}")
    };
    assert_eq!(fds[0].field("fd"), Some(&Arg::Int(4)));
    assert_eq!(fds[0].field("revents"), Some(&Arg::Any));
    let c = call("0 setsockopt(3, SOL_SOCKET, SO_LINGER, {onoff=1, linger=0}, 8) = 0");
    assert_eq!(c.args[3].field("onoff"), Some(&Arg::Int(1)));
    let c = call(r#"0 setsockopt(3, SOL_TCP, TCP_CONGESTION, "reno", 4) = 0"#);
    assert_eq!(c.args[3], Arg::Str("reno".into()));
    let c = call(
        "0 sendmsg(4, {msg_name(...)=..., msg_iov(2)=[{..., 10},{..., 20}], msg_flags=0}, 0) = 30",
    );
    let Some(Arg::List(parts)) = c.args[1].field("msg_iov") else {
        panic!("{c:?}")
    };
    assert_eq!(parts.len(), 2);
    let c = call(
        "0 bind(3, {sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr(\"10.0.0.1\")}, ...) = 0",
    );
    assert_eq!(c.args[1].field("sin_port"), Some(&Arg::Int(80)));
    assert!(matches!(
        fails("0 socket(AF_UNIX, 1, 0) = 3"),
        ParseError::Unsupported { .. }
    ));
    assert!(matches!(fails("0 close(3)"), ParseError::Syntax { .. }));
}

#[test]
fn options_comments_shell_and_code() {
    let s = script(
        "// A comment.\n--ip_version=ipv4\n--mtu=1300  # why\n`sysctl -q net.ipv4.tcp_ecn=1\n\
         echo #no comment`\n/* more\n words */\n+0 `true`\n+0 close(3) = 0 // end\n\
         +0 %{ assert tcpi_cwnd == 10, tcpi_cwnd }%\n",
    );
    assert_eq!(
        s.options,
        [
            ("ip_version".into(), "ipv4".into()),
            ("mtu".into(), "1300".into())
        ]
    );
    assert_eq!(s.events.len(), 4);
    assert!(matches!(&s.events[0].action, Action::Shell(c) if c.contains("#no comment")));
    assert_eq!(s.events[2].line, 9);
    assert!(matches!(&s.events[3].action, Action::Code(c) if c.contains("tcpi_cwnd == 10")));
}

#[test]
fn directives() {
    let s = script(
        "# linux: it waits longer\n# needs: virtual-time\n# exact: segments\n\
         0 close(3) = 0\n#if linux\n0 close(4) = 0\n#else\n0 close(5) = 0\n#end\n\
         # if it rains: nothing\n0 close(6) = 0\n",
    );
    assert_eq!(s.meta.linux.as_deref(), Some("it waits longer"));
    assert!(s.meta.needs.contains("virtual-time") && s.meta.exact_segments);
    let run_by = |name| s.events.iter().filter(|e| e.only.allows(name)).count();
    assert_eq!((run_by("linux"), run_by("fullbore")), (3, 3));
    assert_eq!(s.events[1].only, Only::This("linux".into()));
    assert_eq!(s.events[2].only, Only::Not("linux".into()));
    assert!(matches!(
        fails("#if linux\n0 close(3) = 0\n"),
        ParseError::Syntax { .. }
    ));
}

#[test]
fn errors_name_the_line() {
    let e = fails("0 close(3) = 0\n\n0 > . 1:2(0)\n");
    assert!(matches!(e, ParseError::Syntax { line: 3, .. }), "{e}");
    assert!(e.to_string().contains("1:2"), "{e}");
}
