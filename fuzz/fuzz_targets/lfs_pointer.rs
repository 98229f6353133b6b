#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pushsync::fuzzing::run("lfs_pointer", data));
