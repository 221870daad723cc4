/*
 * trowel.h - plugins for Trowel in C, in one header.
 *
 * A plugin is one file that includes this header and defines
 *
 *     const trowel_plugin trowel_this = { .name = "hello", .version = "0.1.0", .describe = describe, .plan = plan };
 *
 * It is compiled by `trowel plugin build`, or by hand, without a C library:
 *
 *     clang --target=wasm32 -O2 -mbulk-memory -ffreestanding -nostdlib -fvisibility=hidden
 *           -Wl,--no-entry -Wl,--strip-all -o plugin.wasm plugin.c
 *
 * A handler reads its request as a tree of values and writes its answer, one JSON value, to a writer. All memory comes from
 * an arena that is emptied before every call, so that nothing has to be freed and nothing can leak; what .configure
 * allocates stays. One instance answers one call at a time.
 */
#ifndef TROWEL_H
#define TROWEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The host: nine imports. A negative result is a negated errno. See package sdk/guest for what each does. */

#define TROWEL_IMPORT(name) __attribute__((import_module("trowel_v1"), import_name(name))) extern
#define TROWEL_EXPORT(name) __attribute__((export_name(name), visibility("default")))

TROWEL_IMPORT("input") int32_t trowel_v1_input(void *to, uint32_t offset, uint32_t length);
TROWEL_IMPORT("output") int32_t trowel_v1_output(const void *from, uint32_t length);
TROWEL_IMPORT("host") int32_t trowel_v1_host(uint32_t op, const void *request, uint32_t length);
TROWEL_IMPORT("reply") int32_t trowel_v1_reply(void *to, uint32_t offset, uint32_t length);
TROWEL_IMPORT("log") void trowel_v1_log(uint32_t level, const char *text, uint32_t length);
TROWEL_IMPORT("stream_read") int32_t trowel_v1_stream_read(uint32_t stream, void *to, uint32_t length);
TROWEL_IMPORT("stream_write") int32_t trowel_v1_stream_write(uint32_t stream, const void *from, uint32_t length);
TROWEL_IMPORT("stream_splice") int64_t trowel_v1_stream_splice(uint32_t to, uint32_t from, int64_t length);
TROWEL_IMPORT("stream_close") int32_t trowel_v1_stream_close(uint32_t stream);

enum { TROWEL_DEBUG, TROWEL_INFO, TROWEL_WARNING, TROWEL_ERROR };
enum { TROWEL_HTTP = 1, TROWEL_SIGN, TROWEL_ENV, TROWEL_READ_FILE, TROWEL_STAT, TROWEL_READ_DIR };

/* The operations of caches. */
enum {
	TROWEL_GET_RECORDS = 10, TROWEL_PUT_RECORDS, TROWEL_STAT_BLOBS, TROWEL_GET_BLOB, TROWEL_PUT_BLOB, TROWEL_PLAN_PUT, TROWEL_FINISH_PUT,
};

/* Values: what a request is, once it is read. */

typedef enum { TROWEL_NULL, TROWEL_BOOL, TROWEL_NUMBER, TROWEL_STRING, TROWEL_LIST, TROWEL_OBJECT } trowel_type;

typedef struct trowel_value {
	trowel_type type;
	bool boolean;
	int64_t number;            /* whole numbers; a fraction is cut off */
	const char *text;          /* of a string, ended by a NUL */
	size_t length;             /* bytes of text */
	const char *key;           /* if this is a field of an object */
	struct trowel_value *child; /* the first element or field */
	struct trowel_value *next; /* the next one beside this */
} trowel_value;

/* The writer: JSON text that grows. Commas come by themselves. */

typedef struct {
	char *data;
	size_t length, capacity;
	bool comma;
	const char *code, *message; /* of a failure */
} trowel_writer;

/* What a plugin is. What it has not stays NULL. A handler that fails calls trowel_fail and returns. */

typedef struct {
	const char *name, *version;
	void (*configure)(const trowel_value *config, trowel_writer *out); /* called once, first; writes nothing unless it fails */
	void (*describe)(trowel_writer *out);                              /* writes a list of instructions */
	void (*plan)(const trowel_value *call, trowel_writer *out);        /* writes a plan */
	void (*credential)(const trowel_value *request, trowel_writer *out); /* writes a credential */

	/* A cache has one of these. .object writes the fields "url" and, if it likes, "header" of the request that reaches an
	 * object by "GET", "HEAD" or "PUT": trowel_objects makes the operations of that. .cache performs an operation by
	 * itself, and may leave some to trowel_objects if .object is there, too. */
	void (*object)(const char *method, const char *name, trowel_writer *request);
	void (*cache)(uint32_t op, const trowel_value *request, trowel_writer *out);
	const char *feature; /* of a .cache: "upload-planner", which NULL means too, or "blob-writer" */
} trowel_plugin;

