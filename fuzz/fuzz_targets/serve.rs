#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fullbore_fuzz::serve::run(data));
