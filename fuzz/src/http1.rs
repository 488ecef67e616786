//! HTTP/1.1 requests by the grammar of RFC 9112 alone: what is not in it, is not read.

/// A request head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The request target.
    pub target: &'a [u8],
    /// The digit behind `HTTP/1.`.
    pub minor: u8,
    /// Names and values in their order, without the blanks around values.
    pub fields: Vec<(&'a [u8], &'a [u8])>,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk and its trailers.
    Chunked,
}

/// How far a body could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// To its end, behind so many bytes; with its content.
    Whole(usize, Vec<u8>),
    /// There is more to come.
    Part,
    /// It is not framed.
    Broken,
}

impl<'a> Head<'a> {
    /// Reads a head that ends with the last byte.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut lines = lines(bytes.strip_suffix(b"\r\n")?)?.into_iter();
        let mut words = lines.next()?.split(|byte| *byte == b' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let minor = match version {
            b"HTTP/1.0" => 0,
            b"HTTP/1.1" => 1,
            _ => return None,
        };
        let visible = target.iter().all(u8::is_ascii_graphic) && !target.is_empty();
        if words.next().is_some() || !is_token(method) || !visible {
            return None;
        }
        let fields = lines.map(field).collect::<Option<Vec<_>>>()?;
        Some(Self {
            method,
            target,
            minor,
            fields,
        })
    }

    /// The values of a field, whatever the case of its name.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let same = move |found: &[u8]| found.eq_ignore_ascii_case(name.as_bytes());
        self.fields
            .iter()
            .filter(move |(found, _)| same(found))
            .map(|(_, value)| *value)
    }

    /// Where the body ends; `None` when the head does not say it once and clearly.
    #[must_use]
    pub fn body(&self) -> Option<Body> {
        let lengths: Vec<_> = self.values("content-length").collect();
        let codings: Vec<_> = self.values("transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Some(Body::Length(0)),
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && self.minor == 1 => {
                Some(Body::Chunked)
            }
            ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
                let text = std::str::from_utf8(length).ok()?;
                text.parse().ok().map(Body::Length)
            }
            _ => None,
        }
    }
}

impl Body {
    /// Reads a body from its first byte.
    #[must_use]
    pub fn read(self, bytes: &[u8]) -> Read {
        match self {
            Self::Length(length) => match usize::try_from(length) {
                Ok(length) if length <= bytes.len() => Read::Whole(length, bytes[..length].into()),
                _ => Read::Part,
            },
            Self::Chunked => chunked(bytes),
        }
    }
}

/// Cuts at line ends; `None` when one is missing, or half of one stands alone.
fn lines(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut lines = vec![];
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let line = &rest[..end];
        if line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            return None;
        }
        lines.push(line);
        rest = &rest[end + 2..];
    }
    Some(lines)
}

/// `field-line` of RFC 9112 §5.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let plain = |byte: &u8| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
    let blank = |byte: &u8| matches!(byte, b'\t' | b' ');
    if !is_token(name) || !value.iter().all(plain) {
        return None;
    }
    let start = value.iter().position(|byte| !blank(byte));
    let end = value.iter().rposition(|byte| !blank(byte));
    let value = match (start, end) {
        (Some(start), Some(end)) => &value[start..=end],
        _ => b"",
    };
    Some((name, value))
}

/// `token` of RFC 9110 §5.6.2.
fn is_token(text: &[u8]) -> bool {
    let tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(tchar)
}

