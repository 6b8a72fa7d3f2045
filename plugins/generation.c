#include "plugins/generation.h"

#include "base/clock.h"
#include "base/file.h"
#include "plugins/triton.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FORMAT "2" /* of stored entries: plugins/entry.h */
#define TEXT_MAX ((size_t)1 << 20)
#define SHOWN_MAX 64
#define SCOPE_BYTES 4
#define KEY_DIGEST 16
#define SLOTS 4096
#define KEY_TEXT_MAX 128		    /* Triton's are decimal numbers of 64 bits */
#define FORGOTTEN_NS UINT64_C(600000000000) /* no request takes longer, as docs/triton.md says */

/* Misses, by the hash of their key; keys that share a slot are treated as one. */
struct slot {
	uint64_t generation; /* the oldest of these misses */
	uint64_t asked_ns;   /* the last miss in that generation */
	uint32_t requests;   /* misses that have no answer yet */
};

struct generation {
	char *name_space;
	uint8_t secret[GENERATION_SECRET];
	char *file; /* NULL: the generation never changes, and nothing below needs a lock */
	pthread_rwlock_t lock;
	uint64_t number;
	struct digest_value digest; /* of namespace, secret and generation */
	char scope[GENERATION_SCOPE_MAX];
	size_t scope_length;

	/* State of the file; only generation_refresh uses it. */
	uint64_t checksum;  /* of the text in use */
	uint64_t candidate; /* of the text that was read last, which may be half-written */
	bool complained;

	pthread_mutex_t mutex;
	struct slot *slots;
};

/* --- The generation --- */

/* The beginning of the text, in printable characters. */
static void
show(struct bytes text, char *shown)
{
	size_t length = 0;

	for (; length < text.length && length < SHOWN_MAX; length++) {
		int byte = text.at[length];
		bool plain = isalnum(byte) || (byte != '\0' && strchr("._-", byte) != NULL);

		shown[length] = (char)(plain ? byte : '_');
	}
	shown[length] = '\0';
}

/*
 * Makes the scope, triton[.<namespace>]:<FORMAT>:<fingerprint>, in the place of model:version:fingerprint: a generation
 * is one of all models. False, with nothing changed, where there is no memory.
 */
static bool
take_text(struct generation *generation, struct bytes text)
{
	struct bytes name_space = bytes_text(generation->name_space);
	char name[SHOWN_MAX + 1];
	char hex[2 * SCOPE_BYTES + 1];
	struct digest_value digest;
	struct buf all;
	bool good;

	show(name_space, name);
	buf_init(&all, 2 * TEXT_MAX);
	buf_format(&all, "hippocamp plug-in " FORMAT ":%zu:", name_space.length);
	buf_append(&all, name_space);
	buf_append(&all, bytes_make(generation->secret, sizeof(generation->secret)));
	buf_append(&all, text);
	good = buf_ok(&all) && digest_once(buf_bytes(&all), &digest);
	if (good) {
		generation->digest = digest;
		hex_text(bytes_make(digest.bytes, SCOPE_BYTES), hex);
		(void)snprintf(generation->scope, sizeof(generation->scope), "triton%s%s:" FORMAT ":%s",
			       *name == '\0' ? "" : ".", name, hex);
		generation->scope_length = strlen(generation->scope);
	}
	buf_fini(&all);
	return good;
}

/* --- The file --- */

static enum status
refuse_file(const char *path, const char *why, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "generation_file '%s' %s: it should hold a text, another one for each state of the models",
			 path, why);
}

/* Opens only a regular file: opening any other might block. */
static FILE *
open_file(const char *path, struct error *error)
{
	int fd = file_open_regular(path);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

	if (fd < 0 && (errno == EISDIR || errno == EINVAL)) {
		(void)refuse_file(path, "is not a file", error);
		return NULL;
	}
	if (file == NULL) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT, "cannot read generation_file '%s': %s", path,
				strerror(errno));
		if (fd >= 0) {
			(void)close(fd);
		}
		return NULL;
	}
	return file;
}

