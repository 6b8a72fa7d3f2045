#include "caches/redis/connection/login.h"

#include "base/version.h"
#include "caches/redis/connection/command.h"
#include "caches/redis/connection/refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define COMMAND_MAX ((size_t)256 << 10)

enum step_kind { STEP_HELLO, STEP_AUTH, STEP_SELECT, STEP_READ_ONLY, STEP_ZONE, STEP_PROBE, STEP_IGNORED };

struct step {
	struct redis_request request; /* first */
	struct redis_login *login;
	enum step_kind kind;
	unsigned round;
};

struct redis_login {
	struct redis_login_options options;
	char *user;
	char *password;
	unsigned round; /* 1: with HELLO; 2: without */
	struct redis_greeting greeting;
	bool is_sentinel;
};

static const char credentials_remedy[] =
	"check 'user' and 'password' (or password_file, password_command), or TRITONCACHE_REDIS_USERNAME and "
	"TRITONCACHE_REDIS_PASSWORD";
static const char sentinel_remedy[] = "check 'sentinel_user' and 'sentinel_password'";

struct redis_login *
redis_login_new(const struct redis_login_options *options)
{
	struct redis_login *login = calloc(1, sizeof(*login));

	if (login != NULL) {
		login->options = *options;
	}
	return login;
}

static void
wipe(char *text)
{
	if (text != NULL) {
		explicit_bzero(text, strlen(text));
		free(text);
	}
}

void
redis_login_free(struct redis_login *login)
{
	wipe(login->password);
	free(login->user);
	free(login);
}

bool
redis_login_credentials(struct redis_login *login, const char *user, const char *password)
{
	login->user = strdup(user == NULL ? "" : user);
	login->password = strdup(password);
	return login->user != NULL && login->password != NULL;
}

