use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::io::PIECE;

/// What is read of an answer: status, body, and whether the connection can be used again.
type Read = Result<(u16, String, bool), String>;

fn reader() -> (Reader, DuplexStream) {
    let (backend, gateway) = duplex(1024 * 1024);
    (Reader::new(Box::new(gateway)), backend)
}

async fn read(mut reader: Reader, method: &Method) -> Result<(u16, Vec<u8>, bool), BError> {
    let (head, mut end) = reader.head(method).await?;
    let mut body = vec![];
    while !end {
        let (data, last) = reader.piece().await?;
        assert!(data.len() <= PIECE);
        body.extend(data);
        end = last;
    }
    Ok((head.status.as_u16(), body, reader.reuse().is_some()))
}

/// Sends an answer and, where `closed`, the end of the connection: in one piece, and byte by byte.
async fn answered(method: Method, bytes: &str, closed: bool) -> Read {
    let mut reads = vec![];
    for step in [bytes.len(), 1] {
        let (reader, mut backend) = reader();
        let send = async {
            for piece in bytes.as_bytes().chunks(step) {
                // Who has read enough is gone.
                let _ = backend.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            if closed {
                let _ = backend.shutdown().await;
            }
        };
        let (read, ()) = tokio::join!(biased; read(reader, &method), send);
        reads.push(
            read.map(|(status, body, kept)| (status, String::from_utf8(body).unwrap(), kept))
                .map_err(|error| error.context.unwrap().as_str().to_owned()),
        );
    }
    // Bytes beyond the end may not have come yet.
    let told = |read: &Read| read.clone().map(|(status, body, _)| (status, body));
    assert_eq!(told(&reads[0]), told(&reads[1]), "{bytes}");
    reads.remove(0)
}

async fn check(bytes: &str, expect: Result<(u16, &str, bool), &str>) {
    let expect = expect
        .map(|(status, body, kept)| (status, body.to_owned(), kept))
        .map_err(str::to_owned);
    let read = answered(Method::GET, bytes, false).await;
    assert_eq!(read, expect, "{bytes}");
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn reads_what_has_a_length() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    check(answer, Ok((200, "hello", true))).await;
    check(&format!("{answer}more"), Ok((200, "hello", false))).await;
    check(
        "HTTP/1.1 404 \r\ncontent-length : 0\r\n\r\n",
        Ok((404, "", true)),
    )
    .await;
}

#[tokio::test]
async fn reads_chunks_and_drops_what_frames_them() {
    let twice = "5\r\nhello\r\n6;x=y\r\n again\r\n0\r\n";
    check(
        &format!("{CHUNKED}{twice}\r\n"),
        Ok((200, "hello again", true)),
    )
    .await;
    check(
        &format!("{CHUNKED}{twice}A: b\r\n\r\n"),
        Ok((200, "hello again", true)),
    )
    .await;
    check(&format!("{CHUNKED}0\r\n\r\nHTTP/1.1"), Ok((200, "", false))).await;
}

#[tokio::test]
async fn a_malformed_chunk_is_no_end() {
    let framing = "the chunks of the body are not framed as RFC 9112 says";
    check(&format!("{CHUNKED}5\r\nhelloX\r\n"), Err(framing)).await;
    check(&format!("{CHUNKED}5\nhello"), Err(framing)).await;
    check(
        &format!("{CHUNKED}\r\n\r\n"),
        Err("a chunk of the body has no size"),
    )
    .await;
}

#[tokio::test]
async fn the_end_comes_with_the_last_data() {
    let (mut reader, mut backend) = reader();
    let answer = format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n");
    backend.write_all(answer.as_bytes()).await.unwrap();
    assert!(!reader.head(&Method::POST).await.unwrap().1);
    let (data, end) = reader.piece().await.unwrap();
    assert_eq!((&data[..], end), (&b"hello"[..], true));
}

#[tokio::test]
async fn what_has_no_end_of_its_own_ends_with_the_connection() {
    let answer = "HTTP/1.1 200 OK\r\n\r\nhello";
    let read = answered(Method::GET, answer, true).await;
    assert_eq!(read, Ok((200, "hello".to_owned(), false)));
    let early = Err("the backend closed the connection before the end of its answer".to_owned());
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        assert_eq!(answered(Method::GET, cut, true).await, early, "{cut}");
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let read = answered(Method::HEAD, length, false).await;
    assert_eq!(read, Ok((200, String::new(), true)));
    let read = answered(Method::HEAD, CHUNKED, false).await;
    assert_eq!(read, Ok((200, String::new(), true)));
    check("HTTP/1.1 204 No Content\r\n\r\n", Ok((204, "", true))).await;
    check(
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        Ok((304, "", true)),
    )
    .await;
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    check(&format!("{hints}{hints}{last}"), Ok((200, "{}", true))).await;
    check(
        &hints.repeat(INTERIM_LIMIT + 1),
        Err("the backend only sends interim answers"),
    )
    .await;
    check(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        Err("nobody asked the backend to switch protocols"),
    )
    .await;
}

#[tokio::test]
async fn two_framings_are_one_or_none() {
    let with = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}");
    let lengths = Err("the answer has no single length");
    let codings = Err("the answer is not coded in chunks alone");
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    for (fields, body, expect) in [
        ("Content-Length: 2, 2", "{}", Ok((200, "{}", true))),
        (
            "Content-Length: 2\r\nContent-Length: 2",
            "{}",
            Ok((200, "{}", true)),
        ),
        ("Content-Length: 2\r\nContent-Length: 3", "{}", lengths),
        ("Content-Length: 2, 3", "{}", lengths),
        ("Content-Length: ", "{}", lengths),
        ("Content-Length: +2", "{}", lengths),
        ("Content-Length: 2x", "{}", lengths),
        ("Content-Length: 99999999999999999999", "{}", lengths),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            chunks,
            Ok((200, "{}", false)),
        ),
        ("Transfer-Encoding: gzip, chunked", chunks, codings),
        ("Transfer-Encoding: identity", chunks, codings),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            chunks,
            codings,
        ),
    ] {
        check(&with(fields, body), expect).await;
    }
}

