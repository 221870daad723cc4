//! The Dockerfile instruction GREETING, as a plugin for Trowel in Rust. The README builds and runs it.
mod trowel;

use trowel::{Error, Value};

struct Handler;

impl trowel::Plugin for Handler {
    fn new(config: &Value) -> Result<Self, Error> {
        match config {
            Value::Object(fields) if !fields.is_empty() => Err(Error::invalid(format!("config: unknown key {}", fields[0].0))),
            _ => Ok(Handler),
        }
    }

    // Says what instructions there are.
    fn describe(&self) -> Result<Value, Error> {
        Ok(Value::List(vec![object! {
            "keyword" => "GREETING", "summary" => "write a greeting", "usage" => "NAME PATH", "minArgs" => 2,
        }]))
    }

    // Says what one use of an instruction does: Trowel does it.
    fn plan(&self, call: &Value) -> Result<Value, Error> {
        let (name, path) = match call.get("args").list() {
            [name, path] if !name.text().is_empty() => (name.text(), path.text()),
            _ => return Err(Error::invalid("there is nobody to greet")),
        };
        let text = format!("Hello, {}", name);
        let write = object! { "path" => path, "content" => Value::bytes(format!("{}\n", text).as_bytes()) };
        let label = object! { "field" => "label", "values" => vec![Value::from(format!("greeting={}", text))] };
        Ok(object! { "effects" => vec![object! { "write" => write }, object! { "set" => label }] })
    }
}

serve!(Handler, "greeting", "1.0.0", "instruction");
