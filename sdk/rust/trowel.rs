//! Plugins for Trowel in Rust, in one file, with nothing but the standard library.
//!
//! Put this file beside yours, and serve a type that implements [`Plugin`]:
//!
//! ```ignore
//! mod trowel;
//! struct Hello;
//! impl trowel::Plugin for Hello { … }
//! trowel::serve!(Hello, "hello", "0.1.0", "instruction");
//! ```
//!
//! It is compiled by `trowel plugin build`, or by hand:
//!
//! ```text
//! rustc --edition 2021 --target wasm32-unknown-unknown --crate-type cdylib -C opt-level=s -C panic=abort plugin.rs
//! ```
//!
//! Requests and answers are [`Value`]s, which are JSON. One instance answers one call at a time.
#![allow(dead_code)]

use std::cell::RefCell;
use std::fmt::Write;

/// What a plugin does. A plugin has the operations of its kind; the others stay as they are.
pub trait Plugin: Sized {
    /// Makes the plugin, with the table `[plugins.NAME.config]`. Called once, first.
    fn new(config: &Value) -> Result<Self, Error>;
    /// The instructions that an instruction handler has, as a list.
    fn describe(&self) -> Result<Value, Error> {
        Err(Error::unsupported())
    }
    /// What one use of an instruction does.
    fn plan(&self, _call: &Value) -> Result<Value, Error> {
        Err(Error::unsupported())
    }
    /// The credential for a registry, or an error of the code "not_mine".
    fn credential(&self, _request: &Value) -> Result<Value, Error> {
        Err(Error::unsupported())
    }
    /// The request that reaches an object of a cache by "GET", "HEAD" or "PUT": its "url" and, if it likes, its "header".
    fn object(&self, _method: &str, _name: &str) -> Result<Value, Error> {
        Err(Error::unsupported())
    }
    /// An operation of a cache. [`objects`] makes them all of what `object` says.
    fn cache(&self, op: u32, request: &Value) -> Result<Value, Error> {
        objects(op, request, &|method, name| self.object(method, name))
    }
    /// What a cache has beyond the look-ups: "upload-planner" or "blob-writer".
    const FEATURES: &'static [&'static str] = &["upload-planner"];
}

/// An error with a code: "invalid", "not_mine", "unavailable" and so on, see package sdk.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    pub code: String,
    pub message: String,
}

impl Error {
    pub fn new(code: &str, message: impl Into<String>) -> Error {
        Error { code: code.to_string(), message: message.into() }
    }
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new("invalid", message)
    }
    pub fn not_mine() -> Error {
        Error::new("not_mine", "not mine")
    }
    pub fn not_found() -> Error {
        Error::new("not_found", "not found")
    }
    fn unsupported() -> Error {
        Error::new("unsupported", "the plugin does not have this operation")
    }
}

/// JSON. Objects keep their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

static NULL: Value = Value::Null;

