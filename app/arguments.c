#include "app/arguments.h"

#include <getopt.h>
#include <string.h>

/* For getopt_long: what the table says. */
static void
convert(struct argument_table table, struct option *longs, char *shorts)
{
	*shorts++ = ':'; /* tells a missing value from an unknown option */
	for (size_t i = 0; i < table.count; i++) {
		const struct argument_option *option = &table.options[i];

		longs[i] = (struct option){option->name, option->value != NULL, NULL, option->code};
		if (option->code < 256) {
			*shorts++ = (char)option->code;
			if (option->value != NULL) {
				*shorts++ = ':';
			}
		}
	}
	*shorts = '\0';
	longs[table.count] = (struct option){0};
}

static enum status
not_taken(const char *argument, bool lacks_value, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, lacks_value ? "'%s' needs a value" : "unknown argument '%s'",
			 argument);
}

enum status
arguments_read(struct argument_table table, int count, char **arguments, argument_fn take, void *context,
	       struct error *error)
{
	struct option longs[ARGUMENTS_MAX + 1];
	char shorts[2 * ARGUMENTS_MAX + 2];
	char **all = arguments - 1; /* getopt passes over the first one, the command's name */
	int code;

	convert(table, longs, shorts);
	opterr = 0;
	optind = 0; /* begins anew */
	while ((code = getopt_long(count + 1, all, shorts, longs, NULL)) != -1) {
		if (code == '?' || code == ':') {
			return not_taken(all[optind - 1], code == ':', error);
		}
		if (take(context, code, optarg, error) != STATUS_OK) {
			return error->status;
		}
	}
	for (int i = optind; i <= count; i++) { /* getopt has moved them behind the options */
		if (!table.takes_words) {
			return not_taken(all[i], false, error);
		}
		if (take(context, ARGUMENT_WORD, all[i], error) != STATUS_OK) {
			return error->status;
		}
	}
	return STATUS_OK;
}

void
arguments_help(struct argument_table table, struct buf *out)
{
	for (size_t i = 0; i < table.count; i++) {
		const struct argument_option *option = &table.options[i];

		if (option->help == NULL) {
			continue;
		}
		buf_text(out, "  ");
		if (option->code < 256) {
			buf_format(out, "-%c, ", option->code);
		}
		buf_format(out, "--%s%s%s\n      %s\n", option->name, option->value == NULL ? "" : "=",
			   option->value == NULL ? "" : option->value, option->help);
	}
}
