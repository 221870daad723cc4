/**
 * Plugins for Trowel in AssemblyScript, in one file.
 *
 * Put this file beside yours, and serve an instance of a class that extends Plugin:
 *
 *     import { Plugin, serve } from "./trowel";
 *     export { trowel_abi_1, trowel_call } from "./trowel";
 *     class Hello extends Plugin { … }
 *     serve(new Hello("hello", "0.1.0", ["instruction"]));
 *
 * It is compiled by `trowel plugin build`, or by hand:
 *
 *     npx asc plugin.ts -o plugin.wasm -O --runtime minimal --exportStart _initialize --use abort=trowel/trowelAbort
 *
 * Requests and answers are Values, which are JSON. AssemblyScript has no exceptions: a handler that fails returns what
 * fail() makes. One instance answers one call at a time.
 */

/** What a plugin is and does. A plugin has the operations of its kind; the others stay as they are. */
export class Plugin {
  constructor(public name: string, public version: string, public kinds: string[]) {}
  /** Takes the table [plugins.NAME.config]; called once, first. It returns null unless it fails. */
  configure(config: Value): Value | null { return null; }
  /** The instructions that an instruction handler has, as a list. */
  describe(): Value { return unsupported(); }
  /** What one use of an instruction does. */
  plan(call: Value): Value { return unsupported(); }
  /** The credential for a registry, or fail("not_mine", …). */
  credential(request: Value): Value { return unsupported(); }
  /** The request that reaches an object of a cache by "GET", "HEAD" or "PUT": its "url" and, if it likes, its "header". */
  object(method: string, name: string): Value { return unsupported(); }
  /** An operation of a cache. objects() makes them all of what object() says. */
  cache(op: CacheOp, request: Value): Value { return objects(this, op, request); }
  /** What a cache has beyond the look-ups: "upload-planner" or "blob-writer". */
  features: string[] = ["upload-planner"];
}

/** Makes a failure: the code is "invalid", "not_mine", "unavailable" and so on, see package sdk. */
export function fail(code: string, message: string): Value {
  const v = object().set("code", text(code)).set("message", text(message));
  v.failed = true;
  return v;
}

function unsupported(): Value { return fail("unsupported", "the plugin does not have this operation"); }

export enum Kind { Null, Bool, Number, Text, List, Object }

/** JSON. Objects keep their order. */
export class Value {
  failed: bool = false;
  boolean: bool = false;
  number: i64 = 0; // whole numbers; a fraction is cut off
  text: string = "";
  list: Value[] = []; // the elements, or the values of the fields
  keys: string[] = [];
  constructor(public kind: Kind) {}

  /** The field of an object; null's value if there is none. */
  get(key: string): Value {
    const i = this.keys.indexOf(key);
    return i < 0 ? new Value(Kind.Null) : this.list[i];
  }
  /** Sets a field, and returns the object. */
  set(key: string, value: Value): Value {
    this.keys.push(key);
    this.list.push(value);
    return this;
  }
  /** Adds an element, and returns the list. */
  add(value: Value): Value {
    this.list.push(value);
    return this;
  }
  /** The last value of a flag of an instruction's call, or "". */
  flag(name: string): string {
    const flags = this.get("flags").list;
    for (let i = flags.length - 1; i >= 0; i--) {
      if (flags[i].get("name").text == name) return flags[i].get("value").text;
    }
    return "";
  }
  /** JSON text. */
  encode(): string {
    const parts = new Array<string>(); // joined once: what is long is copied once
    this.write(parts);
    return parts.join("");
  }
  private write(to: string[]): void {
    switch (this.kind) {
      case Kind.Bool: to.push(this.boolean ? "true" : "false"); break;
      case Kind.Number: to.push(this.number.toString()); break;
      case Kind.Text: quote(to, this.text); break;
      case Kind.List: {
        to.push("[");
        for (let i = 0; i < this.list.length; i++) {
          if (i > 0) to.push(",");
          this.list[i].write(to);
        }
        to.push("]");
        break;
      }
      case Kind.Object: {
        to.push("{");
        for (let i = 0; i < this.list.length; i++) {
          if (i > 0) to.push(",");
          quote(to, this.keys[i]);
          to.push(":");
          this.list[i].write(to);
        }
        to.push("}");
        break;
      }
      default: to.push("null");
    }
  }
}

