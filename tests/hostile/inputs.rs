//! Requests that are wrong, each in its own way.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;

use crate::http2::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Method, PING, RST_STREAM, SETTINGS,
    frame,
};

/// What is sent is about as long as the longest head.
pub(crate) const LONGEST: usize = 64 * 1024;
const JSON: &str = "application/json";

fn post(path: &str, kind: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(crate) fn get(target: &str, fields: &str) -> Vec<u8> {
    let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n");
    head.into_bytes()
}

/// Inputs by what is wrong with them, each one request.
pub(crate) fn http1(token: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut inputs = heads();
    inputs.extend(bodies());
    inputs.extend(callers(token));
    inputs
}

fn heads() -> Vec<(&'static str, Vec<u8>)> {
    let full = |bytes: &[u8]| bytes.repeat(LONGEST / bytes.len());
    let started = |bytes: &[u8]| [b"GET / HTTP/1.1\r\nHost: a\r\n", &full(bytes)[..]].concat();
    vec![
        ("nothing but zeros", full(b"\0")),
        ("nothing but letters", full(b"a")),
        ("nothing but line ends", full(b"\r\n")),
        ("nothing but line feeds", full(b"\n")),
        ("nothing but returns", full(b"\r")),
        (
            "a TLS hello",
            [b"\x16\x03\x01\x02\x00\x01", &full(b"a")[..]].concat(),
        ),
        ("an HTTP/2 preface", http2::preface()),
        ("an endless field", started(b"a")),
        ("endless fields", started(b"a: b\r\n")),
        ("endless folds", started(b"\r\n ")),
        ("almost ends", started(b"\r\n\r")),
        (
            "fields that are long",
            get("/", &format!("a: {}\r\n", "b".repeat(16_000)).repeat(3)),
        ),
        ("fields that are many", get("/", &"a: b\r\n".repeat(97))),
        (
            "lists of connection options",
            get("/", &format!("Connection: {}\r\n", "a,".repeat(8000))),
        ),
        (
            "addresses of proxies",
            get(
                "/",
                &format!("X-Forwarded-For: {}\r\n", "1.1.1.1,".repeat(2000)),
            ),
        ),
        ("a long path", get(&"/a".repeat(4000), "")),
        ("a path of dots", get(&"/..".repeat(2600), "")),
        (
            "an encoded path",
            get(&format!("/{}", "%41".repeat(2600)), ""),
        ),
    ]
}

fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    const FORM: &str = "application/x-www-form-urlencoded";
    let chunks = |piece: &str| {
        let head =
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        format!("{head}{}0\r\n\r\n", piece.repeat(50_000 / piece.len())).into_bytes()
    };
    vec![
        (
            "a query of pairs",
            get(&format!("/oauth2/authorize?{}", "a&".repeat(4000)), ""),
        ),
        (
            "a query of escapes",
            get(&format!("/oauth2/authorize?a={}", "%25".repeat(2600)), ""),
        ),
        (
            "a form of pairs",
            post("/oauth2/token", FORM, "", &b"a&".repeat(30_000)),
        ),
        (
            "a form of escapes",
            post("/oauth2/token", FORM, "", &b"%41".repeat(20_000)),
        ),
        (
            "a form to authorize",
            post("/oauth2/authorize", FORM, "", &b"a=%20&".repeat(10_000)),
        ),
        (
            "deep JSON to register",
            post("/register", JSON, "", &b"[".repeat(16_000)),
        ),
        ("long JSON to register", {
            let uris = vec!["\"http://127.0.0.1/a\""; 700].join(",");
            let body = format!("{{\"redirect_uris\":[{uris}]}}");
            post("/register", JSON, "", body.as_bytes())
        }),
        ("JSON of escapes to register", {
            let body = format!("{{\"client_name\":\"{}\"}}", "\\u0041".repeat(2600));
            post("/register", JSON, "", body.as_bytes())
        }),
        ("chunks of one byte", chunks("1\r\na\r\n")),
        ("chunks with extensions", chunks("1;a=b\r\na\r\n")),
    ]
}

