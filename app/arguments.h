/* Options in the forms of getopt_long: -m NAME, --model-name NAME, --model-name=NAME. */
#ifndef HIPPOCAMP_APP_ARGUMENTS_H
#define HIPPOCAMP_APP_ARGUMENTS_H

#include "base/buf.h"
#include "base/status.h"

#define ARGUMENTS_MAX 64 /* options of one table */

struct argument_option {
	const char *name;  /* the long form */
	int code;	   /* the short form's letter, or 256 and more for none */
	const char *value; /* what the help calls it; NULL: the option has none */
	const char *help;  /* NULL: the option is taken for the sake of scripts, and not shown */
};

struct argument_table {
	const struct argument_option *options;
	size_t count;
	bool takes_words; /* arguments that are no options: `take` gets them with the code ARGUMENT_WORD */
};

#define ARGUMENT_WORD 0

/* Calls `take` for each option, with its value or NULL. Fails, as `take` may, with a text that names the argument. */
typedef enum status (*argument_fn)(void *context, int code, const char *value, struct error *error);
enum status arguments_read(struct argument_table table, int count, char **arguments, argument_fn take, void *context,
			   struct error *error);

void arguments_help(struct argument_table table, struct buf *out);

#endif