extern const trowel_plugin trowel_this;

/* Memory. */

extern unsigned char __heap_base;
static uintptr_t trowel_free_from, trowel_free_kept;

/* trowel_alloc returns memory that is valid until the call ends. It ends the plugin when there is none. */
static inline void *trowel_alloc(size_t size)
{
	if (trowel_free_from == 0)
		trowel_free_from = trowel_free_kept = (uintptr_t)&__heap_base;
	uintptr_t at = (trowel_free_from + 15) & ~(uintptr_t)15;
	uintptr_t end = at + size, have = (uintptr_t)__builtin_wasm_memory_size(0) << 16;
	if (end < at)
		__builtin_trap();
	if (end > have && __builtin_wasm_memory_grow(0, ((end - have) >> 16) + 1) == (size_t)-1)
		__builtin_trap();
	trowel_free_from = end;
	return (void *)at;
}

static inline size_t trowel_length(const char *text)
{
	size_t n = 0;
	while (text[n])
		n++;
	return n;
}

static inline bool trowel_equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* Writing. */

static inline void trowel_raw(trowel_writer *w, const char *text, size_t length)
{
	if (w->length + length > w->capacity) {
		bool last = w->data && (uintptr_t)w->data + w->capacity == trowel_free_from;
		size_t capacity = ((w->length + length) * 2 + 256) & ~(size_t)15;
		char *data = trowel_alloc(last ? capacity - w->capacity : capacity);
		if (!last) { /* what has something behind it has to move */
			if (w->length)
				__builtin_memcpy(data, w->data, w->length);
			w->data = data;
		}
		w->capacity = capacity;
	}
	if (length)
		__builtin_memcpy(w->data + w->length, text, length);
	w->length += length;
}

static inline void trowel_before(trowel_writer *w)
{
	if (w->comma)
		trowel_raw(w, ",", 1);
	w->comma = true;
}

static inline void trowel_begin(trowel_writer *w, char bracket)
{
	trowel_before(w);
	trowel_raw(w, &bracket, 1);
	w->comma = false;
}

static inline void trowel_end(trowel_writer *w, char bracket)
{
	trowel_raw(w, &bracket, 1);
	w->comma = true;
}

static inline void trowel_begin_object(trowel_writer *w) { trowel_begin(w, '{'); }
static inline void trowel_end_object(trowel_writer *w) { trowel_end(w, '}'); }
static inline void trowel_begin_list(trowel_writer *w) { trowel_begin(w, '['); }
static inline void trowel_end_list(trowel_writer *w) { trowel_end(w, ']'); }

static inline void trowel_quote(trowel_writer *w, const char *text, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	trowel_raw(w, "\"", 1);
	for (size_t i = 0, from = 0; i <= length; i++) {
		unsigned char c = i < length ? (unsigned char)text[i] : '"';
		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		trowel_raw(w, text + from, i - from);
		from = i + 1;
		if (i < length) {
			char escape[6] = { '\\', 'u', '0', '0', digits[c >> 4], digits[c & 15] };
			trowel_raw(w, escape, 6);
		}
	}
	trowel_raw(w, "\"", 1);
}

/* trowel_put writes a string of so many bytes, which must be UTF-8. */
static inline void trowel_put(trowel_writer *w, const char *text, size_t length)
{
	trowel_before(w);
	trowel_quote(w, text, length);
}

static inline void trowel_string(trowel_writer *w, const char *text) { trowel_put(w, text, trowel_length(text)); }

static inline void trowel_literal(trowel_writer *w, const char *json)
{
	trowel_before(w);
	trowel_raw(w, json, trowel_length(json));
}

static inline void trowel_bool(trowel_writer *w, bool value) { trowel_literal(w, value ? "true" : "false"); }

static inline void trowel_number(trowel_writer *w, int64_t value)
{
	char digits[24];
	size_t at = sizeof digits;
	uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	do
		digits[--at] = (char)('0' + rest % 10);
	while (rest /= 10);
	if (value < 0)
		digits[--at] = '-';
	trowel_before(w);
	trowel_raw(w, digits + at, sizeof digits - at);
}

/* trowel_bytes writes bytes as the contract wants them, in base64: the content of a file, say. */
static inline void trowel_bytes(trowel_writer *w, const void *bytes, size_t length)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *b = bytes;
	trowel_before(w);
	trowel_raw(w, "\"", 1);
	for (size_t i = 0; i < length; i += 3) {
		size_t n = length - i < 3 ? length - i : 3;
		uint32_t v = (uint32_t)b[i] << 16 | (n > 1 ? (uint32_t)b[i + 1] << 8 : 0) | (n > 2 ? b[i + 2] : 0);
		char four[4] = { digits[v >> 18], digits[v >> 12 & 63], n > 1 ? digits[v >> 6 & 63] : '=', n > 2 ? digits[v & 63] : '=' };
		trowel_raw(w, four, 4);
	}
	trowel_raw(w, "\"", 1);
}