export function object(): Value { return new Value(Kind.Object); }
export function list(): Value { return new Value(Kind.List); }
export function text(s: string): Value {
  const v = new Value(Kind.Text);
  v.text = s;
  return v;
}
export function number(n: i64): Value {
  const v = new Value(Kind.Number);
  v.number = n;
  return v;
}
export function truth(b: bool): Value {
  const v = new Value(Kind.Bool);
  v.boolean = b;
  return v;
}
/** Text as the bytes that the contract wants, in base64: the content of a file, say. */
export function content(s: string): Value { return text(base64(Uint8Array.wrap(String.UTF8.encode(s)))); }
export function bytes(b: Uint8Array): Value { return text(base64(b)); }

// The host: nine imports. A negative result is a negated errno.

// @ts-ignore: decorator
@external("trowel_v1", "input") declare function hostInput(ptr: usize, off: u32, len: u32): i32;
// @ts-ignore: decorator
@external("trowel_v1", "output") declare function hostOutput(ptr: usize, len: u32): i32;
// @ts-ignore: decorator
@external("trowel_v1", "host") declare function hostDo(op: u32, ptr: usize, len: u32): i32;
// @ts-ignore: decorator
@external("trowel_v1", "reply") declare function hostReply(ptr: usize, off: u32, len: u32): i32;
// @ts-ignore: decorator
@external("trowel_v1", "log") declare function hostLog(level: u32, ptr: usize, len: u32): void;
// @ts-ignore: decorator
@external("trowel_v1", "stream_read") export declare function streamRead(stream: u32, ptr: usize, len: u32): i32;
// @ts-ignore: decorator
@external("trowel_v1", "stream_write") export declare function streamWrite(stream: u32, ptr: usize, len: u32): i32;
// @ts-ignore: decorator
@external("trowel_v1", "stream_splice") export declare function streamSplice(dst: u32, src: u32, n: i64): i64;
// @ts-ignore: decorator
@external("trowel_v1", "stream_close") export declare function streamClose(stream: u32): i32;

export enum Level { Debug, Info, Warning, Error }

/** Shows a message to the user. */
export function log(level: Level, message: string): void {
  const b = String.UTF8.encode(message);
  hostLog(level, changetype<usize>(b), b.byteLength);
}

/** What the language calls before it ends the module. */
export function trowelAbort(message: string | null, file: string | null, line: u32, column: u32): void {
  const what = message === null ? "abort" : message;
  const where = file === null ? "" : " at " + file + ":" + line.toString();
  log(Level.Error, what + where);
  unreachable();
}

export enum HostOp { HTTP = 1, Sign, Env, ReadFile, Stat, ReadDir }

/** Performs an operation of the host. The answer has failed set if it is an error. */
export function host(op: HostOp, request: Value): Value {
  const b = String.UTF8.encode(request.encode());
  const n = hostDo(op, changetype<usize>(b), b.byteLength);
  if (n < 0) return fail("internal", "the host refused the request");
  const reply = new ArrayBuffer(n);
  hostReply(changetype<usize>(reply), 0, n);
  const envelope = parse(String.UTF8.decode(reply));
  if (envelope === null) return fail("internal", "the host's answer is no JSON");
  return orError(envelope.get("ok"), envelope.get("error"));
}

function orError(ok: Value, error: Value): Value {
  return error.kind == Kind.Object ? fail(error.get("code").text, error.get("message").text) : ok;
}

/** Reads a file of "context" or "stage". What it returns has failed set, or text that is the file's. */
export function readFile(root: string, name: string): Value {
  const answer = host(HostOp.ReadFile, object().set("root", text(root)).set("name", text(name)));
  return answer.failed ? answer : text(String.UTF8.decode(unbase64(answer.get("content").text)));
}

/** An environment variable. What it returns has failed set, or text; "" if the variable is not set. */
export function env(name: string): Value {
  const answer = host(HostOp.Env, object().set("names", list().add(text(name))));
  if (answer.failed) return answer;
  const found = answer.get("variables").list;
  return text(found.length > 0 ? found[0].get("value").text : "");
}

