#include "wire/parameter_json.h"

#include <stdio.h>
#include <string.h>

/* Always with a fraction or an exponent: the server may treat an integer otherwise. */
static void
write_double(struct buf *json, double number)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%.17g", number);
	buf_text(json, text);
	if (strpbrk(text, ".e") == NULL) {
		buf_text(json, ".0");
	}
}

void
parameter_json_put(struct buf *json, const struct parameter *parameter)
{
	buf_json_string(json, parameter->name);
	buf_byte(json, ':');
	switch (parameter->kind) {
	case PARAMETER_BOOLEAN:
		buf_text(json, parameter->boolean ? "true" : "false");
		break;
	case PARAMETER_SIGNED:
		buf_signed(json, parameter->signed_number);
		break;
	case PARAMETER_UNSIGNED:
		buf_unsigned(json, parameter->unsigned_number);
		break;
	case PARAMETER_DOUBLE:
		write_double(json, parameter->number);
		break;
	case PARAMETER_TEXT:
		buf_json_string(json, parameter->text);
		break;
	}
}