/// `chunked-body` of RFC 9112 §7.1.
fn chunked(bytes: &[u8]) -> Read {
    let mut content = vec![];
    let mut at = 0;
    loop {
        let line = match line(&bytes[at..]) {
            Ok(line) => line,
            Err(read) => return read,
        };
        at += line.len() + 2;
        let end = line.iter().position(|byte| *byte == b';');
        let (size, extension) = line.split_at(end.unwrap_or(line.len()));
        let printable = |byte: &u8| matches!(byte, b'\t' | 0x20..=0x7e);
        let hexadecimal = !size.is_empty() && size.iter().all(u8::is_ascii_hexdigit);
        if !hexadecimal || !extension.iter().all(printable) {
            return Read::Broken;
        }
        let digits = std::str::from_utf8(size).unwrap_or_default();
        let Ok(size) = u64::from_str_radix(digits, 16) else {
            return Read::Broken;
        };
        if size == 0 {
            break;
        }
        let Some(data) = usize::try_from(size)
            .ok()
            .and_then(|size| bytes.get(at..at.checked_add(size)?))
        else {
            return Read::Part;
        };
        content.extend_from_slice(data);
        at += data.len();
        match bytes.get(at..) {
            Some([b'\r', b'\n', ..]) => at += 2,
            Some([b'\r'] | []) => return Read::Part,
            _ => return Read::Broken,
        }
    }
    loop {
        match line(&bytes[at..]) {
            Ok([]) => return Read::Whole(at + 2, content),
            Ok(line) if field(line).is_some() => at += line.len() + 2,
            Ok(_) => return Read::Broken,
            Err(read) => return read,
        }
    }
}

/// The next line without its end.
fn line(bytes: &[u8]) -> Result<&[u8], Read> {
    match bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(end) if bytes[end..].starts_with(b"\r\n") => Ok(&bytes[..end]),
        Some(end) if &bytes[end..] == b"\r" => Err(Read::Part),
        Some(_) => Err(Read::Broken),
        None => Err(Read::Part),
    }
}

/// What a server sent on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// How many answers, interim ones apart.
    pub finals: usize,
    /// The content of the first of them, unless it ends with the connection.
    pub first: Option<Vec<u8>>,
    /// What is no whole answer.
    pub rest: &'a [u8],
}

/// Reads answers to requests with these methods.
pub fn answers<'a, 'm>(bytes: &'a [u8], mut methods: impl Iterator<Item = &'m [u8]>) -> Answer<'a> {
    let mut rest = bytes;
    let mut finals = 0;
    let mut first = None;
    let mut method = methods.next();
    while let Some((length, status, content)) = answer(rest, method) {
        rest = &rest[length..];
        if status >= 200 {
            finals += 1;
            if finals == 1 {
                first = content;
            }
            method = methods.next();
        }
    }
    Answer {
        finals,
        first,
        rest,
    }
}

/// The length, status and content of the first answer.
fn answer(bytes: &[u8], method: Option<&[u8]>) -> Option<(usize, u16, Option<Vec<u8>>)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let mut lines = lines(&bytes[..end - 2])?.into_iter();
    let start = lines.next()?.strip_prefix(b"HTTP/1.1 ")?;
    let (code, reason) = start.split_at_checked(3)?;
    let printable = |byte: &u8| matches!(byte, b'\t' | 0x20..=0x7e);
    let spaced = reason.is_empty() || reason.starts_with(b" ");
    if !code.iter().all(u8::is_ascii_digit) || !spaced || !reason.iter().all(printable) {
        return None;
    }
    let status = std::str::from_utf8(code).ok()?.parse().ok()?;
    if !(100..=599).contains(&status) {
        return None;
    }
    let fields = lines.map(field).collect::<Option<Vec<_>>>()?;
    let head = Head {
        method: b"",
        target: b"",
        minor: 1,
        fields,
    };
    let empty = method == Some(b"HEAD") || matches!(status, 100..200 | 204 | 304);
    let said = ["content-length", "transfer-encoding"].map(|name| head.values(name).count());
    // A length that is none is wrong where no body follows, too.
    let framed = head.body().is_some() && (empty || said != [0, 0]);
    let body = if empty { Body::Length(0) } else { head.body()? };
    match body.read(&bytes[end..]) {
        Read::Whole(length, content) => Some((end + length, status, framed.then_some(content))),
        Read::Part | Read::Broken => None,
    }
}
