#include "caches/redis/connection/node.h"

#include "base/clock.h"
#include "base/container_of.h"
#include "base/digest.h"
#include "caches/redis/connection/command.h"
#include "caches/redis/connection/refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BACKOFF_FIRST_MS 50U
#define BACKOFF_MAX_MS 1000U
#define HEARTBEAT_MS 1000U
#define BEAT_MIN_MS 200U
#define BEAT_SHORT_NS UINT64_C(600000000000)
#define RENEW_FIRST_NS UINT64_C(1000000000)
#define RENEW_MAX_NS UINT64_C(60000000000)
#define PLAIN_MAX 2
#define PLAIN_FOR_NS UINT64_C(30000000000)
#define PLAIN_FOR_MAX_NS UINT64_C(3600000000000)
#define SPECIAL_LINKS REDIS_WRITE_LARGE /* one of each use but the first, REDIS_SMALL */
#define ANNOUNCEMENTS_AT_ONCE 4
#define ANNOUNCEMENTS_OF_ALL 16
#define ANNOUNCEMENT_INTERVAL_NS UINT64_C(60000000000)
#define WELL_NS UINT64_C(10000000000)

/* --- Logging --- */

static void __attribute__((format(printf, 3, 4)))
announce(struct redis_node *node, enum log_level level, const char *format, ...)
{
	char text[1200];
	va_list args;

	if (node->shared->announces) {
		va_start(args, format);
		(void)vsnprintf(text, sizeof(text), format, args);
		va_end(args);
		node->shared->host->log(level, text);
	}
}

/*
 * Limits the lines about a node that comes and goes: some at once, then one a minute, until it has been well for a
 * while.
 */
static bool
may_announce(struct redis_node *node, uint64_t now)
{
	return node->announcements < ANNOUNCEMENTS_AT_ONCE || now - node->announced_ns >= ANNOUNCEMENT_INTERVAL_NS;
}

static void
count_announcement(struct redis_node *node, uint64_t now)
{
	node->announcements++;
	node->announced_ns = now;
}

/* Limits the lines about all nodes together, as a cluster may name any number that do not exist. */
static bool
may_tell(struct redis_nodes *shared, uint64_t now)
{
	if (now - shared->failure_told_ns >= ANNOUNCEMENT_INTERVAL_NS) {
		shared->failures_told = 0;
	}
	if (shared->failures_told >= ANNOUNCEMENTS_OF_ALL) {
		return false;
	}
	shared->failures_told++;
	shared->failure_told_ns = now;
	return true;
}

/* Whether `why` tells only that a connection ended: logged only while no better reason is known. */
static bool
says_little(const char *why)
{
	static const char *const endings[] = {"Connection reset by peer", "Server closed the connection",
					      "connection closed", "Broken pipe"};

	for (size_t i = 0; i < sizeof(endings) / sizeof(*endings); i++) {
		if (strncmp(why, endings[i], strlen(endings[i])) == 0) {
			return true;
		}
	}
	return false;
}

/* One line when the reason changes, not one for each attempt. */
static void
announce_failure(struct redis_node *node, const char *why)
{
	uint64_t now = clock_now_ns();

	if (now - node->failed_ns > WELL_NS) {
		node->announcements = 0;
	}
	node->failed_ns = now;
	if (strcmp(node->announced, why) == 0 || (node->announced[0] != '\0' && says_little(why)) ||
	    !may_announce(node, now) || !may_tell(node->shared, now)) {
		return;
	}
	(void)snprintf(node->announced, sizeof(node->announced), "%s", why);
	count_announcement(node, now);
	announce(node, LOG_WARNING,
		 "cache 'redis': cannot use %s: %s; requests are served without it and it is tried again", node->name,
		 why);
}

static void
announce_recovery(struct redis_node *node)
{
	uint64_t now = clock_now_ns();

	if (node->announced[0] != '\0' && (may_announce(node, now) || now - node->failed_ns > WELL_NS)) {
		node->announced[0] = '\0';
		count_announcement(node, now);
		announce(node, LOG_INFO, "cache 'redis': %s answers again", node->name);
	}
}

/* --- The breaker --- */

static void
go_down(struct redis_node *node)
{
	node->shared->down(node->shared->context, node);
}

