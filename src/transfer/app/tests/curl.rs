//! curl as the client.

use super::*;

#[test]
fn curl_gets_and_puts() {
    let dir = TempDir::new().unwrap();
    let content = pattern(30_000_001, 1);
    std::fs::write(dir.path().join("file"), &content).unwrap();
    for inline in [false, true] {
        let (server, running) = serve(dir.path(), |o| o.inline_reads = inline);
        let url = format!("http://{}", running.address);
        let file = format!("{url}/file");
        assert!(ok(&curl(&[&file])) == content);
        assert!(ok(&curl(&["-r", "1000-1999999", &file])) == &content[1000..2_000_000]);
        assert!(
            ok(&curl(&["--limit-rate", "20M", &file])) == content,
            "slowly"
        );
        let parallel = curl(&["-Z", &file, &file, &file, &file]);
        assert_eq!(ok(&parallel).len(), 4 * content.len());
        let up = dir.path().join("source");
        std::fs::write(&up, &content).unwrap();
        let up = up.to_str().unwrap();
        let code = ["-w", "%{http_code}", "-o", "/dev/null"];
        for (extra, name) in [
            (&[][..], "a"),
            (&["-H", "Transfer-Encoding: chunked"][..], "b"),
        ] {
            let target = format!("{url}/{name}");
            let output = curl(&[&code, extra, &["-T", up, &target]].concat());
            assert_eq!(ok(&output), if inline { b"204" } else { b"201" });
            assert!(
                std::fs::read(dir.path().join(name)).unwrap() == content,
                "{name}"
            );
        }
        assert_eq!(
            ok(&curl(&[&code[..], &[&format!("{url}/none")]].concat())),
            b"404"
        );
        let totals = server.stats().totals();
        assert_eq!((totals.ok, totals.client_errors), (9, 1));
        assert_eq!(totals.received_bytes, 2 * content.len() as u64);
        assert_eq!(running.stop().outstanding(), 0, "every frame is back");
        assert_eq!(server.stats().totals().open, 0);
    }
}

/// Of a file of which some is in the page cache and some is not, what can be had
/// at once must not overtake what a disk thread reads. (On a file system in
/// memory all goes the same way.)
#[test]
fn blocks_that_are_cached_do_not_overtake_others() {
    use rustix::fs::{Advice, fadvise};
    let dir = TempDir::new().unwrap();
    let content = pattern(4_000_001, 3);
    let path = dir.path().join("file");
    std::fs::write(&path, &content).unwrap();
    let (_server, running) = serve(dir.path(), |o| o.inline_reads = true);
    let url = format!("http://{}/file", running.address);
    let file = std::fs::File::open(&path).unwrap();
    file.sync_all().unwrap();
    // Without reading ahead only what is read here is cached.
    fadvise(&file, 0, None, Advice::Random).unwrap();
    for part in [10_000, 50_000, 100_000, 150_000, 400_000] {
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        for at in (part..content.len()).step_by(2 * part) {
            let len = part.min(content.len() - at);
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut vec![0; len], at as u64).unwrap();
        }
        assert!(ok(&curl(&[&url])) == content, "{part}");
    }
    assert_eq!(running.stop().outstanding(), 0);
}

#[test]
fn many_small_files_on_one_connection() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("small"), "small").unwrap();
    let (server, running) = serve(dir.path(), |_| {});
    let url = format!("http://{}/small?[1-500]", running.address);
    assert_eq!(ok(&curl(&[&url])), "small".repeat(500).as_bytes());
    let totals = server.stats().totals();
    assert_eq!((totals.connections, totals.requests), (1, 500));
    assert_eq!(running.stop().outstanding(), 0);
}

#[test]
fn interrupted_uploads_leave_nothing() {
    let dir = TempDir::new().unwrap();
    let source = dir.path().join("source");
    std::fs::write(&source, pattern(5_000_000, 2)).unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let (_server, running) = serve(&root, |_| {});
    let url = format!("http://{}/up", running.address);
    let output = curl(&[
        "--limit-rate",
        "2M",
        "--max-time",
        "1",
        "-T",
        source.to_str().unwrap(),
        &url,
    ]);
    assert!(!output.status.success());
    assert_eq!(running.stop().outstanding(), 0);
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}
