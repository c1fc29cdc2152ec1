//! Arguments and configurations: no root is needed.

use super::*;

// -- arguments and configurations: no root needed ------------------------------
#[test]
fn wrong_arguments_are_usage_errors_in_one_line() {
    for (args, words) in [
        (&["serv"][..], &["serv", "serve"][..]),
        (&["serve", "--on", "a/b"], &["a/b", "interface name"]),
        (&["serve", "."], &["no interface", "--on"]),
        (&["serve", "--on", "lo"], &["no directory", "serve DIR"]),
        (
            &["serve", ".", "--on", "lo", "--port", "0"],
            &["--port", "1 to 65535"],
        ),
        (
            &["serve", ".", "--on", "lo", "--fault", "los=1%"],
            &["los", "loss"],
        ),
        (
            &["serve", ".", "--on", "lo", "--queues", "x"],
            &["--queues", "0,1"],
        ),
        (
            &[
                "serve",
                ".",
                "--on",
                "lo",
                "--bind",
                "zero-copy",
                "--attach",
                "generic",
            ],
            &["zero copy", "generic", "native"],
        ),
        (&["get", "--on", "lo", "nonsense"], &["nonsense", "http://"]),
        (
            &["get", "--on", "lo", "https://a/b"],
            &["https is not supported"],
        ),
        (&["get", "--on", "lo", "http://a:99999/b"], &["port"]),
        (&["get", "--on", "lo", "http:///b"], &["no host"]),
        (&["get", "--on", "lo", "http://u:p@a/b"], &["token file"]),
        (&["get", "--on", "lo", "http://[::1/b"], &["]"]),
        (
            &["get", "--on", "lo", "http://192.0.2.1/"],
            &["names no file", "-o"],
        ),
        (
            &["get", "--on", "lo", "http://192.0.2.1/f", "-j", "65"],
            &["from 1 to 64"],
        ),
        (
            &[
                "get",
                "--on",
                "lo",
                "http://192.0.2.1/f",
                "-o",
                "-",
                "--stats",
                "json",
            ],
            &["standard output", "--stats line"],
        ),
        (&["put", "--on", "lo", "nonsense"], &["URL"]),
    ] {
        let run = plain(args);
        run.failed(2, words);
        assert!(run.stdout.is_empty(), "{run:?}");
    }
}

#[test]
fn check_names_the_place_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    // A frame may take several chunks.
    let good = write(dir.path(), "good.toml", "interface = \"lo\"\nmtu = 9000\n");
    let run = plain(&["check", &good]).succeeded();
    assert!(
        String::from_utf8_lossy(&run.stdout).contains("valid"),
        "{run:?}"
    );
    for (text, words) in [
        (
            "interface = \"lo\"\nqueus = [0]\n",
            &[":2:1", "`queus`", "did you mean `queues`"][..],
        ),
        (
            "interface = \"lo\"\n[umem]\nchunks = 2048\n",
            &[":3:1", "`chunks`", "`chunk`"],
        ),
        ("interface = \"lo\"\n[tcp]\nmin_rto = \"5\"\n", &[":3:11"]),
        (
            "interface = \"lo\"\nattach = \"nativ\"\n",
            &[":2:10", "nativ", "native"],
        ),
        (
            "interface = \"lo\"\n[addresses]\nown = [\"192.0.2.7/24\"]\n",
            &[":3:", "shared", "own"],
        ),
        (
            "interface = \"lo\"\nbind = \"zero-copy\"\nattach = \"generic\"\n",
            &[":2:", "zero copy", "generic"],
        ),
        (
            "interface = \"lo\"\nmtu = 70000\n",
            &[":2:", "70000", "65535"],
        ),
        ("interface = \n", &[":1:"]),
        ("queues = [0]\n", &["no interface"]),
    ] {
        let bad = write(dir.path(), "bad.toml", text);
        let run = plain(&["check", &bad]);
        run.failed(2, words);
        assert!(run.stderr.contains("bad.toml"), "{run:?}");
    }
    let both = write(
        dir.path(),
        "two.toml",
        "interface = \"lo\"\nmtu = 1\nvlan = 0\n",
    );
    assert_eq!(plain(&["check", &good, &both]).code, Some(2));
    let none = dir.path().join("none.toml");
    plain(&["check", none.to_str().unwrap()]).failed(2, &["none.toml", "cannot be read"]);
}