static inline void trowel_key(trowel_writer *w, const char *key)
{
	trowel_string(w, key);
	trowel_raw(w, ":", 1);
	w->comma = false;
}

/* trowel_field writes a field of an object that is a string. */
static inline void trowel_field(trowel_writer *w, const char *key, const char *text)
{
	trowel_key(w, key);
	trowel_string(w, text);
}

/* trowel_fail makes the answer an error. Codes are "invalid", "not_mine", "unavailable" and so on: see package sdk. */
static inline void trowel_fail(trowel_writer *w, const char *code, const char *message)
{
	w->code = code;
	w->message = message;
}

/* trowel_concat joins strings; the last argument is NULL. */
static inline const char *trowel_concat(const char *first, ...)
{
	trowel_writer w = { 0 };
	__builtin_va_list arguments;
	__builtin_va_start(arguments, first);
	for (const char *s = first; s; s = __builtin_va_arg(arguments, const char *))
		trowel_raw(&w, s, trowel_length(s));
	__builtin_va_end(arguments);
	trowel_raw(&w, "", 1);
	return w.data;
}

/* Reading. */

typedef struct {
	char *at, *end;
	bool bad;
} trowel_reader;

enum { TROWEL_DEPTH = 64 };

static inline void trowel_space(trowel_reader *r)
{
	while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
		r->at++;
}

static inline bool trowel_take(trowel_reader *r, char c)
{
	trowel_space(r);
	if (r->at >= r->end || *r->at != c)
		return false;
	r->at++;
	return true;
}

static inline uint32_t trowel_hex4(trowel_reader *r)
{
	uint32_t v = 0;
	for (int i = 0; i < 4; i++) {
		char c = r->at < r->end ? *r->at++ : 0;
		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			v = v << 4 | (uint32_t)((c | 32) - 'a' + 10);
		else
			r->bad = true;
	}
	return v;
}

static inline char *trowel_utf8(char *to, uint32_t c)
{
	if (c < 0x80) {
		*to++ = (char)c;
		return to;
	}
	if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
	} else {
		if (c < 0x10000) {
			*to++ = (char)(0xe0 | c >> 12);
		} else {
			*to++ = (char)(0xf0 | c >> 18);
			*to++ = (char)(0x80 | (c >> 12 & 63));
		}
		*to++ = (char)(0x80 | (c >> 6 & 63));
	}
	*to++ = (char)(0x80 | (c & 63));
	return to;
}

static inline char *trowel_unescape(trowel_reader *r, char *to)
{
	char c = r->at < r->end ? *r->at++ : 0;
	switch (c) {
	case '"': case '\\': case '/': *to++ = c; return to;
	case 'b': *to++ = '\b'; return to;
	case 'f': *to++ = '\f'; return to;
	case 'n': *to++ = '\n'; return to;
	case 'r': *to++ = '\r'; return to;
	case 't': *to++ = '\t'; return to;
	case 'u': break;
	default: r->bad = true; return to;
	}
	uint32_t v = trowel_hex4(r);
	if (v >= 0xd800 && v < 0xdc00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
		char *before = r->at;
		r->at += 2;
		uint32_t low = trowel_hex4(r);
		if (low >= 0xdc00 && low < 0xe000)
			return trowel_utf8(to, 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00));
		r->at = before;
	}
	return trowel_utf8(to, v >= 0xd800 && v < 0xe000 ? 0xfffd : v);
}

/* trowel_text reads a string whose opening quote was taken, and leaves it where it is: it becomes no longer than it was, and
 * its NUL takes the place of the closing quote. */
static inline const char *trowel_text(trowel_reader *r, size_t *length)
{
	char *end = r->at;
	while (end < r->end && *end != '"')
		end += *end == '\\' ? 2 : 1;
	if (end >= r->end) {
		r->bad = true;
		return "";
	}
	char *text = r->at, *to = text;
	while (r->at < end && !r->bad) {
		char c = *r->at++;
		if (c == '\\')
			to = trowel_unescape(r, to);
		else
			*to++ = c;
	}
	r->at = end + 1;
	*to = 0;
	*length = (size_t)(to - text);
	return text;
}

static inline trowel_value *trowel_read_value(trowel_reader *r, int depth);

static inline void trowel_read_members(trowel_reader *r, trowel_value *v, char close, int depth)
{
	trowel_value **last = &v->child;
	if (trowel_take(r, close))
		return;
	do {
		const char *key = NULL;
		size_t length;
		if (close == '}') {
			if (!trowel_take(r, '"')) {
				r->bad = true;
				return;
			}
			key = trowel_text(r, &length);
			if (!trowel_take(r, ':'))
				r->bad = true;
		}
		trowel_value *member = trowel_read_value(r, depth + 1);
		member->key = key;
		*last = member;
		last = &member->next;
	} while (!r->bad && trowel_take(r, ','));
	if (!trowel_take(r, close))
		r->bad = true;
}