impl Value {
    /// The field of an object; null if there is none.
    pub fn get(&self, key: &str) -> &Value {
        match self {
            Value::Object(fields) => fields.iter().find(|(k, _)| k == key).map_or(&NULL, |(_, v)| v),
            _ => &NULL,
        }
    }
    /// The text of a string; "" of anything else.
    pub fn text(&self) -> &str {
        match self {
            Value::Text(s) => s,
            _ => "",
        }
    }
    /// The elements of a list; none of anything else.
    pub fn list(&self) -> &[Value] {
        match self {
            Value::List(v) => v,
            _ => &[],
        }
    }
    pub fn number(&self) -> f64 {
        match self {
            Value::Number(n) => *n,
            _ => 0.0,
        }
    }
    pub fn is_true(&self) -> bool {
        *self == Value::Bool(true)
    }
    /// The last value of a flag of an instruction's call, or "".
    pub fn flag(&self, name: &str) -> &str {
        self.get("flags").list().iter().rev().find(|f| f.get("name").text() == name).map_or("", |f| f.get("value").text())
    }
    /// Bytes as the contract wants them, in base64: the content of a file, say.
    pub fn bytes(bytes: &[u8]) -> Value {
        Value::Text(base64(bytes))
    }
    /// The bytes of a base64 string.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        unbase64(self.text()).ok_or_else(|| Error::new("internal", "not base64"))
    }
    /// JSON text.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        encode(self, &mut out);
        out
    }
    /// Reads JSON text.
    pub fn decode(text: &str) -> Result<Value, Error> {
        let mut r = Reader { text: text.as_bytes(), at: 0 };
        let value = r.value(0);
        r.space();
        match value {
            Some(v) if r.at == r.text.len() => Ok(v),
            _ => Err(Error::invalid(format!("no JSON at byte {}", r.at))),
        }
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Value {
        Value::Text(s.to_string())
    }
}
impl From<String> for Value {
    fn from(s: String) -> Value {
        Value::Text(s)
    }
}
impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Bool(b)
    }
}
impl From<i64> for Value {
    fn from(n: i64) -> Value {
        Value::Number(n as f64)
    }
}
impl From<i32> for Value {
    fn from(n: i32) -> Value {
        Value::Number(n as f64)
    }
}
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Value {
        Value::List(list.into_iter().map(Into::into).collect())
    }
}

/// Makes an object: `object! { "path" => "/hello", "mode" => "0600" }`.
#[macro_export]
macro_rules! object {
    ($($key:expr => $value:expr),* $(,)?) => {
        $crate::trowel::Value::Object(vec![$(($key.to_string(), $crate::trowel::Value::from($value))),*])
    };
}

/// Serves a plugin: the type, its name, its version and its kinds.
#[macro_export]
macro_rules! serve {
    ($plugin:ty, $name:expr, $version:expr, $($kind:expr),+) => {
        thread_local! {
            static SERVED: std::cell::RefCell<Option<$plugin>> = std::cell::RefCell::new(None);
        }
        /// Says by its name which major version of the interface this is.
        #[no_mangle]
        pub extern "C" fn trowel_abi_1() {}
        /// Answers an operation.
        #[no_mangle]
        pub extern "C" fn trowel_call(op: u32, length: u32) -> i32 {
            SERVED.with(|served| $crate::trowel::answer(served, op, length, $name, $version, &[$($kind),+]))
        }
    };
}

/// Operations of the host, for [`host`].
pub const HTTP: u32 = 1;
pub const SIGN: u32 = 2;
pub const ENV: u32 = 3;
pub const READ_FILE: u32 = 4;
pub const STAT: u32 = 5;
pub const READ_DIR: u32 = 6;

/// Operations of caches.
pub const GET_RECORDS: u32 = 10;
pub const PUT_RECORDS: u32 = 11;
pub const STAT_BLOBS: u32 = 12;
pub const GET_BLOB: u32 = 13;
pub const PUT_BLOB: u32 = 14;
pub const PLAN_PUT: u32 = 15;
pub const FINISH_PUT: u32 = 16;

/// Performs an operation of the host.
pub fn host(op: u32, request: &Value) -> Result<Value, Error> {
    let request = request.encode();
    let n = unsafe { imports::host(op, request.as_ptr(), request.len() as u32) };
    if n < 0 {
        return Err(Error::new("internal", format!("the host refused the request: errno {}", -n)));
    }
    let mut reply = vec![0u8; n as usize];
    unsafe { imports::reply(reply.as_mut_ptr(), 0, n as u32) };
    let envelope = String::from_utf8(reply).map_err(|_| Error::new("internal", "the host's answer is no UTF-8"))?;
    let envelope = Value::decode(&envelope)?;
    check(envelope.get("error"))?;
    Ok(envelope.get("ok").clone())
}

fn check(error: &Value) -> Result<(), Error> {
    match error {
        Value::Null => Ok(()),
        e => Err(Error::new(e.get("code").text(), e.get("message").text())),
    }
}

