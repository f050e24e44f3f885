//! Any bytes as a PNG or JPEG.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = latco_env::Image::from_encoded(bytes);
});
