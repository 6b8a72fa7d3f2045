/*
 * Option tables. A room that can be configured declares one table: name, kind, default, bounds, help, and where in its
 * settings struct the value goes. The same table sets defaults, reads `name=value`, prints help and names the nearest
 * option when a name is wrong.
 */
#ifndef HIPPOCAMP_BASE_OPTION_H
#define HIPPOCAMP_BASE_OPTION_H

#include "base/buf.h"
#include "base/status.h"

enum option_kind {
	OPTION_TEXT,	/* char *, owned by the settings, NULL where unset */
	OPTION_BOOLEAN, /* bool: true, false, 1, 0 */
	OPTION_INTEGER, /* int64_t within minimum..maximum; where `unit` is "s" or "ms", 90s, 15m, 1h, 7d, too */
	OPTION_SIZE,	/* int64_t bytes: 1048576, 64MB (10^6), 1GiB (2^30), 512K (2^10) */
	OPTION_CHOICE,	/* int: index into `choices` */
	OPTION_NUMBER,	/* double within minimum..maximum */
};

struct option {
	const char *name;
	enum option_kind kind;
	size_t offset; /* offsetof(struct settings, field) */
	const char *preset;
	int64_t minimum;
	int64_t maximum;
	const char *word;	    /* for OPTION_INTEGER: may be said in place of a number, and sets 0; may be NULL */
	const char *const *choices; /* NULL-terminated, for OPTION_CHOICE */
	const char *unit;	    /* for help: "ms", "bytes", "FILE"; may be NULL */
	bool secret;		    /* never shown */
	const char *help;
};

struct option_table {
	const struct option *options;
	size_t count;
};

/* Fills a zeroed settings struct with the presets. */
void option_presets(struct option_table table, void *settings);

/* Frees the texts. */
void option_fini(struct option_table table, void *settings);

const struct option *option_find(struct option_table table, struct bytes name);

/* Sets one option; the message on failure names the option, the value and what is allowed. */
enum status option_set(const struct option *option, void *settings, const char *value, struct error *error);

/* The name among `names` that is fewest edits away from `name`, or NULL if none is near enough to be meant. */
const char *option_nearest(const char *const *names, size_t count, struct bytes name);

/*
 * The error of a key that none of the tables has: `who` ("cache 'local'") has no such option; did you mean the nearest
 * one; and all that there are.
 */
enum status option_unknown(const char *who, const struct option_table *tables, size_t count, const char *key,
			   struct error *error);

/* Reads "64MB" and the like. False if it is no size or overflows. */
bool option_parse_size(const char *text, int64_t *bytes);

#endif