/** Makes a GET request and returns the response: "status", "header", "body" (base64); or failed is set. */
export function get(url: string): Value {
  const request = object().set("method", text("GET")).set("url", text(url));
  const answer = host(HostOp.HTTP, object().set("requests", list().add(request)));
  if (answer.failed) return answer;
  const responses = answer.get("responses").list;
  if (responses.length == 0) return fail("internal", "the host gave no response");
  return orError(responses[0], responses[0].get("error"));
}

// A cache in which each record and each blob is an object of its own. Package sdk/objects does the same for Go, with the same
// names of objects, and with retries.

export enum CacheOp { GetRecords = 10, PutRecords, StatBlobs, GetBlob, PutBlob, PlanPut, FinishPut }

/** Performs an operation of a cache by what its object() says. */
export function objects(plugin: Plugin, op: CacheOp, request: Value): Value {
  switch (op) {
    case CacheOp.GetRecords: return getRecords(plugin, request.get("keys").list);
    case CacheOp.PutRecords: return putRecords(plugin, request.get("records").list);
    case CacheOp.StatBlobs: {
      const blobs = statBlobs(plugin, request.get("digests").list);
      return blobs.failed ? blobs : object().set("blobs", blobs);
    }
    case CacheOp.GetBlob: {
      const held = statBlobs(plugin, [request.get("digest")]);
      if (held.failed) return held;
      const name = blobName(request.get("digest").text);
      if (name == "") return fail("invalid", "a blob has a digest that is none of SHA-256");
      return held.list.length == 0 ? fail("not_found", "not found") : transfer(plugin, "GET", name);
    }
    case CacheOp.PlanPut: return planPut(plugin, request.get("blob"));
    case CacheOp.FinishPut: return object(); // the server shows an object when it has all of it
    default: return unsupported();
  }
}

const MAX_RECORD = 1 << 20;

function getRecords(plugin: Plugin, keys: Value[]): Value {
  const asked: string[] = [];
  const names: string[] = [];
  for (let i = 0; i < keys.length; i++) {
    const name = recordName(keys[i].text);
    if (name == "") continue;
    asked.push(keys[i].text);
    names.push(name);
  }
  const answers = ask(plugin, "GET", names, []);
  if (answers.failed) return answers;
  const records = list();
  for (let i = 0; i < asked.length; i++) {
    const answer = answers.list[i];
    if (answer.get("error").get("code").text == "limit") {
      log(Level.Warning, "record " + asked[i] + " is larger than a record can be, and not believed");
      continue;
    }
    const there = isThere(asked[i], answer);
    if (there.failed) return there;
    if (there.boolean) records.add(object().set("key", text(asked[i])).set("value", answer.get("body")));
  }
  return object().set("records", records);
}

function putRecords(plugin: Plugin, records: Value[]): Value {
  const last = new Map<string, Value>(); // of two under one key the later counts: requests have no order
  for (let i = 0; i < records.length; i++) {
    const name = recordName(records[i].get("key").text);
    const value = records[i].get("value");
    if (name == "") return fail("invalid", "a record has a key that is none");
    const padding = value.text.endsWith("==") ? 2 : value.text.endsWith("=") ? 1 : 0;
    if (value.text.length / 4 * 3 - padding > MAX_RECORD) return fail("limit", "put " + name + ": a record has 1 MiB at most");
    last.set(name, value);
  }
  const names = last.keys();
  const answers = ask(plugin, "PUT", names, last.values());
  if (answers.failed) return answers;
  for (let i = 0; i < names.length; i++) {
    const there = isThere(names[i], answers.list[i]);
    if (there.failed) return there;
    if (!there.boolean) return fail("invalid", "put " + names[i] + ": the server has no place for it: is the address right?");
  }
  return object();
}

function statBlobs(plugin: Plugin, digests: Value[]): Value {
  const asked: Value[] = [];
  const names: string[] = [];
  for (let i = 0; i < digests.length; i++) {
    const name = blobName(digests[i].text);
    if (name == "") continue;
    asked.push(digests[i]);
    names.push(name);
  }
  const answers = ask(plugin, "HEAD", names, []);
  if (answers.failed) return answers;
  const blobs = list();
  for (let i = 0; i < asked.length; i++) {
    const there = isThere(asked[i].text, answers.list[i]);
    if (there.failed) return there;
    if (!there.boolean) continue;
    const header = answers.list[i].get("header").list; // the one field that was wanted
    const size = header.length > 0 ? parse(header[0].get("value").text) : null;
    if (size === null || size.kind != Kind.Number || size.number < 0) {
      return fail("internal", asked[i].text + ": the server does not say how long it is");
    }
    blobs.add(object().set("digest", asked[i]).set("size", size));
  }
  return blobs;
}