static uint32_t
random_number(void)
{
	uint32_t number;

	random_bytes(&number, sizeof(number));
	return number;
}

/* Tells other threads. */
static void
show(struct redis_node *node)
{
	struct node_notice *notice = &node->notice;

	/* That of a server that is not reached is not what it was. */
	atomic_store_explicit(&notice->round_trip_ns, node->ready == 0 ? 0 : node->latency_ns, memory_order_relaxed);
	atomic_store_explicit(&notice->connections, node->ready, memory_order_relaxed);
	atomic_store_explicit(&notice->has_open_breaker, !breaker_allows(&node->breaker), memory_order_relaxed);
}

static void
await_probe(struct redis_node *node)
{
	uint64_t now = clock_now_ns();
	uint64_t at = breaker_probe_at(&node->breaker);

	node->shared->host->timer_set(node->timer, at <= now ? 0 : (at - now) / 1000000 + 1);
}

static void
on_opened(struct redis_node *node, const char *why)
{
	counter_add(node->shared->breakings, 1);
	show(node);
	announce_failure(node, why);
	await_probe(node);
	go_down(node);
}

/* While a probe is in flight only its outcome counts; others are late, of commands sent earlier. */
static bool
counts(const struct redis_node *node, const struct redis_request *request)
{
	return !node->closing && (!node->probing || breaker_allows(&node->breaker) || request == &node->probe);
}

static struct redis_link *
link_of(struct redis_node *node, const struct redis_request *request)
{
	for (size_t i = 0; i < node->link_count; i++) {
		if (node->links[i].connection == request->connection && request->connection != NULL) {
			return &node->links[i];
		}
	}
	return NULL;
}

/* Failed writes do not open the breaker: a server that holds writes back still answers look-ups. */
void
redis_node_failed(struct redis_node *node, const struct redis_request *request)
{
	struct redis_link *link = link_of(node, request);

	if (link != NULL) {
		link->failed = true;
		if (redis_use_writes(link->use)) {
			return;
		}
	}
	if (counts(node, request) && breaker_failed(&node->breaker, clock_now_ns(), random_number())) {
		on_opened(node, "too many commands fail");
	}
}

void
redis_node_refused(struct redis_node *node, const char *why)
{
	if (breaker_open_now(&node->breaker, clock_now_ns(), random_number())) {
		on_opened(node, why);
	}
}

/* Only an answered command proves a connection: it resets the back-off and ends a logged failure. */
void
redis_node_succeeded(struct redis_node *node, const struct redis_request *request)
{
	uint64_t now = clock_now_ns();
	uint64_t took = now - request->sent_ns;
	struct redis_link *link;

	node->answered_ns = now;
	node->latency_ns = node->latency_ns == 0 ? took : node->latency_ns - node->latency_ns / 8 + took / 8;
	if (counts(node, request)) {
		(void)breaker_succeeded(&node->breaker);
	}
	show(node);
	link = link_of(node, request);
	if (link != NULL) {
		link->used_ns = now;
		link->failed = false;
		if (!link->proved) {
			link->proved = true;
			link->suspect = false;
			link->backoff_ms = BACKOFF_FIRST_MS;
			announce_recovery(node);
		}
	}
}

/* Whether an error is unknown and not about the key, as from a proxy that cannot reach its server. */
static bool
is_no_answer(const struct redis_reply *reply, enum redis_refusal refusal)
{
	return reply->base.type == VALKEY_REPLY_ERROR && refusal == REDIS_REFUSAL_OTHER &&
	       !redis_refusal_is_of_key(bytes_make(reply->base.str, reply->base.len));
}

static void
on_probed(struct redis_request *request, const struct redis_reply *reply)
{
	struct redis_node *node = container_of(request, struct redis_node, probe);
	bool half_open = !breaker_allows(&node->breaker);
	enum redis_refusal refusal = REDIS_REFUSAL_OTHER;

	if (reply != NULL && reply->base.type == VALKEY_REPLY_ERROR) {
		refusal = redis_refusal_of(bytes_make(reply->base.str, reply->base.len));
	}
	if (reply == NULL || redis_refusal_of_node(refusal) || is_no_answer(reply, refusal)) {
		if (reply != NULL && redis_refusal_of_node(refusal)) {
			counter_add(&node->shared->refusals[refusal], 1);
			redis_node_refused(node, reply->base.str);
		} else {
			redis_node_failed(node, request);
		}
		if (!breaker_allows(&node->breaker)) {
			await_probe(node);
		}
		node->probing = false;
		return;
	}
	redis_node_succeeded(node, request);
	node->probing = false;
	if (half_open) {
		announce_recovery(node);
		node->shared->up(node->shared->context, node);
	}
}

