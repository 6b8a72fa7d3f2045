/*
 * The plug-in that is tried, and calls of it as a Triton makes them, on any thread. Every call gets an entry and an
 * allocator of its own.
 */
#ifndef HIPPOCAMP_TOOLS_CONFORMANCE_SUBJECT_H
#define HIPPOCAMP_TOOLS_CONFORMANCE_SUBJECT_H

#include "base/buf.h"
#include "caches/triton/host.h"

struct subject {
	struct host_plugin plugin;
	TRITONCACHE_Cache *cache;
	char prefix[12]; /* of all keys but the empty one: a cache may remember those of another run */
};

/* {"key":"value",…}, terminated, as Triton makes it of what the command line says. False where it is not KEY=VALUE. */
bool configuration_of(struct buf *json, char **arguments, int count);

/* NULL, or what went wrong, valid until the next call on this thread. */
const char *subject_load(struct subject *subject, const char *path);
const char *subject_initialize(struct subject *subject, const char *json);
const char *subject_finalize(struct subject *subject);

enum found {
	FOUND_NOTHING, /* an error, as it should be */
	FOUND,
	FOUND_UNCOPIED, /* success without a copy, which Triton takes for an answer without outputs */
	FOUND_BROKEN,	/* success although the copy failed, or with other than one buffer */
};

/* `out` takes what was found. */
enum found subject_look_up(const struct subject *subject, const char *key, struct buf *out);

/* The same with a host whose copy fails. */
enum found subject_look_up_in_vain(const struct subject *subject, const char *key);

/* Did it say that it was stored? NULL `response`: the host's copy fails, with a buffer of `size`. */
bool subject_insert(const struct subject *subject, const char *key, struct bytes response);
bool subject_insert_in_vain(const struct subject *subject, const char *key, size_t size);
/* With another number of buffers than Triton gives. */
void subject_insert_buffers(const struct subject *subject, const char *key, size_t buffers);

/*
 * A response as Triton packs it, with one output of `size` bytes that follow from `seed`; and whether what was found is
 * that one.
 */
void response_make(struct buf *out, size_t size, uint32_t seed);
bool response_is(const struct buf *found, size_t size, uint32_t seed);

#endif
