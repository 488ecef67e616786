//! Queries and forms, read the plain way.

/// Cuts a query or form at every `&`.
pub fn segments(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw.split(|byte| *byte == b'&')
}

/// Joins segments with `&`.
#[must_use]
pub fn join(segments: &[&[u8]]) -> Vec<u8> {
    segments.join(&b'&')
}

/// The decoded name of a segment.
#[must_use]
pub fn name(segment: &[u8]) -> Vec<u8> {
    let end = segment.iter().position(|byte| *byte == b'=');
    decode(&segment[..end.unwrap_or(segment.len())])
}

/// The decoded value of a segment, empty without `=`.
#[must_use]
pub fn value(segment: &[u8]) -> Vec<u8> {
    let start = segment.iter().position(|byte| *byte == b'=');
    decode(&segment[start.map_or(segment.len(), |at| at + 1)..])
}

/// The decoded values of every segment with this name.
#[must_use]
pub fn values(raw: &[u8], wanted: &str) -> Vec<Vec<u8>> {
    segments(raw)
        .filter(|segment| name(segment) == wanted.as_bytes())
        .map(value)
        .collect()
}

/// Decodes as the URL standard's form parser does: `+` is a space, a broken escape is itself.
#[must_use]
pub fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.extend(u8::try_from(high * 16 + low));
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            (byte, ..) => decoded.push(byte),
        }
        at += 1;
    }
    decoded
}
