//! A uTP peer over `librqbit-utp`, for tests and comparisons: see
//! `fullbore_bench::utp_peer`.

use std::process::ExitCode;

fn main() -> ExitCode {
    fullbore_bench::utp_peer::main()
}
