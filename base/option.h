/*
 * Option tables. A module with options declares one table: each option's name, kind, default, bounds, help, and offset
 * in the module's settings struct. The table serves to set defaults, parse `name=value`, print help, and suggest the
 * nearest name for an unknown one.
 */
#ifndef HIPPOCAMP_BASE_OPTION_H
#define HIPPOCAMP_BASE_OPTION_H

#include "base/buf.h"
#include "base/status.h"

enum option_kind {
	OPTION_TEXT,	/* char *, owned by the settings, NULL where unset */
	OPTION_BOOLEAN, /* bool: true, false, 1, 0 */
	OPTION_INTEGER, /* int64_t within minimum..maximum; also 90s, 15m, 1h, 7d if `unit` is "s" or "ms" */
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
	const char *word;	    /* a word accepted in place of a number (OPTION_INTEGER); sets 0; may be NULL */
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

/* Frees the texts; wipes secret ones. */
void option_fini(struct option_table table, void *settings);

const struct option *option_find(struct option_table table, struct bytes name);

/* Sets one option. On failure the message names the option, the value and the allowed values. */
enum status option_set(const struct option *option, void *settings, const char *value, struct error *error);

/* Returns the one of `names` with the smallest edit distance from `name`, or NULL if none is near. */
const char *option_nearest(const char *const *names, size_t count, struct bytes name);

/*
 * Fills `error` for a key that no table has. The message says that `who` ("cache 'local'") has no such option, suggests
 * the nearest one, and lists them all.
 */
enum status option_unknown(const char *who, const struct option_table *tables, size_t count, const char *key,
			   struct error *error);

/* Parses "64MB" and the like. Returns false if `text` is no size or overflows. */
bool option_parse_size(const char *text, int64_t *bytes);

#endif
