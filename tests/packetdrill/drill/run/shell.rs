//! What shell commands of scripts would have set. Nothing is executed.

use std::path::Path;

/// What collections of scripts begin with, in a file that may not be at hand:
/// those settings of it that fullbore may have.
const DEFAULTS: &str = "
sysctl net.ipv4.tcp_rmem='4096 540000 15728640' net.ipv4.tcp_wmem='4096 262144 4194304'
sysctl net.ipv4.tcp_timestamps=1 net.ipv4.tcp_sack=1 net.ipv4.tcp_ecn=0
sysctl net.ipv4.tcp_syn_retries=5 net.ipv4.tcp_synack_retries=5
sysctl net.ipv4.tcp_congestion_control=cubic net.ipv4.tcp_slow_start_after_idle=0
sysctl net.ipv4.tcp_syncookies=1
";

/// A kernel setting, without `net.ipv4.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub name: String,
    pub value: String,
}

/// Commands, one each.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', ';'])
        .flat_map(|line| line.split("&&"))
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The name of a setting, however it is written.
fn name(text: &str) -> Option<String> {
    let text = text
        .trim_matches(['"', '\''])
        .trim_start_matches("/proc/sys/");
    let dotted = text.replace('/', ".");
    let name = dotted.strip_prefix("net.ipv4.")?;
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    (!name.is_empty() && name.chars().all(fine)).then(|| name.to_owned())
}

/// The settings of one command.
fn of_command(command: &str) -> Vec<Setting> {
    let mut found = Vec::new();
    // `echo VALUE > /proc/sys/NAME`
    if let Some((left, right)) = command.split_once('>')
        && let Some(value) = left.trim().strip_prefix("echo ")
        && let Some(name) = name(right.trim_matches(|c: char| c == '>' || c.is_whitespace()))
    {
        found.push(Setting {
            name,
            value: clean(value),
        });
        return found;
    }
    // `sysctl -w NAME=VALUE`, `anything NAME=VALUE NAME="A B C"`.
    let mut rest = command;
    while let Some(at) = rest.find('=') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let word = before.rsplit(char::is_whitespace).find(|w| !w.is_empty());
        let (value, next) = take_value(after);
        // `NAME = VALUE` is written as well.
        let (value, next) = if value.is_empty() {
            take_value(after.trim_start())
        } else {
            (value, next)
        };
        if let Some(name) = word.and_then(name) {
            found.push(Setting {
                name,
                value: clean(value),
            });
        }
        rest = next;
    }
    // `sysctl_set NAME VALUE`.
    if found.is_empty() {
        let words: Vec<_> = command.split_whitespace().collect();
        for pair in words.windows(2) {
            if let Some(name) = name(pair[0])
                && words[0].contains("sysctl")
            {
                found.push(Setting {
                    name,
                    value: clean(pair[1]),
                });
            }
        }
    }
    found
}

fn take_value(text: &str) -> (&str, &str) {
    let quote = text.chars().next().filter(|c| *c == '"' || *c == '\'');
    match quote {
        Some(q) => text[1..].split_once(q).unwrap_or((&text[1..], "")),
        None => {
            let end = text.find(char::is_whitespace).unwrap_or(text.len());
            text.split_at(end)
        }
    }
}

fn clean(value: &str) -> String {
    calculate(value.trim().trim_matches(['"', '\'']))
}

/// Puts the results of `$((2*3))` and `$[2*3]` in their places.
fn calculate(value: &str) -> String {
    for (open, close) in [("$((", "))"), ("$[", "]")] {
        if let Some((before, rest)) = value.split_once(open)
            && let Some((product, after)) = rest.split_once(close)
        {
            let factors = product.split('*').map(|f| f.trim().parse::<u64>());
            if let Ok(factors) = factors.collect::<Result<Vec<_>, _>>() {
                let result: u64 = factors.iter().product();
                return calculate(&format!("{before}{result}{after}"));
            }
        }
    }
    value.to_owned()
}

