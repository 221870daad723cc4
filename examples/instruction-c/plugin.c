/* The Dockerfile instruction GREETING, as a plugin for Trowel in C. The README builds and runs it. */
#include "trowel.h"

static void configure(const trowel_value *config, trowel_writer *out)
{
	if (config->child)
		trowel_fail(out, "invalid", trowel_concat("config: unknown key ", config->child->key, NULL));
}

/* describe says what instructions there are. */
static void describe(trowel_writer *out)
{
	trowel_begin_list(out);
	trowel_begin_object(out);
	trowel_field(out, "keyword", "GREETING");
	trowel_field(out, "summary", "write a greeting");
	trowel_field(out, "usage", "NAME PATH");
	trowel_key(out, "minArgs");
	trowel_number(out, 2);
	trowel_end_object(out);
	trowel_end_list(out);
}

/* write and label are effects of a plan. */
static void write(trowel_writer *out, const char *path, const char *content)
{
	trowel_begin_object(out);
	trowel_key(out, "write");
	trowel_begin_object(out);
	trowel_field(out, "path", path);
	trowel_key(out, "content");
	trowel_bytes(out, content, trowel_length(content));
	trowel_end_object(out);
	trowel_end_object(out);
}

static void label(trowel_writer *out, const char *pair)
{
	trowel_begin_object(out);
	trowel_key(out, "set");
	trowel_begin_object(out);
	trowel_field(out, "field", "label");
	trowel_key(out, "values");
	trowel_begin_list(out);
	trowel_string(out, pair);
	trowel_end_list(out);
	trowel_end_object(out);
	trowel_end_object(out);
}

/* plan says what one use of an instruction does: Trowel does it. */
static void plan(const trowel_value *call, trowel_writer *out)
{
	const trowel_value *name = trowel_at(trowel_get(call, "args"), 0);
	const trowel_value *path = trowel_at(trowel_get(call, "args"), 1);
	if (!name || !path || name->length == 0) {
		trowel_fail(out, "invalid", "there is nobody to greet");
		return;
	}
	const char *text = trowel_concat("Hello, ", name->text, NULL);
	trowel_begin_object(out);
	trowel_key(out, "effects");
	trowel_begin_list(out);
	write(out, path->text, trowel_concat(text, "\n", NULL));
	label(out, trowel_concat("greeting=", text, NULL));
	trowel_end_list(out);
	trowel_end_object(out);
}

const trowel_plugin trowel_this = {
	.name = "greeting", .version = "1.0.0", .configure = configure, .describe = describe, .plan = plan,
};