/* Sends a cheap query that is refused whenever look-ups are. */
static bool
send_question(struct redis_link *link, struct redis_request *request)
{
	struct buf text;
	char room[REDIS_KEY_ROOM];
	bool sent;

	buf_init(&text, 65536);
	buf_text(&text, "*2\r\n$3\r\nGET\r\n");
	command_append(&text, redis_settings_key(link->node->shared->settings, "key_secret", room));
	sent = buf_ok(&text) && redis_connection_send(link->connection, request, buf_bytes(&text));
	buf_fini(&text);
	return sent;
}

static void
send_probe(struct redis_node *node)
{
	struct redis_link *link = &node->links[0];

	while (!link->ready && link->use == REDIS_SMALL) {
		link++;
	}
	if (link->ready && link->use == REDIS_SMALL && !node->probing) {
		node->probe.done = on_probed;
		node->probing = send_question(link, &node->probe);
	}
}

static void
on_beaten(struct redis_request *request, const struct redis_reply *reply)
{
	struct redis_link *link = container_of(request, struct redis_link, beat);

	link->beating = false;
	if (reply != NULL && reply->base.type != VALKEY_REPLY_ERROR) {
		redis_node_succeeded(link->node, request);
	}
}

static void
keep_alive(struct redis_node *node, uint64_t now)
{
	if (node->beat_ms < HEARTBEAT_MS && now - node->idled_ns > BEAT_SHORT_NS) {
		node->beat_ms = HEARTBEAT_MS; /* idle connections are not closed any more */
	}
	for (size_t i = 0; i < node->link_count; i++) {
		struct redis_link *link = &node->links[i];

		if (link->ready && !link->beating && redis_connection_waited_ms(link->connection) == 0 &&
		    now - link->used_ns >= node->beat_ms * NS_PER_MS) {
			link->beat.done = on_beaten;
			link->beating = send_question(link, &link->beat);
		}
	}
}

/*
 * What hung up may have been a proxy that could not reach its server. After a while a connection is opened again and
 * logs in with all commands; each attempt makes the next one later.
 */
static void
ask_all_again(struct redis_node *node, uint64_t now)
{
	if (node->plain == 0 || now - node->plain_ns < node->plain_for_ns) {
		return;
	}
	node->plain = 0;
	node->plain_ns = now;
	node->plain_for_ns = node->plain_for_ns * 4 > PLAIN_FOR_MAX_NS ? PLAIN_FOR_MAX_NS : node->plain_for_ns * 4;
	for (size_t i = 0; i < node->link_count; i++) {
		if (node->links[i].ready && node->links[i].plain > 0) {
			node->links[i].asks_again = true;
			redis_connection_fail(node->links[i].connection, "it is to log in with HELLO again");
			return; /* one is enough to try; the others do so when they reconnect */
		}
	}
}

/* Probes a node whose breaker is open, or that has been idle for a while. */
static void
on_timer(void *argument)
{
	struct redis_node *node = argument;
	uint64_t now = clock_now_ns();

	node->shared->host->timer_set(node->timer, node->beat_ms);
	if (!breaker_allows(&node->breaker)) {
		if (now >= breaker_probe_at(&node->breaker) && node->ready > 0 && !node->probing) {
			breaker_begin_probe(&node->breaker);
			send_probe(node);
			if (!node->probing) {
				redis_node_failed(node, &node->probe);
			}
		}
		return;
	}
	if (node->answered_ns > node->failed_ns && redis_node_usable(node)) {
		announce_recovery(node);
	}
	if (node->pending == 0 && now - node->answered_ns >= node->beat_ms * NS_PER_MS) {
		send_probe(node);
	}
	keep_alive(node, now);
	ask_all_again(node, now);
}

