//! The `fullbore` command.

fn main() -> std::process::ExitCode {
    fullbore::cli::main()
}