/** Plans an upload. That of a small blob is not preceded by a question, which would take as long; that of one which is there
 * has no parts. */
function planPut(plugin: Plugin, blob: Value): Value {
  const name = blobName(blob.get("digest").text);
  const size = blob.get("size").number;
  if (name == "" || size < 0) return fail("invalid", "a blob has a digest or a size that is none");
  if (size > 1 << 20) {
    const held = statBlobs(plugin, [blob.get("digest")]);
    if (held.failed) return held;
    if (held.list.length == 1 && held.list[0].get("size").number == size) return object().set("transfer", object());
  }
  return transfer(plugin, "PUT", name);
}

/** How the host moves a blob: by one request. */
function transfer(plugin: Plugin, method: string, name: string): Value {
  const part = plugin.object(method, name);
  if (part.failed) return part;
  const parts = list().add(part.set("method", text(method)));
  return object().set("transfer", object().set("parts", parts).set("ranges", truth(method == "GET")));
}

/** Makes a request for each object, as many at once as fit in a message. */
function ask(plugin: Plugin, method: string, names: string[], bodies: Value[]): Value {
  const answers = list();
  let batch: Value[] = [];
  let bytes = 0;
  for (let i = 0; i < names.length; i++) {
    const request = plugin.object(method, names[i]);
    if (request.failed) return request;
    request.set("method", text(method)).set("wantHeader", list().add(text("Content-Length")));
    if (method == "GET") request.set("maxBytes", number(MAX_RECORD));
    const length = i < bodies.length ? bodies[i].text.length : 0;
    if (length > 0) request.set("body", bodies[i]);
    if (batch.length == 256 || bytes + length > 8 << 20) {
      const failure = send(batch, answers);
      if (failure !== null) return failure;
      batch = [];
      bytes = 0;
    }
    batch.push(request);
    bytes += length;
  }
  const failure = send(batch, answers);
  return failure === null ? answers : failure;
}

/** Makes requests, in halves where all the answers are too much for one message. It returns a failure, or null. */
function send(requests: Value[], answers: Value): Value | null {
  if (requests.length == 0) return null;
  const all = list();
  all.list = requests;
  const answer = host(HostOp.HTTP, object().set("requests", all));
  if (answer.failed && answer.get("code").text == "limit" && requests.length > 1) {
    const half = requests.length / 2;
    const failure = send(requests.slice(0, half), answers);
    return failure === null ? send(requests.slice(half), answers) : failure;
  }
  if (answer.failed) return answer;
  const responses = answer.get("responses").list;
  if (responses.length != requests.length) return fail("internal", "the host answered another number of requests");
  for (let i = 0; i < responses.length; i++) answers.add(responses[i]);
  return null;
}

/** Says whether an object is there. 404 alone means that it is not: whatever else is unexpected must not pass for a miss. */
function isThere(what: string, answer: Value): Value {
  const error = answer.get("error");
  if (error.kind == Kind.Object) return fail(error.get("code").text, what + ": " + error.get("message").text);
  const status = <i32>answer.get("status").number;
  if (status == 404 || (status >= 200 && status <= 299)) return truth(status != 404);
  const passing = status == 408 || status == 425 || status == 429 || status >= 500;
  const code = status == 401 || status == 403 ? "unauthorized" : passing ? "unavailable" : "internal";
  return fail(code, what + ": the server answered " + status.toString());
}

/** The object of a record, with '_' for '/' and '~' for ':', so that no key is a directory of another; "" if the key is none. */
function recordName(key: string): string {
  for (let i = 0; i < key.length; i++) {
    const c = key.charCodeAt(i);
    if (!((c >= 0x61 && c <= 0x7a) || (c >= 0x2d && c <= 0x3a && c != 0x2e))) return ""; // a-z, '-', '/', 0-9, ':'
  }
  if (key.length == 0 || key.length > 200) return "";
  return "records/" + key.replaceAll("/", "_").replaceAll(":", "~");
}