/// What one command stands for.
enum Meaning {
    Settings(Vec<Setting>),
    Nothing,
}

fn meaning(command: &str, folder: &Path) -> Meaning {
    let file = command.split_whitespace().next().map(Path::new);
    if let Some(file) = file.filter(|f| f.extension().is_some_and(|e| e == "sh")) {
        let text = std::fs::read_to_string(folder.join(file)).ok();
        let usual = file.file_name().is_some_and(|n| n == "defaults.sh");
        return match text.or_else(|| usual.then(|| DEFAULTS.to_owned())) {
            Some(text) => Meaning::Settings(commands(&text).flat_map(of_command).collect()),
            None => Meaning::Nothing,
        };
    }
    match of_command(command) {
        settings if settings.is_empty() => Meaning::Nothing,
        settings => Meaning::Settings(settings),
    }
}

/// What a script's command sets, and how many of its commands set nothing.
/// Shell scripts are looked for in `folder`, where the script is.
pub fn read(text: &str, folder: &Path) -> (Vec<Setting>, usize) {
    let (mut settings, mut others) = (Vec::new(), 0);
    for command in commands(text) {
        match meaning(command, folder) {
            Meaning::Settings(more) => settings.extend(more),
            Meaning::Nothing => others += 1,
        }
    }
    (settings, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Vec<Setting> {
        read(text, Path::new("/nowhere")).0
    }

    fn others(text: &str) -> usize {
        read(text, Path::new("/nowhere")).1
    }

    #[track_caller]
    fn one(text: &str, name: &str, value: &str) {
        let wanted = Setting {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        assert_eq!(settings(text), [wanted], "{text}");
        assert_eq!(others(text), 0);
    }

    #[test]
    fn settings_are_found_however_they_are_written() {
        one("sysctl -q net.ipv4.tcp_ecn=1", "tcp_ecn", "1");
        one("sysctl -w net/ipv4/tcp_sack=0 >/dev/null", "tcp_sack", "0");
        one(
            "sysctl -q -w net.ipv4.tcp_rmem=\"4096 1000 2000\"",
            "tcp_rmem",
            "4096 1000 2000",
        );
        one("echo 1 > /proc/sys/net/ipv4/tcp_ecn", "tcp_ecn", "1");
        one(
            "./set_sysctls.py /proc/sys/net/ipv4/tcp_timestamps=0",
            "tcp_timestamps",
            "0",
        );
        one("sysctl_set net.ipv4.tcp_ecn 2", "tcp_ecn", "2");
        one("sysctl net.ipv4.tcp_ecn = 2", "tcp_ecn", "2");
        let all =
            settings("sysctl -q net.ipv4.tcp_ecn=1 net.ipv4.tcp_sack=0\nx; sysctl net.ipv4.a=b");
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn shell_scripts_are_read_and_not_run() {
        let usual = settings("../common/defaults.sh");
        assert!(usual.iter().any(|s| s.name == "tcp_ecn" && s.value == "0"));
        let folder = tempfile::tempdir().unwrap();
        let text = "#!/bin/bash\n# net.ipv4.tcp_sack=0\nsysctl -q net.ipv4.tcp_rmem=\"1 2 $((15*1024*1024))\"\nfalse\n";
        std::fs::write(folder.path().join("defaults.sh"), text).unwrap();
        let (settings, others) = read("./defaults.sh\nip route", folder.path());
        assert_eq!(settings.len(), 1);
        assert_eq!(settings[0].value, "1 2 15728640");
        assert_eq!(others, 1);
    }

    #[test]
    fn the_rest_is_counted() {
        let text = "../common/other.sh && tc qdisc replace dev tun0 root fq\nsysctl net.ipv4.a=1";
        assert_eq!((others(text), settings(text).len()), (2, 1));
        assert_eq!(others("A=1 ip route show"), 1);
    }
}