/* --- Connections --- */

static void connect_link(struct redis_link *link);

static void
on_ready(void *context, const struct redis_greeting *greeting)
{
	struct redis_link *link = context;
	struct redis_node *node = link->node;
	const struct redis_settings *settings = node->shared->settings;

	node->shared->connected(node->shared->context, 1);
	link->ready = true;
	link->proved = false;
	link->failed = false;
	link->used_ns = clock_now_ns();
	if (!node->was_ready) {
		node->was_ready = true;
		node->announced[0] = '\0';
		announce(node, LOG_INFO, "cache 'redis': connected to %s, database %lld", node->name,
			 (long long)settings->db);
	}
	if (link->use != REDIS_SMALL) {
		return;
	}
	node->answered_ns = clock_now_ns();
	node->is_cluster = greeting->cluster;
	node->exact_removal = greeting->valkey && greeting->version >= 900    ? REDIS_DELIFEQ
			      : !greeting->valkey && greeting->version >= 804 ? REDIS_DELEX
									      : REDIS_DEL;
	memcpy(node->zone, greeting->zone, sizeof(node->zone));
	if (!breaker_allows(&node->breaker)) {
		breaker_begin_probe(&node->breaker);
		(void)breaker_succeeded(&node->breaker);
	}
	node->ready++;
	show(node);
	if (node->ready == 1) {
		node->shared->up(node->shared->context, node);
	}
	node->shared->linked(node->shared->context, link, greeting);
}

static void
try_later(struct redis_link *link)
{
	uint64_t jitter = random_number() % (link->backoff_ms / 2 + 1);

	link->node->shared->host->timer_set(link->timer, link->backoff_ms / 2 + 1 + jitter);
	link->backoff_ms = link->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : link->backoff_ms * 2;
}

/*
 * The connection was closed because it was idle for too long. One for small look-ups is reopened, the others when next
 * needed; idle connections are sent queries more often from now on.
 */
static void
after_idleness(struct redis_link *link)
{
	struct redis_node *node = link->node;
	uint64_t idle_ms = (clock_now_ns() - link->used_ns) / NS_PER_MS;

	/* If it was closed soon after use, idleness was not the cause. */
	if (idle_ms >= node->beat_ms / 2 && node->beat_ms > BEAT_MIN_MS) {
		node->beat_ms = node->beat_ms / 2 < BEAT_MIN_MS ? BEAT_MIN_MS : node->beat_ms / 2;
		node->shared->host->timer_set(node->timer, node->beat_ms);
	}
	node->idled_ns = clock_now_ns();
	if (link->use == REDIS_SMALL) {
		try_later(link);
	} else {
		link->attempts = 0;
	}
}

static void
on_lost(void *context, const char *why)
{
	struct redis_link *link = context;
	struct redis_node *node = link->node;
	bool was_ready = link->ready;

	link->connection = NULL;
	link->ready = false;
	if (was_ready) {
		link->suspect = link->failed;
	}
	if (link->asks_again) {
		link->asks_again = false;
		try_later(link);
	} else if (was_ready && !link->failed && says_little(why)) {
		after_idleness(link);
	} else {
		if (!was_ready && says_little(why) && link->plain == node->plain) {
			node->plain = node->plain == PLAIN_MAX ? 0 : node->plain + 1;
			node->plain_ns = clock_now_ns();
		}
		announce_failure(node, why);
		try_later(link);
	}
	if (was_ready) {
		node->shared->connected(node->shared->context, -1);
	}
	if (was_ready && link->use == REDIS_SMALL) {
		node->ready--;
		show(node);
		if (node->ready == 0) {
			go_down(node);
		}
	}
}

static void
on_pushed(void *context, const struct redis_reply *reply)
{
	const struct redis_link *link = context;

	link->node->shared->pushed(link->node->shared->context, reply);
}

