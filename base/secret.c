#include "base/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static enum status
take(const char *name, const char *text, struct secret *secret, struct error *error)
{
	size_t length = strlen(text);

	if (length == 0 || length > sizeof(secret->text)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 length == 0 ? "%s is empty: give a secret, or none at all"
					     : "%s is longer than 4096 bytes",
				 name);
	}
	memcpy(secret->text, text, length);
	secret->length = length;
	return STATUS_OK;
}

static enum status
read_file(const char *path, struct secret *secret, struct error *error)
{
	FILE *file = fopen(path, "re");
	bool broken;
	bool whole;

	if (file == NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "cannot read key_secret_file '%s': %s", path,
				 strerror(errno));
	}
	secret->length = fread(secret->text, 1, sizeof(secret->text), file);
	broken = ferror(file) != 0;
	whole = !broken && fgetc(file) == EOF;
	(void)fclose(file);
	while (secret->length > 0 && strchr("\r\n", secret->text[secret->length - 1]) != NULL &&
	       secret->text[secret->length - 1] != '\0') {
		secret->length--;
	}
	if (!whole || secret->length == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "key_secret_file '%s' %s", path,
				 broken	 ? "cannot be read: is it a file?"
				 : whole ? "is empty"
					 : "is longer than 4096 bytes");
	}
	return STATUS_OK;
}

enum status
secret_find(const char *text, const char *file, struct secret *secret, struct error *error)
{
	const char *environment = getenv(SECRET_ENVIRONMENT);

	secret->length = 0;
	if (text != NULL) {
		return take("key_secret", text, secret, error);
	}
	if (file != NULL) {
		return read_file(file, secret, error);
	}
	return environment == NULL ? STATUS_OK : take(SECRET_ENVIRONMENT, environment, secret, error);
}

void
secret_forget(struct secret *secret)
{
	explicit_bzero(secret, sizeof(*secret));
}
