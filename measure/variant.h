/*
 * The servers that are compared: the same model with different caches, each a process of its own on 127.0.0.1.
 */
#ifndef HIPPOCAMP_MEASURE_VARIANT_H
#define HIPPOCAMP_MEASURE_VARIANT_H

#include "measure/process.h"
#include "measure/target.h"
#include "measure/workspace.h"

enum variant_kind {
	VARIANT_NONE,  /* this program without a cache */
	VARIANT_LOCAL, /* its local cache */
	VARIANT_REDIS,
	VARIANT_TRITON_NONE, /* the real Triton without a cache */
	VARIANT_TRITON_LOCAL,
};
#define VARIANTS 5

struct variant_options {
	const char *model;
	enum measure_protocol protocol;
	const char *const *caches; /* "redis,KEY=VALUE" or "local,KEY=VALUE", for the variant of that name */
	size_t cache_count;
	const char *redis_server; /* the program that is started unless `caches` tells of Redis */
	const char *triton;	  /* the program */
	const bool *stopped;	  /* ends the waiting */
};

struct variant {
	enum variant_kind kind;
	struct target target; /* the model */
	struct target probe;  /* see workspace.h; not Triton's */
	char *url;

	/* Internal. */
	struct process *process; /* the server */
	struct process *redis;
	uint16_t ports[4]; /* HTTP, gRPC, metrics, Redis */
};

const char *variant_name(enum variant_kind kind);

/*
 * Starts the server and waits until the model is ready. On failure the message has the server's last words, and
 * variant_stop is to be called as well.
 */
enum status variant_start(struct variant *variant, enum variant_kind kind, const struct workspace *workspace,
			  const struct variant_options *options, struct loop *loop, struct error *error);
void variant_stop(struct variant *variant);

/* Can there be such a variant on this machine? If not, the message says what is missing. */
bool variant_is_possible(enum variant_kind kind, const struct variant_options *options, struct error *error);

#endif