static void
connect_link(struct redis_link *link)
{
	const struct redis_nodes *shared = link->node->shared;

	link->plain = link->node->plain;
	link->connection = redis_connection_new(&(struct redis_connection_options){
		.settings = shared->settings,
		.host = shared->host,
		.tls = shared->tls,
		.session = link->session,
		.credentials = shared->credentials,
		.cork = shared->cork,
		.address = link->node->address,
		.attempt = link->attempts++,
		.plain = link->plain,
		.read_only = shared->read_only,
		.refusals = shared->refusals,
		.context = link,
		.ready = on_ready,
		.lost = on_lost,
		.pushed = on_pushed,
	});
	if (link->connection == NULL) {
		try_later(link);
	}
}

static void
on_link_timer(void *argument)
{
	struct redis_link *link = argument;

	if (link->connection == NULL) {
		connect_link(link);
	}
}

static bool
answers(const struct redis_link *link)
{
	return link->ready &&
	       redis_connection_waited_ms(link->connection) <= (uint64_t)link->node->shared->settings->wait_timeout_ms;
}

/* Whether commands would wait there, because the server holds them back or seems to. */
static bool
holds_back(const struct redis_link *link)
{
	return (link->ready || link->suspect) && !answers(link);
}

bool
redis_node_usable(const struct redis_node *node)
{
	if (!breaker_allows(&node->breaker)) {
		return false;
	}
	for (size_t i = 0; i + SPECIAL_LINKS < node->link_count; i++) {
		if (answers(&node->links[i])) {
			return true;
		}
	}
	return false;
}

/* The index of the one connection of a use other than REDIS_SMALL; these lie behind the REDIS_SMALL ones. */
static size_t
special_index(const struct redis_node *node, enum redis_use use)
{
	return node->link_count - SPECIAL_LINKS + use - REDIS_LARGE;
}

/* Returns the connection of a use, which is opened on the first call. */
static struct redis_link *
special_link(struct redis_node *node, enum redis_use use)
{
	struct redis_link *link = &node->links[special_index(node, use)];

	if (link->attempts == 0) {
		connect_link(link);
	}
	return link;
}

/* Returns the connection of this use, or the other one for writes if only that is open. */
static struct redis_link *
writing_link(struct redis_node *node, enum redis_use use)
{
	struct redis_link *link = special_link(node, use);
	struct redis_link *other =
		&node->links[special_index(node, use == REDIS_WRITE ? REDIS_WRITE_LARGE : REDIS_WRITE)];

	return !link->ready && !link->suspect && (other->ready || other->suspect) ? other : link;
}

struct redis_link *
redis_node_pick(struct redis_node *node, enum redis_use use)
{
	size_t count = node->link_count - SPECIAL_LINKS;
	struct redis_link *link = NULL;

	if (!breaker_allows(&node->breaker)) {
		return NULL;
	}
	if (redis_use_writes(use)) {
		link = writing_link(node, use);
		if (holds_back(link)) {
			return NULL; /* writes would be held back on others, too */
		}
		link = answers(link) ? link : NULL;
	} else if (use == REDIS_LARGE) {
		link = special_link(node, use);
		link = answers(link) ? link : NULL;
	}
	for (size_t i = 0; i < count && link == NULL; i++) {
		link = &node->links[node->next++ % count];
		link = answers(link) ? link : NULL;
	}
	return link;
}

bool
redis_node_takes_writes(const struct redis_node *node)
{
	const struct redis_link *link = &node->links[special_index(node, REDIS_WRITE)];

	if (!link->ready && !link->suspect) { /* then writes use the other one */
		link = &node->links[special_index(node, REDIS_WRITE_LARGE)];
	}
	return redis_node_usable(node) && !holds_back(link);
}

void
redis_node_reset(struct redis_node *node, const char *why)
{
	for (size_t i = 0; i < node->link_count; i++) {
		if (node->links[i].ready) {
			redis_connection_fail(node->links[i].connection, "%s", why);
		}
	}
}

struct renewal {
	struct redis_request request; /* first */
	struct redis_node *node;
};

/* The reply is not logged, since it may quote the password. */
static void
on_logged_in_again(struct redis_request *request, const struct redis_reply *reply)
{
	const struct renewal *renewal = (const struct renewal *)request;

	if (reply != NULL && reply->base.type == VALKEY_REPLY_ERROR) {
		counter_add(&renewal->node->shared
				     ->refusals[redis_refusal_of(bytes_make(reply->base.str, reply->base.len))],
			    1);
		announce_failure(renewal->node, "a connection that is there could not log in again (AUTH was refused): "
						"check 'password_command' or 'password_file'");
	}
	free(request);
}

