//! What stands in the shared memory: whatever the other side has written there, reading it does no harm.
#![no_main]

use exchange::{Head, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut encoded = Vec::new();
    if let Ok(request) = Request::decode(bytes) {
        assert!(request.fields.iter().count() <= bytes.len());
        request.encode(&mut encoded);
        assert_eq!(Request::decode(&encoded), Ok(request));
    }
    encoded.clear();
    if let Ok(head) = Head::decode(bytes) {
        assert!(head.headers.iter().count() <= bytes.len());
        head.encode(&mut encoded);
        assert_eq!(encoded.len(), head.encoded_len());
        assert_eq!(Head::decode(&encoded), Ok(head));
    }
});
