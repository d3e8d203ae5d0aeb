#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ephyr_fuzz::check(ephyr_properties::policy_yaml(input)));