/* Reads the content into `text`, without white space at its end. */
static enum status
read_file(const char *path, struct buf *text, struct error *error)
{
	FILE *file = open_file(path, error);
	uint8_t *room;
	bool failed;

	if (file == NULL) {
		return error->status;
	}
	while ((room = buf_reserve(text, 4096)) != NULL) {
		size_t got = fread(room, 1, 4096, file);

		text->length += got;
		if (got == 0) {
			break;
		}
	}
	failed = ferror(file) != 0;
	(void)fclose(file);
	while (text->length > 0 && isspace(text->at[text->length - 1])) {
		text->length--;
	}
	if (failed || !buf_ok(text)) {
		return refuse_file(path, failed ? "cannot be read to its end" : "is longer than 1 MB", error);
	}
	return text->length == 0 ? refuse_file(path, "is empty", error) : STATUS_OK;
}

static void
complain(struct generation *generation, const struct error *error)
{
	char line[ERROR_TEXT_SIZE + 100];

	if (!generation->complained) {
		(void)snprintf(line, sizeof(line), "cache: %s; the generation stays as it was", error->text);
		triton_log(LOG_WARNING, line);
	}
	generation->complained = true;
}

static void
change(struct generation *generation, struct bytes text)
{
	char shown[SHOWN_MAX + 1];
	char line[SHOWN_MAX + GENERATION_SCOPE_MAX + 64];
	bool taken;

	(void)pthread_rwlock_wrlock(&generation->lock);
	taken = take_text(generation, text);
	generation->number += taken;
	(void)pthread_rwlock_unlock(&generation->lock);
	if (taken) {
		generation->checksum = checksum64(text);
		show(text, shown);
		(void)snprintf(line, sizeof(line), "cache: the generation is now '%s', entries are kept as %s", shown,
			       generation->scope);
		triton_log(LOG_INFO, line);
	}
}

/* Takes a text when it was read twice: a file that is written in place may be half-written. */
static void
consider(struct generation *generation, struct bytes text)
{
	uint64_t checksum = checksum64(text);

	if (checksum != generation->checksum && checksum == generation->candidate) {
		change(generation, text);
	}
	generation->candidate = checksum;
	generation->complained = false;
}

void
generation_refresh(struct generation *generation)
{
	struct buf text;
	struct error error;

	if (generation->file == NULL) {
		return;
	}
	buf_init(&text, TEXT_MAX);
	if (read_file(generation->file, &text, &error) == STATUS_OK) {
		consider(generation, buf_bytes(&text));
	} else {
		complain(generation, &error);
	}
	buf_fini(&text);
}

/* --- Keys --- */

static void
lock(struct generation *generation)
{
	if (generation->file != NULL) {
		(void)pthread_rwlock_rdlock(&generation->lock);
	}
}

static void
unlock(struct generation *generation)
{
	if (generation->file != NULL) {
		(void)pthread_rwlock_unlock(&generation->lock);
	}
}

/* SHA-256 of the generation's digest followed by Triton's key, or by the digest of a long one. */
static bool
key_digest(const struct generation *generation, struct bytes text, struct digest_value *digest)
{
	uint8_t all[DIGEST_SIZE_MAX + 1 + KEY_TEXT_MAX];
	bool is_long = text.length > KEY_TEXT_MAX;
	struct digest_value inner;

	if (is_long) {
		if (!digest_once(text, &inner)) {
			return false;
		}
		text = bytes_make(inner.bytes, inner.length);
	}
	memcpy(all, generation->digest.bytes, DIGEST_SIZE_MAX);
	all[DIGEST_SIZE_MAX] = is_long;
	memcpy(all + DIGEST_SIZE_MAX + 1, text.at, text.length);
	return digest_once(bytes_make(all, DIGEST_SIZE_MAX + 1 + text.length), digest);
}

static void
make_key(const struct generation *generation, const char *triton_key, struct generation_key *key)
{
	struct bytes text = bytes_text(triton_key);

	memcpy(key->scope_text, generation->scope, generation->scope_length);
	key->key.scope = bytes_make(key->scope_text, generation->scope_length);
	if (!key_digest(generation, text, &key->key.digest)) {
		random_bytes(key->key.digest.bytes, KEY_DIGEST); /* no memory: a key that is never found */
	}
	key->key.digest.length = KEY_DIGEST;
	memset(key->key.digest.bytes + KEY_DIGEST, 0, DIGEST_SIZE_MAX - KEY_DIGEST);
	key->hash = generation->file == NULL ? 0 : checksum64(text);
	key->number = generation->number;
}