/// Reads a file of "context" or "stage".
pub fn read_file(root: &str, name: &str) -> Result<Vec<u8>, Error> {
    host(READ_FILE, &object! { "root" => root, "name" => name })?.get("content").to_bytes()
}

/// An environment variable; "" if it is not set. One that was not granted is an error.
pub fn env(name: &str) -> Result<String, Error> {
    let answer = host(ENV, &object! { "names" => vec![name] })?;
    Ok(answer.get("variables").list().first().map_or(String::new(), |v| v.get("value").text().to_string()))
}

/// Makes a GET request and returns the response: "status", "header", "body".
pub fn get(url: &str) -> Result<Value, Error> {
    let request = object! { "requests" => vec![object! { "method" => "GET", "url" => url }] };
    let answer = host(HTTP, &request)?;
    let response = answer.get("responses").list().first().cloned().unwrap_or(Value::Null);
    check(response.get("error"))?;
    Ok(response)
}

/// The request that reaches an object of a cache: see [`Plugin::object`].
type Reach<'a> = &'a dyn Fn(&str, &str) -> Result<Value, Error>;

/// Performs an operation of a cache in which each record and each blob is an object of its own. Package sdk/objects does the
/// same for Go, with the same names of objects, and with retries.
pub fn objects(op: u32, request: &Value, reach: Reach) -> Result<Value, Error> {
    match op {
        GET_RECORDS => get_records(request.get("keys").list(), reach),
        PUT_RECORDS => put_records(request.get("records").list(), reach),
        STAT_BLOBS => {
            let blobs = stat_blobs(request.get("digests").list(), reach)?;
            let blobs = blobs.into_iter().map(|(digest, size)| object! { "digest" => digest, "size" => size });
            Ok(object! { "blobs" => blobs.collect::<Vec<_>>() })
        }
        GET_BLOB => {
            let digest = request.get("digest");
            let name = blob_name(digest.text())?;
            if stat_blobs(std::slice::from_ref(digest), reach)?.is_empty() {
                return Err(Error::not_found());
            }
            Ok(object! { "transfer" => transfer("GET", &name, reach)? })
        }
        PLAN_PUT => plan_put(request.get("blob"), reach),
        FINISH_PUT => Ok(object! {}), // the server shows an object when it has all of it
        _ => Err(Error::unsupported()),
    }
}

const MAX_RECORD: usize = 1 << 20;

fn get_records(keys: &[Value], reach: Reach) -> Result<Value, Error> {
    let asked: Vec<_> = keys.iter().filter_map(|k| Some((k.text(), record_name(k.text()).ok()?))).collect();
    let answers = ask("GET", asked.iter().map(|(_, name)| (name.clone(), None)).collect(), reach)?;
    let mut records = Vec::new();
    for ((key, _), answer) in asked.into_iter().zip(answers) {
        if answer.get("error").get("code").text() == "limit" {
            log(Level::Warning, &format!("record {key} is larger than a record can be, and not believed"));
        } else if is_there(key, &answer)? {
            records.push(object! { "key" => key, "value" => answer.get("body").text() });
        }
    }
    Ok(object! { "records" => records })
}

fn put_records(records: &[Value], reach: Reach) -> Result<Value, Error> {
    let mut last = std::collections::BTreeMap::new(); // of two under one key the later counts: requests have no order
    for record in records {
        let (name, value) = (record_name(record.get("key").text())?, record.get("value").text());
        if value.len() / 4 * 3 - value.bytes().rev().take_while(|c| *c == b'=').count() > MAX_RECORD {
            return Err(Error::new("limit", format!("put {name}: a record has 1 MiB at most")));
        }
        last.insert(name, value);
    }
    let requests = last.iter().map(|(name, value)| (name.clone(), Some(*value))).collect();
    for (name, answer) in last.keys().zip(ask("PUT", requests, reach)?) {
        if !is_there(name, &answer)? {
            return Err(Error::invalid(format!("put {name}: the server has no place for it: is the address right?")));
        }
    }
    Ok(object! {})
}

