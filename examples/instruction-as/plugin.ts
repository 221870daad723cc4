// The Dockerfile instruction GREETING, as a plugin for Trowel in AssemblyScript. The README builds and runs it.
import { Plugin, Value, serve, fail, object, list, text, number, content } from "./trowel";
export { trowel_abi_1, trowel_call } from "./trowel";

class Handler extends Plugin {
  configure(config: Value): Value | null {
    return config.keys.length > 0 ? fail("invalid", "config: unknown key " + config.keys[0]) : null;
  }

  // Says what instructions there are.
  describe(): Value {
    return list().add(object()
      .set("keyword", text("GREETING"))
      .set("summary", text("write a greeting"))
      .set("usage", text("NAME PATH"))
      .set("minArgs", number(2)));
  }

  // Says what one use of an instruction does: Trowel does it.
  plan(call: Value): Value {
    const args = call.get("args").list;
    if (args.length != 2 || args[0].text == "") return fail("invalid", "there is nobody to greet");
    const greeting = "Hello, " + args[0].text;
    const write = object().set("path", args[1]).set("content", content(greeting + "\n"));
    const label = object().set("field", text("label")).set("values", list().add(text("greeting=" + greeting)));
    return object().set("effects", list().add(object().set("write", write)).add(object().set("set", label)));
  }
}

serve(new Handler("greeting", "1.0.0", ["instruction"]));
