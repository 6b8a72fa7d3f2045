/*
 * The JSON bodies of administrative requests: repository index, model load and unload, cache purge, log settings.
 */
#ifndef HIPPOCAMP_WIRE_ADMIN_BODY_H
#define HIPPOCAMP_WIRE_ADMIN_BODY_H

#include "base/arena.h"
#include "base/log.h"
#include "base/status.h"

/* {"ready": bool}; an empty body means false. */
enum status index_body_decode(struct bytes text, bool *ready_only, struct error *error);

struct load_body_file {
	struct bytes path;
	struct bytes content;
};

struct load_body {
	bool has_config;
	struct bytes config;
	struct load_body_file *files;
	size_t file_count;
};

/* {"parameters": {"config": "<json>", "file:<path>": "<base64>"}}; an empty body has neither. Copies into the arena.
 */
enum status load_body_decode(struct bytes text, struct arena *arena, struct load_body *body, struct error *error);

/* {"parameters": {"unload_dependents": bool}}; an empty body means false. */
enum status unload_body_decode(struct bytes text, bool *unload_dependents, struct error *error);

/*
 * {"model": "<name>", "version": "<digits>"}; both members are optional, but a version requires a model. An empty body
 * means {}. Unknown members are errors, since a mistyped one would purge too much. Copies into the arena.
 */
struct purge_body {
	struct bytes model;
	struct bytes version;
};

enum status purge_body_decode(struct bytes text, struct arena *arena, struct purge_body *body, struct error *error);

/* Changes those of `settings` that the body names; ignores unknown members. */
enum status log_body_decode(struct bytes text, struct log_settings *settings, struct error *error);

#endif