fn stat_blobs(digests: &[Value], reach: Reach) -> Result<Vec<(String, i64)>, Error> {
    let asked: Vec<_> = digests.iter().filter_map(|d| Some((d.text(), blob_name(d.text()).ok()?))).collect();
    let answers = ask("HEAD", asked.iter().map(|(_, name)| (name.clone(), None)).collect(), reach)?;
    let mut blobs = Vec::new();
    for ((digest, _), answer) in asked.into_iter().zip(answers) {
        if is_there(digest, &answer)? {
            let length = answer.get("header").list().first().map_or("", |h| h.get("value").text()); // the one that was wanted
            let size = length.parse().ok().filter(|n| *n >= 0);
            let size = size.ok_or_else(|| Error::new("internal", format!("{digest}: the server does not say how long it is")))?;
            blobs.push((digest.to_string(), size));
        }
    }
    Ok(blobs)
}

/// Plans an upload. That of a small blob is not preceded by a question, which would take as long; that of one which is there
/// has no parts.
fn plan_put(blob: &Value, reach: Reach) -> Result<Value, Error> {
    let (digest, size) = (blob.get("digest"), blob.get("size").number() as i64);
    let name = blob_name(digest.text())?;
    if size < 0 {
        return Err(Error::invalid("a blob has no negative size"));
    }
    if size > 1 << 20 && stat_blobs(std::slice::from_ref(digest), reach)?.iter().any(|(_, held)| *held == size) {
        return Ok(object! { "transfer" => object! {} });
    }
    Ok(object! { "transfer" => transfer("PUT", &name, reach)? })
}

/// How the host moves a blob: by one request.
fn transfer(method: &str, name: &str, reach: Reach) -> Result<Value, Error> {
    let part = with(reach(method, name)?, "method", method.into());
    Ok(object! { "parts" => vec![part], "ranges" => method == "GET" })
}

/// Makes a request for each object, as many at once as fit in a message.
fn ask(method: &str, objects: Vec<(String, Option<&str>)>, reach: Reach) -> Result<Vec<Value>, Error> {
    let mut answers = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for (name, body) in objects {
        let mut request = with(reach(method, &name)?, "method", method.into());
        request = with(request, "wantHeader", vec!["Content-Length"].into());
        if method == "GET" {
            request = with(request, "maxBytes", (MAX_RECORD as i64).into());
        }
        let body = body.unwrap_or("");
        if batch.len() == 256 || bytes + body.len() > 8 << 20 {
            answers.extend(send(&std::mem::take(&mut batch))?);
            bytes = 0;
        }
        bytes += body.len();
        batch.push(if body.is_empty() { request } else { with(request, "body", body.into()) });
    }
    answers.extend(send(&batch)?);
    Ok(answers)
}

/// Makes requests, in halves where all the answers are too much for one message.
fn send(requests: &[Value]) -> Result<Vec<Value>, Error> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    match host(HTTP, &object! { "requests" => requests.to_vec() }) {
        Ok(answer) => Ok(answer.get("responses").list().to_vec()),
        Err(e) if e.code == "limit" && requests.len() > 1 => {
            let (first, second) = requests.split_at(requests.len() / 2);
            let mut answers = send(first)?;
            answers.extend(send(second)?);
            Ok(answers)
        }
        Err(e) => Err(e),
    }
}

/// Says whether an object is there. 404 alone means that it is not: whatever else is unexpected must not pass for a miss.
fn is_there(what: &str, answer: &Value) -> Result<bool, Error> {
    check(answer.get("error"))?;
    let code = match answer.get("status").number() as u32 {
        200..=299 => return Ok(true),
        404 => return Ok(false),
        401 | 403 => "unauthorized",
        408 | 425 | 429 | 500..=599 => "unavailable",
        _ => "internal",
    };
    Err(Error::new(code, format!("{what}: the server answered {}", answer.get("status").number())))
}

