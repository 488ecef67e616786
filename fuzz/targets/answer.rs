//! Arbitrary bytes as the answer of an upstream, beside a reader by the letter of RFC 9112.
//!
//! The first byte says how the rest comes: in one piece or in small ones, to a GET or to a HEAD. How it
//! comes must not matter, and what has one reading must be read so.
#![no_main]

use std::sync::LazyLock;

use http::Method;
use libfuzzer_sys::fuzz_target;
use mcp_gateway::proxy::fuzzing::{Answer, answer};
use mcp_gateway_fuzz::http1::answers;
use tokio::{
    io::{AsyncWriteExt, duplex},
    runtime::{Builder, Runtime},
    task::yield_now,
};

/// Answers below it meet no limit.
const UNLIMITED: usize = 1024;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
});

fuzz_target!(|data: &[u8]| {
    let Some((how, bytes)) = data.split_first() else {
        return;
    };
    let method = if how & 1 == 0 {
        Method::GET
    } else {
        Method::HEAD
    };
    let whole = read(bytes, bytes.len().max(1), &method);
    let pieces = read(bytes, usize::from(how >> 1) + 1, &method);
    // Bytes behind the end may not have come yet when the connection is judged.
    let told = |answer: &Option<Answer>| answer.clone().map(|answer| (answer.status, answer.body));
    assert_eq!(told(&whole), told(&pieces), "in one piece, and in many");
    let letter = answers(bytes, [method.as_str().as_bytes()].into_iter());
    let Some(content) = letter.first else { return };
    match whole {
        Some(answer) => assert_eq!(answer.body, content),
        None => assert!(
            bytes.len() >= UNLIMITED || bytes.windows(5).any(|five| five == b" 101 "),
            "refused an answer that has one reading"
        ),
    }
});

/// Reads an answer that comes in pieces of this size, and then the end of the connection.
fn read(bytes: &[u8], size: usize, method: &Method) -> Option<Answer> {
    let (mut backend, gateway) = duplex(bytes.len().max(1));
    RUNTIME.block_on(async {
        let send = async {
            for piece in bytes.chunks(size) {
                // Who has read enough is gone.
                let _ = backend.write_all(piece).await;
                yield_now().await;
            }
            let _ = backend.shutdown().await;
        };
        tokio::join!(answer(Box::new(gateway), method), send).0
    })
}