/** The object of a blob; "" if the digest is none. */
function blobName(digest: string): string {
  if (digest.length != 71 || !digest.startsWith("sha256:")) return "";
  for (let i = 7; i < 71; i++) {
    const c = digest.charCodeAt(i);
    if (!((c >= 0x30 && c <= 0x39) || (c >= 0x61 && c <= 0x66))) return "";
  }
  return "blobs/sha256/" + digest.substring(7);
}

// The three exports, together with the memory. The entry file exports them again.

let served: Plugin | null = null;

/** Says what plugin is served. */
export function serve(plugin: Plugin): void { served = plugin; }

export function trowel_abi_1(): void {}

export function trowel_call(op: u32, length: u32): i32 {
  const result = respond(op, length);
  __collect(); // nothing of this call is in use any more
  return result;
}

function respond(op: u32, length: u32): i32 {
  const input = new ArrayBuffer(length);
  if (hostInput(changetype<usize>(input), 0, length) != length) return -5;
  const request = parse(String.UTF8.decode(input));
  const answer = request === null ? fail("invalid", "the request is no JSON") : perform(op, request);
  const envelope = object().set(answer.failed ? "error" : "ok", answer).encode();
  const b = String.UTF8.encode(envelope);
  return hostOutput(changetype<usize>(b), b.byteLength);
}

function perform(op: u32, request: Value): Value {
  const plugin = served;
  if (plugin === null) return fail("internal", "the module does not call serve");
  switch (op) {
    case 1: return hello(plugin, request.get("config"));
    case CacheOp.GetRecords: case CacheOp.PutRecords: case CacheOp.StatBlobs: case CacheOp.GetBlob:
    case CacheOp.PutBlob: case CacheOp.PlanPut: case CacheOp.FinishPut: return plugin.cache(<CacheOp>op, request);
    case 20: return plugin.credential(request);
    case 30: {
      const instructions = plugin.describe();
      return instructions.failed ? instructions : object().set("instructions", instructions);
    }
    case 31: return plugin.plan(request);
    default: return unsupported();
  }
}

function hello(plugin: Plugin, config: Value): Value {
  const failure = plugin.configure(config);
  if (failure !== null) return failure;
  const kinds = list();
  for (let i = 0; i < plugin.kinds.length; i++) kinds.add(text(plugin.kinds[i]));
  const features = list();
  for (let i = 0; i < plugin.features.length && plugin.kinds.includes("cache"); i++) features.add(text(plugin.features[i]));
  return object().set("name", text(plugin.name)).set("version", text(plugin.version)).set("sdk", text("as 1"))
    .set("kinds", kinds).set("features", features);
}

// JSON.

function quote(to: string[], s: string): void {
  to.push('"');
  let from = 0;
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c >= 0x20 && c != 0x22 && c != 0x5c) continue;
    to.push(s.substring(from, i) + "\\u00" + (c < 16 ? "0" : "") + c.toString(16));
    from = i + 1;
  }
  to.push(from == 0 ? s : s.substring(from));
  to.push('"');
}

/** Reads JSON; null if it is none. */
export function parse(json: string): Value | null {
  const r = new Reader(json);
  const v = r.value(0);
  r.space();
  return r.bad || r.at != json.length ? null : v;
}

class Reader {
  at: i32 = 0;
  bad: bool = false;
  constructor(private json: string) {}