/// The object of a record, with '_' for '/' and '~' for ':', so that no key is a directory of another.
fn record_name(key: &str) -> Result<String, Error> {
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-/:".contains(&c);
    if key.is_empty() || key.len() > 200 || !key.bytes().all(good) {
        return Err(Error::invalid("a record has a key that is none"));
    }
    Ok(format!("records/{}", key.replace('/', "_").replace(':', "~")))
}

/// The object of a blob.
fn blob_name(digest: &str) -> Result<String, Error> {
    match digest.strip_prefix("sha256:") {
        Some(sum) if sum.len() == 64 && sum.bytes().all(|c| b"0123456789abcdef".contains(&c)) => Ok(format!("blobs/sha256/{sum}")),
        _ => Err(Error::invalid("a blob has a digest that is none of SHA-256")),
    }
}

/// An object with one more field.
fn with(object: Value, key: &str, value: Value) -> Value {
    match object {
        Value::Object(mut fields) => {
            fields.push((key.to_string(), value));
            Value::Object(fields)
        }
        other => other,
    }
}

pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// Shows a message to the user.
pub fn log(level: Level, text: &str) {
    unsafe { imports::log(level as u32, text.as_ptr(), text.len() as u32) }
}

mod imports {
    #[link(wasm_import_module = "trowel_v1")]
    extern "C" {
        pub fn input(ptr: *mut u8, off: u32, len: u32) -> i32;
        pub fn output(ptr: *const u8, len: u32) -> i32;
        pub fn host(op: u32, ptr: *const u8, len: u32) -> i32;
        pub fn reply(ptr: *mut u8, off: u32, len: u32) -> i32;
        pub fn log(level: u32, ptr: *const u8, len: u32);
        pub fn stream_read(stream: u32, ptr: *mut u8, len: u32) -> i32;
        pub fn stream_write(stream: u32, ptr: *const u8, len: u32) -> i32;
        pub fn stream_splice(dst: u32, src: u32, n: i64) -> i64;
        pub fn stream_close(stream: u32) -> i32;
    }
}

/// Answers an operation: what `serve!` calls.
pub fn answer<P: Plugin>(served: &RefCell<Option<P>>, op: u32, length: u32, name: &str, version: &str, kinds: &[&str]) -> i32 {
    let mut input = vec![0u8; length as usize];
    if unsafe { imports::input(input.as_mut_ptr(), 0, length) } != length as i32 {
        return -5;
    }
    let result = String::from_utf8(input)
        .map_err(|_| Error::invalid("the request is no UTF-8"))
        .and_then(|text| Value::decode(&text))
        .and_then(|request| perform(served, op, &request, name, version, kinds));
    let envelope = match result {
        Ok(value) => object! { "ok" => value },
        Err(e) => object! { "error" => object! { "code" => e.code, "message" => e.message } },
    };
    let text = envelope.encode();
    unsafe { imports::output(text.as_ptr(), text.len() as u32) }
}

fn perform<P: Plugin>(served: &RefCell<Option<P>>, op: u32, request: &Value, name: &str, version: &str, kinds: &[&str]) -> Result<Value, Error> {
    if op == 1 {
        std::panic::set_hook(Box::new(|info| log(Level::Error, &info.to_string())));
        if served.borrow().is_none() {
            let plugin = P::new(request.get("config"))?;
            *served.borrow_mut() = Some(plugin);
        }
        let features = if kinds.contains(&"cache") { P::FEATURES.to_vec() } else { Vec::new() };
        return Ok(object! { "name" => name, "version" => version, "sdk" => "rust 1", "kinds" => kinds.to_vec(), "features" => features });
    }
    let plugin = served.borrow();
    let plugin = plugin.as_ref().ok_or_else(|| Error::invalid("the plugin was not started"))?;
    match op {
        GET_RECORDS..=FINISH_PUT => plugin.cache(op, request),
        20 => plugin.credential(request),
        30 => Ok(object! { "instructions" => plugin.describe()? }),
        31 => plugin.plan(request),
        _ => Err(Error::unsupported()),
    }
}