static inline bool trowel_word(trowel_reader *r, const char *word)
{
	char *at = r->at;
	for (; *word; word++, at++)
		if (at >= r->end || *at != *word)
			return false;
	r->at = at;
	return true;
}

static inline void trowel_read_number(trowel_reader *r, trowel_value *v)
{
	v->type = TROWEL_NUMBER;
	bool negative = trowel_take(r, '-');
	const char *from = r->at;
	uint64_t n = 0;
	while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
		n = n * 10 + (uint64_t)(*r->at++ - '0');
	if (r->at == from)
		r->bad = true;
	while (r->at < r->end && (*r->at == '.' || *r->at == '+' || *r->at == '-' || (*r->at | 32) == 'e' || (*r->at >= '0' && *r->at <= '9')))
		r->at++;
	v->number = negative ? (int64_t)(0 - n) : (int64_t)n;
}

static inline trowel_value *trowel_read_value(trowel_reader *r, int depth)
{
	trowel_value *v = trowel_alloc(sizeof *v);
	*v = (trowel_value){ 0 };
	v->text = "";
	if (depth > TROWEL_DEPTH)
		r->bad = true;
	if (r->bad)
		return v;
	if (trowel_take(r, '{')) {
		v->type = TROWEL_OBJECT;
		trowel_read_members(r, v, '}', depth);
	} else if (trowel_take(r, '[')) {
		v->type = TROWEL_LIST;
		trowel_read_members(r, v, ']', depth);
	} else if (trowel_take(r, '"')) {
		v->type = TROWEL_STRING;
		v->text = trowel_text(r, &v->length);
	} else if (trowel_word(r, "true")) {
		v->type = TROWEL_BOOL;
		v->boolean = true;
	} else if (trowel_word(r, "false")) {
		v->type = TROWEL_BOOL;
	} else if (!trowel_word(r, "null")) {
		trowel_read_number(r, v);
	}
	return v;
}

/* trowel_read reads JSON, or returns NULL if it is none. The strings of the value are where they were in it. */
static inline trowel_value *trowel_read(char *json, size_t length)
{
	trowel_reader r = { json, json + length, false };
	trowel_value *v = trowel_read_value(&r, 0);
	trowel_space(&r);
	return r.bad || r.at != r.end ? NULL : v;
}

/* trowel_get is a field of an object, or a null value. Objects may be NULL. */
static inline const trowel_value *trowel_get(const trowel_value *object, const char *key)
{
	static const trowel_value none = { .text = "" };
	for (const trowel_value *v = object ? object->child : NULL; v; v = v->next)
		if (v->key && trowel_equal(v->key, key))
			return v;
	return &none;
}

/* trowel_text_of is a field that is a string, or "". */
static inline const char *trowel_text_of(const trowel_value *object, const char *key) { return trowel_get(object, key)->text; }

/* trowel_at is an element of a list, or NULL. */
static inline const trowel_value *trowel_at(const trowel_value *list, size_t index)
{
	const trowel_value *v = list->child;
	while (v && index--)
		v = v->next;
	return v;
}

/* trowel_flag is the last value of a flag of an instruction, or "". */
static inline const char *trowel_flag(const trowel_value *call, const char *name)
{
	const char *value = "";
	for (const trowel_value *f = trowel_get(call, "flags")->child; f; f = f->next)
		if (trowel_equal(trowel_text_of(f, "name"), name))
			value = trowel_text_of(f, "value");
	return value;
}

/* trowel_unbase64 turns base64 into bytes, with a NUL after them; NULL if it is none. */
static inline const char *trowel_unbase64(const trowel_value *v, size_t *length)
{
	unsigned char *bytes = trowel_alloc(v->length / 4 * 3 + 4), *to = bytes;
	uint32_t bits = 0;
	int have = 0;
	for (size_t i = 0; i < v->length && v->text[i] != '='; i++) {
		char c = v->text[i];
		uint32_t d = c >= 'A' && c <= 'Z' ? (uint32_t)(c - 'A') : c >= 'a' && c <= 'z' ? (uint32_t)(c - 'a' + 26)
			: c >= '0' && c <= '9' ? (uint32_t)(c - '0' + 52) : c == '+' ? 62 : c == '/' ? 63 : 64;
		if (d == 64)
			return NULL;
		bits = bits << 6 | d;
		have += 6;
		if (have >= 8) {
			have -= 8;
			*to++ = (unsigned char)(bits >> have);
		}
	}
	*to = 0;
	*length = (size_t)(to - bytes);
	return (const char *)bytes;
}

/* Asking the host. */

