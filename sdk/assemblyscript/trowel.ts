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
  return object().set("name", text(plugin.name)).set("version", text(plugin.version)).set("sdk", text("as 1")).set("kinds", kinds);
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