  private peek(): i32 { return this.at < this.json.length ? this.json.charCodeAt(this.at) : -1; }
  space(): void {
    for (let c = this.peek(); c == 0x20 || c == 0x09 || c == 0x0a || c == 0x0d; c = this.peek()) this.at++;
  }
  private take(c: i32): bool {
    this.space();
    if (this.peek() != c) return false;
    this.at++;
    return true;
  }
  private word(w: string): bool {
    if (this.json.substr(this.at, w.length) != w) return false;
    this.at += w.length;
    return true;
  }
  value(depth: i32): Value {
    this.space();
    if (depth > 64) this.bad = true;
    if (this.bad) return new Value(Kind.Null);
    switch (this.peek()) {
      case 0x7b: return this.members(Kind.Object, 0x7d, depth);
      case 0x5b: return this.members(Kind.List, 0x5d, depth);
      case 0x22: return text(this.string());
      default: break;
    }
    if (this.word("true")) return truth(true);
    if (this.word("false")) return truth(false);
    if (this.word("null")) return new Value(Kind.Null);
    return this.digits();
  }
  private members(kind: Kind, close: i32, depth: i32): Value {
    const v = new Value(kind);
    this.at++;
    if (this.take(close)) return v;
    do {
      if (kind == Kind.Object) {
        this.space();
        v.keys.push(this.string());
        if (!this.take(0x3a)) this.bad = true;
      }
      v.list.push(this.value(depth + 1));
    } while (!this.bad && this.take(0x2c));
    if (!this.take(close)) this.bad = true;
    return v;
  }
  private digits(): Value {
    const negative = this.take(0x2d);
    const from = this.at;
    let n: i64 = 0;
    for (let c = this.peek(); c >= 0x30 && c <= 0x39; c = this.peek()) {
      n = n * 10 + (c - 0x30);
      this.at++;
    }
    if (this.at == from) this.bad = true;
    for (let c = this.peek(); c == 0x2e || c == 0x2b || c == 0x2d || (c | 32) == 0x65 || (c >= 0x30 && c <= 0x39); c = this.peek()) this.at++;
    return number(negative ? -n : n);
  }
  private string(): string {
    if (this.peek() != 0x22) {
      this.bad = true;
      return "";
    }
    this.at++;
    let out = "";
    let from = this.at;
    for (let c = this.peek(); c >= 0; c = this.peek()) {
      if (c == 0x22 || c == 0x5c) out += this.json.substring(from, this.at);
      this.at++;
      if (c == 0x22) return out;
      if (c == 0x5c) {
        out += this.escape();
        from = this.at;
      }
    }
    this.bad = true;
    return out;
  }
  private escape(): string {
    const c = this.peek();
    this.at++;
    switch (c) {
      case 0x22: case 0x5c: case 0x2f: return String.fromCharCode(c);
      case 0x62: return "\b";
      case 0x66: return "\f";
      case 0x6e: return "\n";
      case 0x72: return "\r";
      case 0x74: return "\t";
      case 0x75: {
        let v = 0;
        for (let i = 0; i < 4; i++) {
          const h = this.peek() | 32;
          if (h >= 0x30 && h <= 0x39) v = (v << 4) | (h - 0x30);
          else if (h >= 0x61 && h <= 0x66) v = (v << 4) | (h - 0x61 + 10);
          else this.bad = true;
          this.at++;
        }
        return String.fromCharCode(v); // strings are UTF-16, and so are pairs of escapes
      }
      default:
        this.bad = true;
        return "";
    }
  }
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

function base64(b: Uint8Array): string {
  const out = new Uint8Array(((b.length + 2) / 3) * 4);
  for (let i = 0, at = 0; i < b.length; i += 3, at += 4) {
    const n = min(3, b.length - i);
    const v = (<u32>b[i] << 16) | (n > 1 ? <u32>b[i + 1] << 8 : 0) | (n > 2 ? <u32>b[i + 2] : 0);
    out[at] = <u8>DIGITS.charCodeAt(v >> 18);
    out[at + 1] = <u8>DIGITS.charCodeAt((v >> 12) & 63);
    out[at + 2] = n > 1 ? <u8>DIGITS.charCodeAt((v >> 6) & 63) : 0x3d;
    out[at + 3] = n > 2 ? <u8>DIGITS.charCodeAt(v & 63) : 0x3d;
  }
  return String.UTF8.decode(out.buffer);
}

function unbase64(s: string): ArrayBuffer {
  const out = new Uint8Array((s.length / 4) * 3 + 3);
  let bits: u32 = 0;
  let have = 0;
  let n = 0;
  for (let i = 0; i < s.length; i++) {
    const d = DIGITS.indexOf(s.charAt(i));
    if (d < 0) break;
    bits = (bits << 6) | d;
    have += 6;
    if (have >= 8) {
      have -= 8;
      out[n++] = <u8>(bits >> have);
    }
  }
  return out.buffer.slice(0, n);
}