/* trowel_log shows a message to the user. */
static inline void trowel_log(uint32_t level, const char *text) { trowel_v1_log(level, text, (uint32_t)trowel_length(text)); }

/* trowel_host performs an operation. It returns the answer, or NULL after making the failure that of out. */
static inline const trowel_value *trowel_host(uint32_t op, const trowel_writer *request, trowel_writer *out)
{
	int32_t n = trowel_v1_host(op, request->data, (uint32_t)request->length);
	if (n < 0) {
		trowel_fail(out, "internal", "the host refused the request");
		return NULL;
	}
	char *reply = trowel_alloc((size_t)n + 1);
	const trowel_value *envelope = trowel_v1_reply(reply, 0, (uint32_t)n) == n ? trowel_read(reply, (size_t)n) : NULL;
	const trowel_value *error = trowel_get(envelope, "error");
	if (error->type == TROWEL_OBJECT)
		trowel_fail(out, trowel_text_of(error, "code"), trowel_text_of(error, "message"));
	else if (!envelope)
		trowel_fail(out, "internal", "the host's answer is no JSON");
	else
		return trowel_get(envelope, "ok");
	return NULL;
}

/* trowel_read_file returns a file of "context" or "stage", or NULL after making the failure that of out. */
static inline const char *trowel_read_file(const char *root, const char *name, size_t *length, trowel_writer *out)
{
	trowel_writer request = { 0 };
	trowel_begin_object(&request);
	trowel_field(&request, "root", root);
	trowel_field(&request, "name", name);
	trowel_end_object(&request);
	const trowel_value *answer = trowel_host(TROWEL_READ_FILE, &request, out);
	return answer ? trowel_unbase64(trowel_get(answer, "content"), length) : NULL;
}

/* trowel_env returns an environment variable, "" if it is not set, or NULL after making the failure that of out. */
static inline const char *trowel_env(const char *name, trowel_writer *out)
{
	trowel_writer request = { 0 };
	trowel_begin_object(&request);
	trowel_key(&request, "names");
	trowel_begin_list(&request);
	trowel_string(&request, name);
	trowel_end_list(&request);
	trowel_end_object(&request);
	const trowel_value *answer = trowel_host(TROWEL_ENV, &request, out);
	if (!answer)
		return NULL;
	const trowel_value *first = trowel_get(answer, "variables")->child;
	return first ? trowel_text_of(first, "value") : "";
}

/* trowel_get_url makes a GET request and returns the response, whose fields are "status", "header" and "body" (base64). */
static inline const trowel_value *trowel_get_url(const char *url, trowel_writer *out)
{
	trowel_writer request = { 0 };
	trowel_begin_object(&request);
	trowel_key(&request, "requests");
	trowel_begin_list(&request);
	trowel_begin_object(&request);
	trowel_field(&request, "method", "GET");
	trowel_field(&request, "url", url);
	trowel_end_object(&request);
	trowel_end_list(&request);
	trowel_end_object(&request);
	const trowel_value *answer = trowel_host(TROWEL_HTTP, &request, out);
	const trowel_value *response = answer ? trowel_get(answer, "responses")->child : NULL;
	const trowel_value *error = trowel_get(response, "error");
	if (error->type == TROWEL_OBJECT) {
		trowel_fail(out, trowel_text_of(error, "code"), trowel_text_of(error, "message"));
		return NULL;
	}
	return response;
}

/* A cache of objects. Package sdk/objects does the same for Go, with the same names of objects, and with retries. */

enum { TROWEL_MAX_RECORD = 1 << 20, TROWEL_MAX_REQUESTS = 256, TROWEL_MAX_BATCH = 8 << 20 };

/* trowel_object is an object that is asked for, and what was answered. */
typedef struct {
	const char *name;          /* NULL where the key or the digest is none */
	const trowel_value *item;  /* what the operation names it by */
	const trowel_value *body;  /* of a PUT, in base64 */
	const trowel_value *answer;
} trowel_object;

/* trowel_record_name is the object of a record, with '_' for '/' and '~' for ':', so that no key is a directory of another. */
static inline const char *trowel_record_name(const trowel_value *key)
{
	char *name = trowel_alloc(8 + key->length + 1);
	__builtin_memcpy(name, "records/", 8);
	for (size_t i = 0; i < key->length; i++) {
		char c = key->text[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '/' || c == ':'))
			return NULL;
		name[8 + i] = c == '/' ? '_' : c == ':' ? '~' : c;
	}
	name[8 + key->length] = 0;
	return key->length > 0 && key->length <= 200 ? name : NULL;
}