void
redis_node_log_in(struct redis_node *node, const char *user, const char *password)
{
	struct buf text;

	buf_init(&text, 2 * 65536);
	buf_text(&text, user == NULL ? "*2\r\n$4\r\nAUTH\r\n" : "*3\r\n$4\r\nAUTH\r\n");
	if (user != NULL) {
		command_append(&text, bytes_text(user));
	}
	command_append(&text, bytes_text(password));
	for (size_t i = 0; i < node->link_count && buf_ok(&text) && *password != '\0'; i++) {
		struct renewal *renewal = node->links[i].ready ? calloc(1, sizeof(*renewal)) : NULL;

		if (renewal == NULL) {
			continue;
		}
		renewal->node = node;
		renewal->request.done = on_logged_in_again;
		if (!redis_connection_send(node->links[i].connection, &renewal->request, buf_bytes(&text))) {
			free(renewal);
		}
	}
	if (text.at != NULL) {
		explicit_bzero(text.at, text.length);
	}
	buf_fini(&text);
}

void
redis_node_renew(struct redis_node *node, const char *why)
{
	uint64_t now = clock_now_ns();

	if (node->renewed_ns != 0 && now - node->renewed_ns < node->renew_after_ns) {
		return;
	}
	if (node->renewed_ns == 0 || now - node->renewed_ns > 4 * RENEW_MAX_NS) {
		node->renew_after_ns = RENEW_FIRST_NS;
	} else if (node->renew_after_ns * 2 <= RENEW_MAX_NS) {
		node->renew_after_ns *= 2;
	}
	node->renewed_ns = now;
	redis_node_reset(node, why);
}

void
redis_node_catch_up(struct redis_node *node)
{
	for (size_t i = 0; i < node->link_count; i++) {
		if (node->links[i].ready) {
			redis_connection_catch_up(node->links[i].connection);
		}
	}
}

/* --- Creating and freeing --- */

struct redis_node *
redis_node_new(struct redis_nodes *shared, const struct redis_address *address)
{
	size_t count = (size_t)shared->settings->pool_size + SPECIAL_LINKS;
	struct redis_node *node = calloc(1, sizeof(*node) + count * sizeof(*node->links));

	if (node == NULL) {
		return NULL;
	}
	node->shared = shared;
	node->address = *address;
	redis_address_print(address, node->name, sizeof(node->name));
	breaker_init(&node->breaker);
	node_board_add(shared->board, &node->notice, node->name);
	node->timer = shared->host->timer_new(shared->host->context, on_timer, node);
	node->beat_ms = HEARTBEAT_MS;
	node->plain_for_ns = PLAIN_FOR_NS;
	shared->host->timer_set(node->timer, node->beat_ms);
	node->link_count = count;
	for (enum redis_use use = REDIS_LARGE; use <= REDIS_WRITE_LARGE; use++) { /* the others are REDIS_SMALL */
		node->links[special_index(node, use)].use = use;
	}
	for (size_t i = 0; i < count; i++) {
		struct redis_link *link = &node->links[i];

		link->node = node;
		link->backoff_ms = BACKOFF_FIRST_MS;
		link->session = shared->tls == NULL ? NULL : redis_tls_session_new();
		link->timer = shared->host->timer_new(shared->host->context, on_link_timer, link);
		if (link->use == REDIS_SMALL) {
			connect_link(link);
		}
	}
	return node;
}

void
redis_node_free(struct redis_node *node)
{
	node->closing = true;
	node_board_remove(node->shared->board, &node->notice);
	for (size_t i = 0; i < node->link_count; i++) {
		struct redis_link *link = &node->links[i];

		struct redis_connection *connection = link->connection;

		if (link->ready) {
			node->shared->connected(node->shared->context, -1);
		}
		link->connection = NULL;
		link->ready = false;
		if (connection != NULL) {
			redis_connection_free(connection);
		}
		node->shared->host->timer_free(link->timer);
		redis_tls_session_free(link->session);
	}
	node->shared->host->timer_free(node->timer);
	free(node);
}
