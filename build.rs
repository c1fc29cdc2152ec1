//! Compiles the steering program with clang.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

const SOURCE: &str = "src/xdp/bpf/steer.bpf.c";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rerun-if-env-changed=PATH");

    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let object = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("steer.bpf.o");
    let output = Command::new(&clang)
        .args([
            "-target", "bpf", "-mcpu=v2", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-c", SOURCE,
            "-o",
        ])
        .arg(&object)
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) => fail(&format!(
            "{clang} could not compile {SOURCE} for the bpf target ({}):\n{}\
             A clang with the bpf target is needed, as in Debian's package `clang` \
             (apt-get install clang); another one can be named in the environment \
             variable CLANG.",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => fail(&format!(
            "cannot run {clang}, which compiles the steering program {SOURCE}: {error}. \
             Install Debian's package `clang` (apt-get install clang), or name another \
             clang in the environment variable CLANG.",
        )),
    }
}

fn fail(message: &str) -> ! {
    eprintln!("{message}");
    exit(1);
}
