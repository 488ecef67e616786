//! Content codings of an answer (RFC 9110 §8.4): none was asked for, gzip is understood anyway.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{
    Response,
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING},
};

use super::EgressError;

/// Decodes the body to at most `limit` bytes and removes the headers that described its transport.
pub(super) fn decode(
    mut response: Response<Bytes>,
    limit: usize,
) -> Result<Response<Bytes>, EgressError> {
    let headers = response.headers_mut();
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let gzip = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) => match coding.to_str().map(str::to_ascii_lowercase).as_deref() {
            Ok("gzip" | "x-gzip") => true,
            Ok("identity" | "") => false,
            _ => {
                return Err(EgressError::Encoding {
                    what: "expected `identity` or `gzip`",
                });
            }
        },
        _ => {
            return Err(EgressError::Encoding {
                what: "expected one coding, found several",
            });
        }
    };
    for name in [
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        CONNECTION,
    ] {
        headers.remove(name);
    }
    let body = std::mem::take(response.body_mut());
    // Answers without a body may name a coding all the same (304, HEAD).
    *response.body_mut() = if gzip && !body.is_empty() {
        gunzip(&body, limit)?
    } else if body.len() > limit {
        return Err(EgressError::TooLarge { limit });
    } else {
        body
    };
    Ok(response)
}

fn gunzip(body: &[u8], limit: usize) -> Result<Bytes, EgressError> {
    let mut plain = Vec::with_capacity(body.len().saturating_mul(4).min(limit));
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(body)
        .take(bound)
        .read_to_end(&mut plain)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => EgressError::Truncated,
            _ => EgressError::Encoding {
                what: "the body is not gzip",
            },
        })?;
    if plain.len() > limit {
        return Err(EgressError::TooLarge { limit });
    }
    Ok(plain.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn check(coding: &str, body: Vec<u8>, expect: Result<&[u8], EgressError>) {
        let response = Response::builder()
            .header("content-encoding", coding)
            .header("x-kept", "1")
            .body(body.into())
            .unwrap();
        let found = decode(response, 1000).map(|response| {
            assert!(!response.headers().contains_key("content-encoding"));
            assert!(response.headers().contains_key("x-kept"));
            response.into_body()
        });
        assert_eq!(found.as_deref(), expect.as_deref(), "{coding}");
    }

    #[test]
    fn decodes_gzip_and_nothing_else() {
        let odd = EgressError::Encoding {
            what: "expected `identity` or `gzip`",
        };
        check("gzip", gzip(b"ok"), Ok(b"ok"));
        check("GZIP", gzip(b"ok"), Ok(b"ok"));
        check("identity", b"ok".to_vec(), Ok(b"ok"));
        check("br", b"ok".to_vec(), Err(odd.clone()));
        check("gzip, gzip", gzip(&gzip(b"ok")), Err(odd));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![0; 50_000_000]);
        assert!(bomb.len() < 100_000);
        check("gzip", bomb, Err(EgressError::TooLarge { limit: 1000 }));
        check("gzip", gzip(&[7; 1000]), Ok(&[7; 1000]));
        check(
            "gzip",
            gzip(&[7; 1001]),
            Err(EgressError::TooLarge { limit: 1000 }),
        );
    }

    #[test]
    fn a_damaged_body_is_refused() {
        let not = EgressError::Encoding {
            what: "the body is not gzip",
        };
        check("gzip", b"plain text".to_vec(), Err(not));
        let mut cut = gzip(b"a body of some length");
        cut.truncate(cut.len() - 4);
        check("gzip", cut, Err(EgressError::Truncated));
    }
}
