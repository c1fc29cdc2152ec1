use super::*;
use std::collections::BTreeSet;

fn plan(text: &str) -> Result<Plan, Error> {
    Source::parse(Path::new("f.toml"), text.to_owned())?.plan()
}

/// What is wrong with `text`, a line each.
fn wrong(text: &str) -> String {
    plan(text).expect_err("an error").to_string()
}

#[test]
fn the_interface_alone_is_enough() {
    let plan = plan("interface = \"eth0\"").unwrap();
    assert_eq!(plan.interface.as_str(), "eth0");
    assert_eq!(
        plan.file,
        File {
            interface: Some("eth0".parse().unwrap()),
            ..File::default()
        }
    );
    assert_eq!(plan.spin, Some(std::time::Duration::from_micros(50)));
    assert_eq!(plan.token_scope, None);
}

#[test]
fn the_defaults_go_together() {
    let file = File {
        interface: "eth0".parse().ok(),
        ..File::default()
    };
    assert!(Plan::new(file).is_ok());
}

#[test]
fn slips_are_shown_with_their_place_and_the_nearest_name() {
    for (text, expected) in [
        (
            "interfce = \"eth0\"",
            "f.toml:1:1: unknown key `interfce`; hint: did you mean `interface`?",
        ),
        (
            "[umem]\n  frame = 9",
            "f.toml:2:3: unknown key `frame`; hint: did you mean `frames`?",
        ),
        (
            "[umem]\nzebra = 9",
            "f.toml:2:1: unknown key `zebra`; hint: keys here: frames, chunk",
        ),
        (
            "attach = \"nativ\"",
            "f.toml:1:10: unknown value `nativ`; hint: did you mean `native`?",
        ),
        (
            "[umem]\nchunk = 3000",
            "f.toml:2:9: invalid value: integer `3000`, expected 2048 or 4096",
        ),
        (
            "vlan = 4095",
            "f.toml:1:8: invalid value: integer `4095`, expected a whole number from 1 to 4094",
        ),
        (
            "queues = [0, -1]",
            "f.toml:1:14: invalid value: integer `-1`, expected a whole number from 0 to 4095",
        ),
        (
            "queues = \"some\"",
            "f.toml:1:10: invalid value: string \"some\", expected \"all\" or a list of queue \
             numbers, such as [0, 1]",
        ),
        (
            "[tcp]\nsend_buffer = \"4QiB\"",
            "f.toml:2:15: invalid value: string \"4QiB\", expected a size from 4KiB to 1GiB, such \
             as \"64KiB\"",
        ),
        (
            "[tcp]\nkeepalive = 5",
            "f.toml:2:13: invalid value: integer `5`, expected \"off\" or a duration with its \
             unit, from \"1s\" to \"24h\"",
        ),
        (
            "fault = \"los=1%\"",
            "f.toml:1:9: link fault `los=1%`: unknown setting; did you mean `loss`?",
        ),
        (
            "[addresses]\nown = [\"192.0.2.0/24\"]",
            "f.toml:2:8: invalid value: string \"192.0.2.0/24\", expected a host's address with \
             its prefix length, such as \"192.0.2.7/24\"",
        ),
    ] {
        assert_eq!(wrong(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_toml_has_its_place_in_one_line() {
    for text in [
        "interface = ",
        "interface = \"eth0\"\ninterface = \"eth1\"",
        "[umem\n",
        "\u{0}",
    ] {
        let error = wrong(text);
        assert!(error.starts_with("f.toml:"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn contradictions_are_shown_at_their_key() {
    for (text, expected) in [
        ("", "f.toml: no interface is named"),
        ("queues = []", "1:1: no queue is listed"),
        ("queues = [1, 0, 1]", "1:1: queue 1 is listed twice"),
        (
            "cores = [2, 2]\nqueues = [0, 1]",
            "1:1: core 2 is listed twice",
        ),
        ("queues = [0]\ncores = [1, 2]", "2:1: 2 cores for 1 queues"),
        (
            "attach = \"generic\"\nbind = \"zero-copy\"",
            "2:1: zero copy needs",
        ),
        (
            "[idle]\nstrategy = \"busy\"\nspin = \"1ms\"",
            "3:1: idle.spin: `spin` has no meaning",
        ),
        (
            "[umem]\nframes = 4000",
            "2:1: umem.frames: 4000 frames cannot fill",
        ),
        (
            "[rings]\nfill = 64\nfill_level = 65",
            "3:1: rings.fill_level: 65 frames do not fit a fill ring of 64",
        ),
        (
            "[rings]\ncompletion = 64",
            "2:1: rings.completion: the completion ring is smaller",
        ),
        (
            "[addresses]\nown = [\"192.0.2.7/24\"]",
            "2:1: addresses.own: `own` has no meaning",
        ),
        (
            "[addresses]\ngateways = [\"192.0.2.1\"]",
            "addresses.gateways: `gateways` has no meaning",
        ),
        (
            "[addresses]\nmode = \"own\"",
            "2:1: addresses.mode: the mode \"own\" needs an address",
        ),
        (
            "[addresses]\nmode = \"own\"\nown = [\"192.0.2.7/24\", \"192.0.2.7/25\"]",
            "192.0.2.7 is listed twice",
        ),
        (
            "[addresses]\nmode = \"own\"\nown = [\"192.0.2.7/24\"]\ngateways = [\"192.0.3.1\"]",
            "4:1: addresses.gateways: 192.0.3.1 is in the network of no address",
        ),
        (
            "[addresses]\nmode = \"own\"\nown = [\"192.0.2.7/24\"]\ngateways = [\"192.0.2.7\"]",
            "192.0.2.7 is an address of our own",
        ),
        (
            "[addresses]\nmode = \"own\"\nown = [\"192.0.2.7/24\"]\n\
             gateways = [\"192.0.2.1\", \"192.0.2.2\"]",
            "there are two IPv4 gateways",
        ),
        (
            "[tcp]\nmin_rto = \"3s\"\nmax_rto = \"2s\"",
            "2:1: tcp.min_rto: `min_rto` (3s) is above",
        ),
        (
            "[tcp]\nmin_rto = \"10ms\"",
            "1:2: tcp.delayed_ack: acks delayed by 40ms",
        ),
        (
            "[tcp]\nwindow_scale = false",
            "2:1: tcp.window_scale: without window scaling",
        ),
        (
            "[tcp]\nkeepalive_probes = 3",
            "2:1: tcp.keepalive_probes: `keepalive_probes` has no",
        ),
        ("[serve]\nports = []", "2:1: serve.ports: no port is listed"),
        (
            "[serve]\nports = [80, 80]",
            "2:1: serve.ports: port 80 is listed twice",
        ),
        (
            "[serve]\ntoken_scope = \"all\"",
            "2:1: serve.token_scope: `token_scope` has no meaning",
        ),
        (
            "[serve]\ntoken_file = \"t\"",
            "2:1: serve.token_file: the token guards writes",
        ),
        (
            "[limits]\nconnections = 5",
            "limits.connections_per_address: 1024 connections",
        ),
    ] {
        // Most name no interface, which is reported beside what is looked for.
        let error = wrong(text);
        assert!(error.contains(expected), "{text}\n{error}");
        assert!(error.contains("hint: "), "{error}");
    }
}

#[test]
fn all_contradictions_are_reported_in_the_order_of_the_file() {
    let error = plan(
        "interface = \"e\"\nattach = \"generic\"\nbind = \"zero-copy\"\n[serve]\nports = []\n",
    )
    .unwrap_err();
    let places: Vec<_> = error.problems().iter().map(|p| p.place).collect();
    assert_eq!(places, [Some((3, 1)), Some((5, 1))]);
}

#[test]
fn queues_are_dealt_to_engines() {
    let engines = |text: &str, nic: u32, cores: &[u32]| {
        plan(&format!("interface = \"e\"\n{text}"))
            .unwrap()
            .engines(nic, cores)
    };
    let one = |queues: &[u32], core| EnginePlan {
        queues: queues.to_vec(),
        core,
    };
    assert_eq!(
        engines("queues = [0]", 4, &[0, 1]).unwrap(),
        [one(&[0], Some(1))]
    );
    assert_eq!(
        engines("", 3, &[0, 1]).unwrap(),
        [one(&[0, 2], Some(1)), one(&[1], Some(0))]
    );
    assert_eq!(
        engines("queues = [0, 2, 3]\ncores = [5, 1]", 4, &[1, 5]).unwrap(),
        [one(&[0, 3], Some(5)), one(&[2], Some(1))]
    );
    assert_eq!(
        engines("cores = \"none\"", 1, &[0]).unwrap(),
        [one(&[0], None)]
    );
    let no_queue = engines("queues = [1]", 1, &[0]).unwrap_err();
    assert_eq!(no_queue.message, "e has no queue 1");
    let no_core = engines("cores = [9]", 1, &[0, 1]).unwrap_err();
    assert_eq!(no_core.hint.as_deref(), Some("it may run on 0, 1"));
}

fn configs() -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/configs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

#[test]
fn every_file_in_configs_is_valid() {
    let paths = configs();
    assert!(paths.len() >= 2, "{paths:?}");
    for path in paths {
        Source::read(&path)
            .and_then(Source::plan)
            .unwrap_or_else(|e| panic!("{e}"));
    }
}

/// The keys of a table, as the parser names them when it meets another.
fn keys_of(table: &str) -> BTreeSet<String> {
    let text = if table.is_empty() {
        "~".into()
    } else {
        format!("[{table}]\n~")
    };
    let error = toml::from_str::<File>(&text.replace('~', "no_such_key = 1")).unwrap_err();
    let names = error
        .message()
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned);
    names.filter(|name| name != "no_such_key").collect()
}

/// The keys in the annotated file by table, whether set or commented out.
fn annotated() -> BTreeSet<(String, String)> {
    let text = include_str!("../../configs/example.toml");
    let mut table = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            name.clone_into(&mut table);
        } else if let Some((key, _)) = line.strip_prefix('#').unwrap_or(line).split_once(" = ")
            && key
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        {
            keys.insert((table.clone(), key.to_owned()));
        }
    }
    keys
}

#[test]
fn the_annotated_file_has_every_key_and_no_other() {
    let mut expected = BTreeSet::new();
    let tables = [
        "umem",
        "rings",
        "idle",
        "addresses",
        "tcp",
        "utp",
        "serve",
        "limits",
        "stats",
    ];
    for key in keys_of("") {
        if !tables.contains(&key.as_str()) {
            expected.insert((String::new(), key));
        }
    }
    for table in tables {
        assert!(keys_of("").contains(table));
        for key in keys_of(table) {
            expected.insert((table.to_owned(), key));
        }
    }
    assert!(expected.len() > 50, "{expected:?}");
    assert_eq!(annotated(), expected);
}

#[test]
fn the_annotated_file_shows_the_defaults() {
    let shown = Source::read(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/configs/example.toml"
    )))
    .unwrap()
    .file;
    assert_eq!(
        shown,
        File {
            interface: shown.interface.clone(),
            ..File::default()
        }
    );
}

#[test]
fn the_commented_keys_of_the_annotated_file_are_valid_as_well() {
    let text = include_str!("../../configs/example.toml");
    let mut uncommented = String::new();
    for line in text.lines() {
        match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && rest.contains(" = ") => {
                uncommented.push_str(rest);
            }
            _ => uncommented.push_str(line),
        }
        uncommented.push('\n');
    }
    assert_ne!(uncommented.trim(), text.trim());
    let error = Source::parse(Path::new("example.toml"), uncommented).err();
    assert_eq!(error, None);
}

#[test]
fn an_unreadable_file_is_named() {
    let error = Source::read(Path::new("/nonexistent/f.toml")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/f.toml: cannot be read: "),
        "{error}"
    );
}