static void __attribute__((format(printf, 2, 3))) fail(struct redis_login *login, const char *format, ...)
{
	char why[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	login->options.failed(login->options.connection, why);
}

/* --- Replies --- */

static void say_all(struct redis_login *login);

static bool
is_error(const struct redis_reply *reply)
{
	return reply->base.type == VALKEY_REPLY_ERROR;
}

static struct bytes
text_of(const valkeyReply *reply)
{
	bool textual = redis_reply_is_text(reply) || reply->type == VALKEY_REPLY_ERROR;

	return textual ? bytes_make(reply->str, reply->len) : bytes_make("", 0);
}

static void
refuse(struct redis_login *login, const char *what, const struct redis_reply *reply, const char *remedy)
{
	struct bytes text = text_of(&reply->base);
	enum redis_refusal refusal = redis_refusal_of(text);

	if (login->options.refusals != NULL) {
		counter_add(&login->options.refusals[refusal], 1);
	}
	if (refusal == REDIS_REFUSAL_NOAUTH || refusal == REDIS_REFUSAL_WRONGPASS) {
		remedy = login->options.sentinel ? sentinel_remedy : credentials_remedy;
	} else if (redis_refusal_remedy(refusal) != NULL) {
		remedy = redis_refusal_remedy(refusal);
	}
	if (*login->password != '\0' &&
	    memmem(text.at, text.length, login->password, strlen(login->password)) != NULL) {
		text = bytes_text("in words that hold the password");
	}
	fail(login, "%s was refused (%.*s): %s", what, (int)text.length, (const char *)text.at, remedy);
}

/* Reads "9.0.1" as 900. 0: not known. */
static unsigned
version_of(struct bytes text)
{
	char copy[32] = "";
	unsigned major = 0;
	unsigned minor = 0;

	memcpy(copy, text.at, text.length < sizeof(copy) ? text.length : sizeof(copy) - 1);
	return sscanf(copy, "%u.%u", &major, &minor) == 2 && minor < 100 ? 100 * major + minor : 0;
}

/* Reads the reply to HELLO: a map (RESP3), or alternating names and values. */
static void
read_greeting(struct redis_login *login, const struct redis_reply *reply)
{
	const valkeyReply *base = &reply->base;

	login->greeting.resp3 = true;
	for (size_t i = 0; i + 1 < base->elements; i += 2) {
		struct bytes name = text_of(base->element[i]);
		struct bytes value = text_of(base->element[i + 1]);

		if (bytes_equal_text(name, "mode")) {
			login->greeting.cluster = bytes_equal_text(value, "cluster");
			login->is_sentinel = bytes_equal_text(value, "sentinel");
		} else if (bytes_equal_text(name, "role")) {
			login->greeting.replica = bytes_equal_text(value, "replica");
		} else if (bytes_equal_text(name, "server")) {
			login->greeting.valkey = bytes_equal_text(value, "valkey");
		} else if (bytes_equal_text(name, "version")) {
			login->greeting.version = version_of(value);
		}
	}
}

/* The line "availability_zone:…" of INFO, which Valkey has since 8.0. */
static void
read_zone(struct redis_login *login, const struct redis_reply *reply)
{
	struct bytes zone = redis_info_value(text_of(&reply->base), "availability_zone");

	(void)snprintf(login->greeting.zone, sizeof(login->greeting.zone), "%.*s", (int)zone.length,
		       (const char *)zone.at);
}

/*
 * Older servers, and proxies, may not know HELLO or RESP3, or the user may lack the permission: log in without HELLO.
 * The text of such an error is not passed on, since it may quote the password.
 */
static void
on_hello_refused(struct redis_login *login, const struct redis_reply *reply)
{
	enum redis_refusal refusal = redis_refusal_of(text_of(&reply->base));

	switch (refusal) {
	case REDIS_REFUSAL_NOAUTH:
	case REDIS_REFUSAL_WRONGPASS:
	case REDIS_REFUSAL_MAXCLIENTS:
	case REDIS_REFUSAL_DENIED:
		refuse(login, "logging in", reply, credentials_remedy);
		break;
	default:
		login->round++;
		say_all(login);
		break;
	}
}

/* The server serves if it answers without an error or, in a cluster, that the key is elsewhere. */
static void
on_probed(struct redis_login *login, const struct redis_reply *reply)
{
	enum redis_refusal refusal = is_error(reply) ? redis_refusal_of(text_of(&reply->base)) : REDIS_REFUSAL_OTHER;

	/* A key of another type is no failure to serve; secret.c reports it. */
	if (is_error(reply) && redis_refusal_is_of_key(text_of(&reply->base))) {
		login->options.done(login->options.connection, &login->greeting);
	} else if (login->is_sentinel && !login->options.sentinel) {
		fail(login, "it is a sentinel, and keeps no data: give its address in "
			    "'sentinels', and the name of the master in 'sentinel_master'");
	} else if (!is_error(reply) || refusal == REDIS_REFUSAL_MOVED || refusal == REDIS_REFUSAL_ASK ||
		   refusal == REDIS_REFUSAL_UNSERVED) {
		login->options.done(login->options.connection, &login->greeting);
	} else {
		refuse(login, "the first command", reply,
		       "check the user's permissions: the keys begin with 'key_prefix'");
	}
}

static void
on_step(struct redis_login *login, enum step_kind kind, const struct redis_reply *reply)
{
	bool failed = is_error(reply);

	switch (kind) {
	case STEP_HELLO:
		if (failed) {
			on_hello_refused(login, reply);
		} else {
			read_greeting(login, reply);
		}
		break;
	case STEP_AUTH:
		if (failed) {
			refuse(login, "logging in", reply,
			       login->options.sentinel ? sentinel_remedy : credentials_remedy);
		}
		break;
	case STEP_SELECT:
		if (failed) {
			refuse(login, "selecting the database", reply, "check 'db'");
		}
		break;
	case STEP_ZONE:
		read_zone(login, reply);
		break;
	case STEP_PROBE:
		on_probed(login, reply);
		break;
	case STEP_READ_ONLY: /* refused outside a cluster, where it is not needed */
	case STEP_IGNORED:
		break;
	}
}

static void
on_reply(struct redis_request *request, const struct redis_reply *reply)
{
	struct step *step = (struct step *)request;
	struct redis_login *login = step->login;
	enum step_kind kind = step->kind;
	bool current = step->round == login->round;

	free(step);
	if (current && reply != NULL) {
		on_step(login, kind, reply);
	}
}

/* --- Commands --- */

static void
say(struct redis_login *login, enum step_kind kind, size_t count, const char *const *words)
{
	struct step *step = calloc(1, sizeof(*step));
	struct buf text;
	bool sent;

	buf_init(&text, COMMAND_MAX);
	buf_format(&text, "*%zu\r\n", count);
	for (size_t i = 0; i < count; i++) {
		command_append(&text, bytes_text(words[i]));
	}
	if (step != NULL) {
		step->login = login;
		step->kind = kind;
		step->round = login->round;
		step->request.done = on_reply;
	}
	sent = step != NULL && buf_ok(&text) &&
	       login->options.send(login->options.connection, &step->request, buf_bytes(&text));
	if (text.at != NULL) {
		explicit_bzero(text.at, text.length); /* it may hold the password */
	}
	buf_fini(&text);
	if (!sent) {
		free(step);
		fail(login, "cannot log in: no memory or a value that is too long");
	}
}

#define SAY(login, kind, ...)                                                                                          \
	say((login), (kind), sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static void
say_hello(struct redis_login *login)
{
	const char *user = *login->user == '\0' ? "default" : login->user;

	if (*login->password != '\0' || *login->user != '\0') {
		SAY(login, STEP_HELLO, "HELLO", "3", "AUTH", user, login->password, "SETNAME", "hippocamp");
	} else {
		SAY(login, STEP_HELLO, "HELLO", "3", "SETNAME", "hippocamp");
	}
}

static void
say_auth(struct redis_login *login)
{
	if (*login->user != '\0') {
		SAY(login, STEP_AUTH, "AUTH", login->user, login->password);
	} else if (*login->password != '\0') {
		SAY(login, STEP_AUTH, "AUTH", login->password);
	}
	if (login->options.plain < 2) {
		SAY(login, STEP_IGNORED, "CLIENT", "SETNAME", "hippocamp");
	}
}

/* Sends all steps in one pipeline. The last reply decides, unless an earlier step was refused. */
static void
say_all(struct redis_login *login)
{
	const struct redis_settings *settings = login->options.settings;
	char text[REDIS_KEY_ROOM];

	if (login->round == 1) {
		say_hello(login);
	} else {
		say_auth(login);
	}
	if (login->options.sentinel) {
		SAY(login, STEP_PROBE, "PING");
		return;
	}
	if (login->options.plain < 2) {
		SAY(login, STEP_IGNORED, "CLIENT", "SETINFO", "LIB-NAME", "hippocamp");
		SAY(login, STEP_IGNORED, "CLIENT", "SETINFO", "LIB-VER", HIPPOCAMP_VERSION);
	}
	if (settings->db != 0) {
		(void)snprintf(text, sizeof(text), "%lld", (long long)settings->db);
		SAY(login, STEP_SELECT, "SELECT", text);
	}
	if (login->options.read_only) {
		SAY(login, STEP_READ_ONLY, "READONLY");
	}
	if (settings->availability_zone != NULL && login->options.plain < 2) {
		SAY(login, STEP_ZONE, "INFO", "server");
	}
	(void)redis_settings_key(settings, "key_secret", text);
	SAY(login, STEP_PROBE, "GET", text);
}

void
redis_login_start(struct redis_login *login)
{
	login->round = login->options.plain > 0 ? 2 : 1;
	say_all(login);
}
