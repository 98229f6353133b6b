#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pushsync::fuzzing::run("tree_name", data));
