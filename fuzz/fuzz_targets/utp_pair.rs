#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fullbore_fuzz::utp_pair::run(data));