fn encode(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) if n.fract() == 0.0 && n.abs() < 9.1e15 => drop(write!(out, "{}", *n as i64)),
        Value::Number(n) => drop(write!(out, "{}", n)),
        Value::Text(s) => quote(s, out),
        Value::List(list) => {
            out.push('[');
            for (i, v) in list.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                encode(v, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (i, (k, v)) in fields.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                quote(k, out);
                out.push(':');
                encode(v, out);
            }
            out.push('}');
        }
    }
}

fn quote(s: &str, out: &mut String) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        while self.at < self.text.len() && b" \t\r\n".contains(&self.text[self.at]) {
            self.at += 1;
        }
    }
    fn take(&mut self, c: u8) -> Option<()> {
        self.space();
        if self.text.get(self.at) != Some(&c) {
            return None;
        }
        self.at += 1;
        Some(())
    }
    fn word(&mut self, word: &str) -> bool {
        let found = self.text[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }
    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > 64 {
            return None;
        }
        self.space();
        match *self.text.get(self.at)? {
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' => self.string().map(Value::Text),
            _ if self.word("true") => Some(Value::Bool(true)),
            _ if self.word("false") => Some(Value::Bool(false)),
            _ if self.word("null") => Some(Value::Null),
            _ => self.number(),
        }
    }
    fn list(&mut self, depth: usize) -> Option<Value> {
        let mut list = Vec::new();
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(Value::List(list));
        }
        loop {
            list.push(self.value(depth + 1)?);
            if self.take(b',').is_none() {
                self.take(b']')?;
                return Some(Value::List(list));
            }
        }
    }
    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut fields = Vec::new();
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(Value::Object(fields));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.take(b':')?;
            fields.push((key, self.value(depth + 1)?));
            if self.take(b',').is_none() {
                self.take(b'}')?;
                return Some(Value::Object(fields));
            }
        }
    }
    fn number(&mut self) -> Option<Value> {
        let from = self.at;
        while self.at < self.text.len() && b"+-.eE0123456789".contains(&self.text[self.at]) {
            self.at += 1;
        }
        std::str::from_utf8(&self.text[from..self.at]).ok()?.parse().ok().map(Value::Number)
    }
    fn string(&mut self) -> Option<String> {
        self.take(b'"')?;
        let mut out = Vec::new();
        loop {
            let c = *self.text.get(self.at)?;
            self.at += 1;
            match c {
                b'"' => return String::from_utf8(out).ok(),
                b'\\' => {
                    let c = self.escape()?;
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                c => out.push(c),
            }
        }
    }
    fn escape(&mut self) -> Option<char> {
        let c = *self.text.get(self.at)?;
        self.at += 1;
        Some(match c {
            b'"' | b'\\' | b'/' => c as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex4()?;
                if (0xd800..0xdc00).contains(&high) && self.word("\\u") {
                    let low = self.hex4()?;
                    let c = 0x10000 + ((high - 0xd800) << 10) + low.wrapping_sub(0xdc00) % 0x400;
                    char::from_u32(c).unwrap_or('\u{fffd}')
                } else {
                    char::from_u32(high).unwrap_or('\u{fffd}')
                }
            }
            _ => return None,
        })
    }
    fn hex4(&mut self) -> Option<u32> {
        let digits = std::str::from_utf8(self.text.get(self.at..self.at + 4)?).ok()?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let v = (0..3).fold(0u32, |v, i| v << 8 | u32::from(*chunk.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let digit = DIGITS[(v >> (18 - 6 * i) & 63) as usize] as char;
            out.push(if i <= chunk.len() { digit } else { '=' });
        }
    }
    out
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut have) = (Vec::new(), 0u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let digit = DIGITS.iter().position(|d| *d == c)? as u32;
        bits = bits << 6 | digit;
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    Some(out)
}