/* trowel_blob_name is the object of a blob. */
static inline const char *trowel_blob_name(const trowel_value *digest)
{
	static const char method[] = "sha256:";
	if (digest->length != 71)
		return NULL;
	for (size_t i = 0; i < 71; i++) {
		char c = digest->text[i];
		if (i < 7 ? c != method[i] : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return NULL;
	}
	return trowel_concat("blobs/sha256/", digest->text + 7, NULL);
}

/* trowel_refuse makes the failure that of out: what is wrong with something. */
static inline void trowel_refuse(trowel_writer *out, const char *code, const trowel_value *item, const char *wrong)
{
	trowel_fail(out, code, trowel_concat("\"", item->length > 100 ? "…" : item->text, "\": ", wrong, NULL));
}

static inline void trowel_write_request(trowel_writer *w, const char *method, const trowel_object *o)
{
	trowel_begin_object(w);
	trowel_field(w, "method", method);
	trowel_this.object(method, o->name, w);
	if (o->body) {
		trowel_key(w, "body");
		trowel_put(w, o->body->text, o->body->length);
	}
	if (trowel_equal(method, "GET")) {
		trowel_key(w, "maxBytes");
		trowel_number(w, TROWEL_MAX_RECORD);
	}
	trowel_key(w, "wantHeader");
	trowel_literal(w, "[\"Content-Length\"]");
	trowel_end_object(w);
}

/* trowel_send makes a request for each object, in halves where all the answers are too much for one message. */
static inline bool trowel_send(const char *method, trowel_object *objects, size_t n, trowel_writer *out)
{
	trowel_writer request = { 0 };
	trowel_begin_object(&request);
	trowel_key(&request, "requests");
	trowel_begin_list(&request);
	for (size_t i = 0; i < n; i++)
		trowel_write_request(&request, method, &objects[i]);
	trowel_end_list(&request);
	trowel_end_object(&request);
	if (request.code) {
		trowel_fail(out, request.code, request.message);
		return false;
	}
	trowel_writer failure = { 0 };
	const trowel_value *answer = trowel_host(TROWEL_HTTP, &request, &failure);
	if (!answer && n > 1 && trowel_equal(failure.code, "limit"))
		return trowel_send(method, objects, n / 2, out) && trowel_send(method, objects + n / 2, n - n / 2, out);
	if (!answer) {
		trowel_fail(out, failure.code, failure.message);
		return false;
	}
	answer = trowel_get(answer, "responses")->child;
	for (size_t i = 0; i < n; i++, answer = answer ? answer->next : NULL)
		objects[i].answer = answer;
	return true;
}

/* trowel_ask makes the requests of all objects, as many at once as fit in a message. */
static inline bool trowel_ask(const char *method, trowel_object *objects, size_t n, trowel_writer *out)
{
	for (size_t from = 0, to; from < n; from = to) {
		size_t bytes = 0;
		for (to = from; to < n && to - from < TROWEL_MAX_REQUESTS; to++) {
			bytes += objects[to].body ? objects[to].body->length : 0;
			if (to > from && bytes > TROWEL_MAX_BATCH)
				break;
		}
		if (!trowel_send(method, objects + from, to - from, out))
			return false;
	}
	return true;
}

/* trowel_there says whether the object is there; 404 alone means that it is not. Whatever else is unexpected is a failure,
 * which must not pass for a miss. */
static inline bool trowel_there(const trowel_object *o, trowel_writer *out)
{
	const trowel_value *error = trowel_get(o->answer, "error");
	int64_t status = trowel_get(o->answer, "status")->number;
	if (error->type == TROWEL_OBJECT)
		trowel_refuse(out, trowel_text_of(error, "code"), o->item, trowel_text_of(error, "message"));
	else if (status == 401 || status == 403)
		trowel_refuse(out, "unauthorized", o->item, "the server refused");
	else if (status == 408 || status == 425 || status == 429 || status >= 500)
		trowel_refuse(out, "unavailable", o->item, "the server failed");
	else if (status != 404 && (status < 200 || status > 299))
		trowel_refuse(out, "internal", o->item, "the server gave an answer that is none");
	return !out->code && status != 404;
}

/* trowel_each names the elements of a list, and returns how many have a name. */
static inline size_t trowel_each(const trowel_value *list, const char *(*name)(const trowel_value *), trowel_object **objects)
{
	size_t n = 0;
	for (const trowel_value *v = list->child; v; v = v->next)
		n++;
	*objects = trowel_alloc(n * sizeof **objects);
	n = 0;
	for (const trowel_value *v = list->child; v; v = v->next) {
		const char *named = name(v);
		if (named)
			(*objects)[n++] = (trowel_object){ .name = named, .item = v };
	}
	return n;
}

static inline void trowel_get_records(const trowel_value *request, trowel_writer *out)
{
	trowel_object *objects;
	size_t n = trowel_each(trowel_get(request, "keys"), trowel_record_name, &objects);
	if (!trowel_ask("GET", objects, n, out))
		return;
	trowel_begin_object(out);
	trowel_key(out, "records");
	trowel_begin_list(out);
	for (size_t i = 0; i < n && !out->code; i++) {
		if (trowel_equal(trowel_text_of(trowel_get(objects[i].answer, "error"), "code"), "limit")) {
			trowel_log(TROWEL_WARNING, trowel_concat(objects[i].item->text, " is larger than a record can be, and not believed", NULL));
			continue;
		}
		if (!trowel_there(&objects[i], out))
			continue;
		const trowel_value *body = trowel_get(objects[i].answer, "body");
		trowel_begin_object(out);
		trowel_field(out, "key", objects[i].item->text);
		trowel_key(out, "value");
		trowel_put(out, body->text, body->length);
		trowel_end_object(out);
	}
	trowel_end_list(out);
	trowel_end_object(out);
}

static inline void trowel_put_records(const trowel_value *request, trowel_writer *out)
{
	size_t n = 0;
	const trowel_value *records = trowel_get(request, "records");
	for (const trowel_value *r = records->child; r; r = r->next)
		n++;
	trowel_object *objects = trowel_alloc(n * sizeof *objects);
	n = 0;
	for (const trowel_value *r = records->child; r; r = r->next) {
		const trowel_value *key = trowel_get(r, "key"), *value = trowel_get(r, "value");
		const char *name = trowel_record_name(key);
		if (!name) {
			trowel_refuse(out, "invalid", key, "it is no key");
			return;
		}
		size_t padding = value->length ? (value->text[value->length - 1] == '=') + (value->text[value->length - 2] == '=') : 0;
		if (value->length / 4 * 3 - padding > TROWEL_MAX_RECORD) {
			trowel_refuse(out, "limit", key, "a record has 1 MiB at most");
			return;
		}
		size_t at = 0;
		while (at < n && !trowel_equal(objects[at].name, name))
			at++; /* of two under one key the later counts: requests have no order */
		objects[at] = (trowel_object){ .name = name, .item = key, .body = value };
		n += at == n;
	}
	if (!trowel_ask("PUT", objects, n, out))
		return;
	for (size_t i = 0; i < n && !out->code; i++)
		if (!trowel_there(&objects[i], out) && !out->code)
			trowel_refuse(out, "invalid", objects[i].item, "the server has no place for it: is the address right?");
	trowel_literal(out, "{}");
}

/* trowel_size is how long an object is that a HEAD was made for; -1 if it is not there, or after a failure. */
static inline int64_t trowel_size(const trowel_object *o, trowel_writer *out)
{
	if (!trowel_there(o, out))
		return -1;
	const trowel_value *header = trowel_get(o->answer, "header")->child; /* the one field that was wanted */
	const char *digits = header ? trowel_text_of(header, "value") : "";
	int64_t size = *digits ? 0 : -1;
	for (; *digits >= '0' && *digits <= '9' && size >= 0 && size < (int64_t)1 << 52; digits++)
		size = size * 10 + (*digits - '0');
	if (size < 0 || *digits) {
		trowel_refuse(out, "internal", o->item, "the server does not say how long it is");
		return -1;
	}
	return size;
}

static inline void trowel_stat_blobs(const trowel_value *request, trowel_writer *out)
{
	trowel_object *objects;
	size_t n = trowel_each(trowel_get(request, "digests"), trowel_blob_name, &objects);
	if (!trowel_ask("HEAD", objects, n, out))
		return;
	trowel_begin_object(out);
	trowel_key(out, "blobs");
	trowel_begin_list(out);
	for (size_t i = 0; i < n && !out->code; i++) {
		int64_t size = trowel_size(&objects[i], out);
		if (size < 0)
			continue;
		trowel_begin_object(out);
		trowel_field(out, "digest", objects[i].item->text);
		trowel_key(out, "size");
		trowel_number(out, size);
		trowel_end_object(out);
	}
	trowel_end_list(out);
	trowel_end_object(out);
}

/* trowel_transfer writes how the host moves a blob: by one request. */
static inline void trowel_transfer(const char *method, const trowel_object *o, bool ranges, trowel_writer *out)
{
	trowel_begin_object(out);
	trowel_key(out, "transfer");
	trowel_begin_object(out);
	trowel_key(out, "parts");
	trowel_begin_list(out);
	trowel_begin_object(out);
	trowel_field(out, "method", method);
	trowel_this.object(method, o->name, out);
	trowel_end_object(out);
	trowel_end_list(out);
	trowel_key(out, "ranges");
	trowel_bool(out, ranges);
	trowel_end_object(out);
	trowel_end_object(out);
}

/* trowel_blob plans a download or an upload. The upload of a small blob is not preceded by a question, which would take as long;
 * that of one which is there has no parts. */
static inline void trowel_blob(uint32_t op, const trowel_value *request, trowel_writer *out)
{
	bool get = op == TROWEL_GET_BLOB;
	const trowel_value *blob = trowel_get(request, "blob");
	trowel_object o = { .item = trowel_get(get ? request : blob, "digest") };
	int64_t wanted = trowel_get(blob, "size")->number;
	o.name = trowel_blob_name(o.item);
	if (!o.name || wanted < 0) {
		trowel_refuse(out, "invalid", o.item, "it is no blob");
		return;
	}
	if (get || wanted > 1 << 20) {
		if (!trowel_ask("HEAD", &o, 1, out))
			return;
		int64_t size = trowel_size(&o, out);
		if (get && size < 0 && !out->code)
			trowel_fail(out, "not_found", "not found");
		if (out->code)
			return;
		if (!get && size == wanted) {
			trowel_literal(out, "{\"transfer\":{}}");
			return;
		}
	}
	trowel_transfer(get ? "GET" : "PUT", &o, get, out);
}

/* trowel_objects performs an operation of a cache by what .object says. */
static inline void trowel_objects(uint32_t op, const trowel_value *request, trowel_writer *out)
{
	switch (op) {
	case TROWEL_GET_RECORDS: trowel_get_records(request, out); return;
	case TROWEL_PUT_RECORDS: trowel_put_records(request, out); return;
	case TROWEL_STAT_BLOBS: trowel_stat_blobs(request, out); return;
	case TROWEL_GET_BLOB: case TROWEL_PLAN_PUT: trowel_blob(op, request, out); return;
	case TROWEL_FINISH_PUT: trowel_literal(out, "{}"); return; /* the server shows an object when it has all of it */
	}
	trowel_fail(out, "unsupported", "the plugin does not have this operation");
}

/* The three exports. */

TROWEL_EXPORT("trowel_abi_1") void trowel_abi_1(void) {}

static inline void trowel_hello(const trowel_value *request, trowel_writer *out)
{
	const trowel_value *config = trowel_get(request, "config");
	if (trowel_this.configure)
		trowel_this.configure(config, out);
	trowel_free_kept = trowel_free_from;
	trowel_begin_object(out);
	trowel_field(out, "name", trowel_this.name);
	trowel_field(out, "version", trowel_this.version);
	trowel_field(out, "sdk", "c 1");
	trowel_key(out, "kinds");
	trowel_begin_list(out);
	if (trowel_this.plan)
		trowel_string(out, "instruction");
	if (trowel_this.credential)
		trowel_string(out, "credential");
	if (trowel_this.object || trowel_this.cache)
		trowel_string(out, "cache");
	trowel_end_list(out);
	if (trowel_this.object || trowel_this.cache) {
		trowel_key(out, "features");
		trowel_begin_list(out);
		trowel_string(out, trowel_this.feature ? trowel_this.feature : "upload-planner");
		trowel_end_list(out);
	}
	trowel_end_object(out);
}

static inline void trowel_answer(uint32_t op, const trowel_value *request, trowel_writer *out)
{
	if (op == 1) {
		trowel_hello(request, out);
	} else if (op >= TROWEL_GET_RECORDS && op <= TROWEL_FINISH_PUT && trowel_this.cache) {
		trowel_this.cache(op, request, out);
	} else if (op >= TROWEL_GET_RECORDS && op <= TROWEL_FINISH_PUT && trowel_this.object) {
		trowel_objects(op, request, out);
	} else if (op == 20 && trowel_this.credential) {
		trowel_this.credential(request, out);
	} else if (op == 30 && trowel_this.describe) {
		trowel_begin_object(out);
		trowel_key(out, "instructions");
		trowel_this.describe(out);
		trowel_end_object(out);
	} else if (op == 31 && trowel_this.plan) {
		trowel_this.plan(request, out);
	} else {
		trowel_fail(out, "unsupported", "the plugin does not have this operation");
	}
}

TROWEL_EXPORT("trowel_call") int32_t trowel_call(uint32_t op, uint32_t length)
{
	trowel_free_from = trowel_free_kept;
	char *input = trowel_alloc(length + 1);
	if (trowel_v1_input(input, 0, length) != (int32_t)length)
		return -5;
	trowel_writer out = { 0 };
	trowel_raw(&out, "{\"ok\":", 6);
	const trowel_value *request = trowel_read(input, length);
	if (request)
		trowel_answer(op, request, &out);
	else
		trowel_fail(&out, "invalid", "the request is no JSON");
	if (out.code) {
		trowel_writer failure = { 0 };
		trowel_begin_object(&failure);
		trowel_key(&failure, "error");
		trowel_begin_object(&failure);
		trowel_field(&failure, "code", out.code);
		trowel_field(&failure, "message", out.message);
		trowel_end_object(&failure);
		out = failure;
	}
	trowel_raw(&out, "}", 1);
	return trowel_v1_output(out.data, (uint32_t)out.length);
}

#endif