#[tokio::test]
async fn one_length_is_left_of_many() {
    let (mut reader, mut backend) = reader();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\ncontent-length: 2\r\n\r\n{}";
    backend.write_all(answer.as_bytes()).await.unwrap();
    let (head, _) = reader.head(&Method::GET).await.unwrap();
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    assert_eq!(lengths.next(), Some(&HeaderValue::from(2)));
    assert_eq!(lengths.next(), None);
}

#[tokio::test]
async fn the_head_says_whether_the_connection_stays() {
    let with = |version: &str, fields: &str| {
        format!("HTTP/{version} 200 OK\r\nContent-Length: 2\r\n{fields}\r\n{{}}")
    };
    for (version, fields, kept) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, Close\r\n", false),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        ),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
    ] {
        check(&with(version, fields), Ok((200, "{}", kept))).await;
    }
    let old =
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    check(old, Ok((200, "", false))).await;
}

#[tokio::test]
async fn what_is_no_head_is_refused() {
    for bytes in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n",
        "\r\n\r\n",
    ] {
        assert!(
            answered(Method::GET, bytes, false).await.is_err(),
            "{bytes}"
        );
    }
    let long = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(HEAD_LIMIT));
    let (reader, mut backend) = reader();
    backend.write_all(long.as_bytes()).await.unwrap();
    assert!(read(reader, &Method::GET).await.is_err());
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a:b\r\n".repeat(300));
    check(&many, Err("the head of the answer")).await;
}

#[tokio::test]
async fn no_answer_is_told_apart_from_half_of_one() {
    let (reader, backend) = reader();
    drop(backend);
    let error = read(reader, &Method::GET).await.unwrap_err();
    assert_eq!(*error.etype(), ErrorType::ConnectionClosed);
}

#[tokio::test]
async fn a_head_does_not_keep_what_came_with_it() {
    let (mut reader, mut backend) = reader();
    let body = "a".repeat(PIECE - 100);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    backend.write_all(answer.as_bytes()).await.unwrap();
    let (head, _) = reader.head(&Method::GET).await.unwrap();
    let (data, end) = reader.piece().await.unwrap();
    assert!(end && data.len() == body.len());
    assert!(data.is_unique(), "the head shares nothing with the body");
    drop(head);
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), chunked: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (reader, mut backend) = reader();
            if chunked {
                backend.write_all(CHUNKED.as_bytes()).await.unwrap();
            }
            backend.write_all(&bytes).await.unwrap();
            drop(backend);
            let _ = read(reader, &Method::GET).await;
        });
    }
}