/// Tokens of anybody, and what somebody with a good one may send.
fn callers(token: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let segment = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let deep = b"{\"a\":".repeat(2000);
    let (header, rest) = token.split_once('.').unwrap();
    let signed = bearer(token);
    let rpc = |body: &[u8]| post("/mcp", JSON, &signed, body);
    vec![
        (
            "a token of letters",
            get("/mcp", &bearer(&"a".repeat(15_000))),
        ),
        ("a token of dots", get("/mcp", &bearer(&".".repeat(15_000)))),
        (
            "a token with a deep header",
            get("/mcp", &bearer(&format!("{}.a.a", segment(&deep)))),
        ),
        (
            "a token with another key",
            get(
                "/mcp",
                &bearer(&format!(
                    "{}.{rest}",
                    segment(b"{\"alg\":\"RS256\",\"kid\":\"nobody\"}")
                )),
            ),
        ),
        (
            "a token with another signature",
            get("/mcp", &bearer(&format!("{}A", &token[..token.len() - 1]))),
        ),
        (
            "a token with a long claim",
            get(
                "/mcp",
                &bearer(&format!(
                    "{header}.{}.{}",
                    segment(&[b'['; 10_000]),
                    segment(&[1; 256])
                )),
            ),
        ),
        ("a message that is deep", rpc(&b"[".repeat(60_000))),
        (
            "a message of objects",
            rpc(&[&b"{\"a\":".repeat(9000)[..], b"1", &b"}".repeat(9000)[..]].concat()),
        ),
        ("a message of members", {
            let members: Vec<String> = (0..4000).map(|n| format!("\"{n}\":{n}")).collect();
            rpc(format!("{{{}}}", members.join(",")).as_bytes())
        }),
        (
            "a message with a long number",
            rpc(format!("{{\"id\":{}}}", "9".repeat(60_000)).as_bytes()),
        ),
        ("a session id of anybody", {
            let more = format!("{signed}Mcp-Session-Id: {}\r\n", "a".repeat(1000));
            post("/mcp", JSON, &more, b"{\"method\":\"ping\",\"id\":1}")
        }),
    ]
}

/// The same over HTTP/2.
pub(crate) fn http2() -> Vec<(&'static str, Vec<u8>)> {
    let get = http2::request(Method::Get, "/");
    let with = |frames: Vec<u8>| [http2::preface(), frames].concat();
    let full = |frame: Vec<u8>| with(frame.repeat(LONGEST / frame.len()));
    vec![
        (
            "a bomb",
            with(frame(HEADERS, END_HEADERS | END_STREAM, 1, &http2::bomb())),
        ),
        ("a block in pieces", {
            let mut frames = frame(HEADERS, END_STREAM, 1, &get);
            frames.extend(frame(CONTINUATION, 0, 1, b"").repeat(7000));
            with(frames)
        }),
        ("settings", full(frame(SETTINGS, 0, 0, &[]))),
        (
            "settings that change",
            full(frame(
                SETTINGS,
                0,
                0,
                &[0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 16, 0],
            )),
        ),
        ("pings", full(frame(PING, 0, 0, &[0; 8]))),
        ("priorities", full(frame(2, 0, 1, &[0, 0, 0, 0, 1]))),
        ("window updates", full(frame(8, 0, 0, &[0, 0, 0, 1]))),
        ("frames of unknown kinds", full(frame(99, 0, 0, &[]))),
        ("resets", {
            let mut frames = vec![];
            for stream in (1..2000).step_by(2) {
                frames.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &get));
                frames.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            }
            with(frames)
        }),
        ("empty data", {
            let mut frames = frame(HEADERS, END_HEADERS, 1, &http2::request(Method::Post, "/"));
            frames.extend(frame(DATA, 0, 1, &[]).repeat(7000));
            with(frames)
        }),
        ("zeros", full(vec![0; 9])),
    ]
}

/// Bytes that nobody thought of: noise, and requests with noise in them.
pub(crate) fn arbitrary() -> impl Strategy<Value = Vec<u8>> {
    let noise = || prop::collection::vec(any::<u8>(), 0..8192);
    let piece = prop_oneof![
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"POST /mcp HTTP/1.1\r\n".to_vec()),
        Just(b"Host: a\r\n".to_vec()),
        Just(b"Content-Length: 9\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Authorization: Bearer a.b.c\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"5\r\nhello\r\n0\r\n\r\n".to_vec()),
        Just(http2::preface()),
        prop::collection::vec(any::<u8>(), 0..64),
    ];
    let pieces = prop::collection::vec(piece, 1..40);
    let cut = (0_u8..9, any::<prop::sample::Index>(), any::<u8>());
    prop_oneof![
        noise(),
        (pieces, cut).prop_map(|(pieces, (at, index, byte))| {
            let mut bytes = pieces.concat();
            if at > 0 && !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            bytes
        }),
    ]
}
