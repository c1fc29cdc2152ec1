//! Our clients and our server.

use super::*;

#[test]
fn gets_over_one_and_several_connections() {
    let s = Setting::new(20_000_003);
    for n in [1, 4] {
        let name = format!("out{n}");
        let report = get_with(s.running.address, "/file", &s.path(&name), |o| {
            o.connections = n
        })
        .unwrap();
        assert_eq!(
            (report.size, report.verified, report.resumed),
            (20_000_003, true, 0)
        );
        s.check(&name);
    }
    assert!(
        s.server.stats().totals().connections >= 6,
        "four of content and one for the digest"
    );
    std::fs::write(s.path("root/empty"), "").unwrap();
    for n in [1, 4] {
        let report = get_with(s.running.address, "/empty", &s.path("e"), |o| {
            o.connections = n
        })
        .unwrap();
        assert_eq!(
            (report.size, std::fs::read(s.path("e")).unwrap().len()),
            (0, 0)
        );
    }
    assert_eq!(s.running.stop().outstanding(), 0);
}

#[test]
fn puts() {
    let s = Setting::new(10_000_003);
    let file = s.path("root/file");
    for announce in [
        Announce::Head,
        Announce::Trailer,
        Announce::Auto,
        Announce::Never,
    ] {
        let name = format!("up{announce:?}");
        let report = put_with(s.running.address, &format!("/{name}"), &file, |o| {
            o.announce = announce
        })
        .unwrap();
        assert_eq!((report.size, report.created), (10_000_003, true));
        assert_eq!(report.verified, announce != Announce::Never);
        s.check(&format!("root/{name}"));
    }
    // A directory gets the name of the file.
    std::fs::create_dir(s.path("root/sub")).unwrap();
    put_with(s.running.address, "/sub/", &file, |_| {}).unwrap();
    s.check("root/sub/file");
    std::fs::write(s.path("empty"), "").unwrap();
    for announce in [Announce::Head, Announce::Trailer] {
        let report = put_with(s.running.address, "/empty", &s.path("empty"), |o| {
            o.announce = announce
        })
        .unwrap();
        assert_eq!(
            (
                report.size,
                std::fs::read(s.path("root/empty")).unwrap().len()
            ),
            (0, 0)
        );
    }
    assert_eq!(s.running.stop().outstanding(), 0);
}

#[test]
fn the_digest_is_agreed_on() {
    let s = Setting::new(3_000_001);
    let sha256 = Digest::sha256(<sha2::Sha256 as sha2::Digest>::digest(&s.content));
    let blake3 = Digest::blake3(blake3::hash(&s.content));
    let (sha, blake) = (Some(Algorithm::Sha256), Some(Algorithm::Blake3));
    for connections in [1, 3] {
        for (only, want) in [
            (None, blake3),
            (sha, sha256),
            (blake, blake3),
            (None, blake3),
        ] {
            let report = get_with(s.running.address, "/file", &s.path("out"), |o| {
                (o.digest, o.connections, o.verify) = (only, connections, Verify::Require);
            });
            let report = report.unwrap();
            assert_eq!((report.digest, report.verified), (want, true), "{only:?}");
            s.check("out");
        }
    }
    let file = s.path("root/file");
    for (announce, only, want) in [
        (Announce::Head, None, sha256),
        (Announce::Head, blake, blake3),
        (Announce::Trailer, None, blake3),
        (Announce::Trailer, sha, sha256),
    ] {
        let report = put_with(s.running.address, "/up", &file, |o| {
            (o.announce, o.digest) = (announce, only);
        });
        let report = report.unwrap();
        assert_eq!(
            (report.digest, report.verified),
            (Some(want), true),
            "{announce:?} {only:?}"
        );
        s.check("root/up");
        // What was worked out while it came is known to who fetches it.
        let report = get_with(s.running.address, "/up", &s.path("out"), |_| {}).unwrap();
        assert_eq!((report.digest, report.verified), (want, true));
    }
    assert_eq!(s.running.stop().outstanding(), 0);
}

#[test]
fn a_second_attempt_goes_on() {
    let s = Setting::new(20_000_003);
    let attempt = |cuts, n| {
        let proxy = cutter(s.running.address, cuts, 5_000_000);
        let url = Url::parse(&format!("http://{}/file", s.running.address)).unwrap();
        let mut options = GetOptions::new(url, Output::File(s.path("out")));
        options.patience = Patience {
            retries: 0,
            ..patience()
        };
        options.connections = n;
        let (app, result) = ClientApp::get(options, vec![proxy], Arc::default()).unwrap();
        let (result, _) = run_client(app, &result);
        result
    };
    let error = attempt(99, 1).unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    assert!(
        s.path("out.part").exists() && s.path("out.part.json").exists() && !s.path("out").exists()
    );
    match attempt(0, 2) {
        Ok(ClientReport::Get(report)) => {
            assert!(report.verified && report.resumed > 1_000_000, "{report:?}");
            // Of the whole, though only a part of it came now.
            let whole = Digest::blake3(blake3::hash(&s.content));
            assert_eq!(report.digest, whole);
        }
        other => panic!("{other:?}"),
    }
    s.check("out");
    // What is left of another state of the file is of no use.
    let error = attempt(99, 1).unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    let changed = pattern(15_000_000, 9);
    std::fs::write(s.path("root/file"), &changed).unwrap();
    match attempt(0, 1) {
        Ok(ClientReport::Get(report)) => assert_eq!((report.resumed, report.verified), (0, true)),
        other => panic!("{other:?}"),
    }
    assert!(std::fs::read(s.path("out")).unwrap() == changed);
}