void
generation_make_key(struct generation *generation, const char *triton_key, struct generation_key *key)
{
	lock(generation);
	make_key(generation, triton_key, key);
	unlock(generation);
}

static struct slot *
slot_of(struct generation *generation, const struct generation_key *key)
{
	return &generation->slots[key->hash % SLOTS];
}

void
generation_missed(struct generation *generation, const struct generation_key *key)
{
	struct slot *slot;
	uint64_t now;

	if (generation->file == NULL) {
		return;
	}
	now = clock_now_ns();
	(void)pthread_mutex_lock(&generation->mutex);
	slot = slot_of(generation, key);
	if (slot->requests == 0 ||
	    now - slot->asked_ns > FORGOTTEN_NS) { /* failed requests are never reported to a cache */
		slot->requests = 0;
		slot->generation = key->number;
	}
	slot->requests++;
	if (key->number <= slot->generation) {
		slot->generation = key->number;
		slot->asked_ns = now;
	}
	(void)pthread_mutex_unlock(&generation->mutex);
}

static bool
is_of_this(struct generation *generation, const struct generation_key *key)
{
	struct slot *slot = slot_of(generation, key);
	bool same;

	(void)pthread_mutex_lock(&generation->mutex);
	same = slot->requests > 0 && slot->generation == generation->number;
	slot->requests -= slot->requests > 0;
	(void)pthread_mutex_unlock(&generation->mutex);
	return same;
}

bool
generation_answered(struct generation *generation, const char *triton_key, struct generation_key *key)
{
	bool good;

	lock(generation);
	make_key(generation, triton_key, key);
	good = generation->file == NULL || is_of_this(generation, key);
	unlock(generation);
	return good;
}

/* --- Opening and closing --- */

static enum status
begin(struct generation *generation, const char *text, struct error *error)
{
	struct bytes content = bytes_text(text);
	enum status status = STATUS_OK;
	struct buf read;

	buf_init(&read, TEXT_MAX);
	if (generation->file != NULL) {
		status = read_file(generation->file, &read, error);
		content = buf_bytes(&read);
		generation->checksum = checksum64(content);
		generation->candidate = generation->checksum;
	}
	if (status == STATUS_OK && !take_text(generation, content)) {
		status = error_set(error, STATUS_UNAVAILABLE, "no memory for the cache");
	}
	buf_fini(&read);
	return status;
}

struct generation *
generation_open(const char *name_space, struct bytes secret, const char *text, const char *file, struct error *error)
{
	struct generation *generation = calloc(1, sizeof(*generation));

	if (generation == NULL) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory for the cache");
		return NULL;
	}
	(void)pthread_rwlock_init(&generation->lock, NULL);
	(void)pthread_mutex_init(&generation->mutex, NULL);
	generation->name_space = strdup(name_space);
	if (secret.length > 0) {
		memcpy(generation->secret, secret.at,
		       secret.length < GENERATION_SECRET ? secret.length : GENERATION_SECRET);
	}
	generation->file = file == NULL ? NULL : strdup(file);
	generation->slots = file == NULL ? NULL : calloc(SLOTS, sizeof(*generation->slots));
	if (generation->name_space == NULL ||
	    (file != NULL && (generation->file == NULL || generation->slots == NULL))) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory for the cache");
		generation_close(generation);
		return NULL;
	}
	if (begin(generation, text, error) != STATUS_OK) {
		generation_close(generation);
		return NULL;
	}
	return generation;
}

void
generation_close(struct generation *generation)
{
	if (generation == NULL) {
		return;
	}
	(void)pthread_rwlock_destroy(&generation->lock);
	(void)pthread_mutex_destroy(&generation->mutex);
	free(generation->name_space);
	free(generation->file);
	free(generation->slots);
	explicit_bzero(generation->secret, sizeof(generation->secret));
	free(generation);
}
