//! HTTP/2 as no client library would send it.

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What a client begins with (RFC 9113 §3.4).
pub(crate) fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of a request for a path (RFC 7541): indexed where that is possible, the path and
/// the authority as literals without indexing.
pub(crate) fn request(method: Method, path: &str) -> Vec<u8> {
    // `:scheme: https` is 7.
    let mut block = vec![0x80 | method as u8, 0x87];
    for (index, text) in [(4, path), (1, "a.test")] {
        block.extend([index, u8::try_from(text.len()).unwrap()]);
        block.extend(text.bytes());
    }
    block
}

/// The indices of the static table (RFC 7541 appendix A).
#[derive(Clone, Copy)]
pub(crate) enum Method {
    Get = 2,
    Post = 3,
}

/// A block of few bytes that decodes to 12,000 fields of 4,000 bytes: one is put into the table,
/// the others point to it.
pub(crate) fn bomb() -> Vec<u8> {
    // The newest entry of the dynamic table (RFC 7541 §2.3.3).
    const NEWEST: u8 = 0x3e;
    let mut block = request(Method::Get, "/");
    block.extend([0x40, 1, b'a', 0x7f, 0xa1, 0x1e]);
    block.extend([b'b'; 4000]);
    block.extend(vec![0x80 | NEWEST; 12_000]);
    block
}
